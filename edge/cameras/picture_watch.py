"""Tells a live picture from one that is black or frozen."""

import numpy as np
from numpy.typing import NDArray

BLACK_LEVEL = 16
"""Video black (ITU-R BT.601 limited range). A dark room's sensor noise reaches above it; a dead sensor does not."""
SAMPLE = 16
"""Every 16th pixel each way is looked at first: enough to see that a picture is alive, at a 256th of the cost."""


class PictureWatch:
    """Fed every frame; pure. ``limit_s`` 0 switches it off."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._last: NDArray[np.uint8] | None = None
        self._alive_s: float | None = None
        self._seen = ""

    def restart(self) -> None:
        """The camera was reopened: it gets ``limit_s`` anew, but the old frozen picture is still known."""
        self._alive_s = None

    def feed(self, image: NDArray[np.uint8], now_s: float) -> bool:
        """image: (H, W, 3) uint8, not written to afterwards. True where it is alive: not black, and not pixel for
        pixel the one before."""
        if self._alive_s is None:
            self._alive_s = now_s
        last, self._last = self._last, image
        if self._limit_s <= 0:
            return True
        if _black(image):
            self._seen = "black"
        elif last is not None and _same(last, image):
            self._seen = "frozen"
        else:
            self._alive_s, self._seen = now_s, ""
        return not self._seen

    def fault(self, now_s: float) -> str:
        """Why the picture is no use ("" where it is fine, or not wrong for long enough)."""
        if not self._seen or self._alive_s is None or now_s - self._alive_s < self._limit_s:
            return ""
        return f"the picture has been {self._seen} for {now_s - self._alive_s:.0f} s"


def _black(image: NDArray[np.uint8]) -> bool:
    return bool(image[::SAMPLE, ::SAMPLE].max() <= BLACK_LEVEL and image.max() <= BLACK_LEVEL)


def _same(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    return np.array_equal(one[::SAMPLE, ::SAMPLE], other[::SAMPLE, ::SAMPLE]) and np.array_equal(one, other)
