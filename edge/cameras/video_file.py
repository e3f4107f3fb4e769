"""A video file played as a camera, or every frame of it without waiting."""

import math
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2

from edge.cameras.capture import bgr, open_capture, stamp
from edge.errors import SourceError
from edge.records import Frame

MAX_GAP_S = 10.0
"""Longer or backward steps between timestamps are damage, played as one ordinary step."""
WHOLE = 0.95
"""Share of the announced frames below which the file was cut off. Sound files give up to 3 % fewer (edit lists)."""
TEXT_FOURCC = int.from_bytes(b"ansi", "little")
"""FFmpeg plays any .txt file as "ANSI art"."""


class VideoFile:
    """Implements FrameSource over a file FFmpeg can read.

    Ordinarily it plays at its own frame rate; frames that come too late are skipped and show as gaps in ``sequence``.
    With ``fast`` every frame comes at once and the same file gives the same frames: ``monotonic_s`` is the position in
    the file, ``captured_at`` the file's modification time plus that position.
    Raises SourceError where the file is missing, empty, not a video, or (at its end) cut off.
    """

    live = False

    def __init__(self, path: Path, fast: bool = False) -> None:
        self.name = str(path)
        self._fast = fast
        try:
            state = path.stat()
        except OSError as error:
            raise SourceError(f"{path}: expected a video file, got: {error.strerror}; check the path") from None
        if not path.is_file():
            raise SourceError(f"{path}: expected a video file, got something else; check the path")
        if state.st_size == 0:
            raise SourceError(f"{path}: expected a video, the file is empty (0 bytes); copy it again")
        capture = open_capture(str(path), cv2.CAP_FFMPEG)
        # Many things open; only a frame proves a video.
        if capture is None or int(capture.get(cv2.CAP_PROP_FOURCC)) == TEXT_FOURCC or not capture.grab():
            if capture is not None:
                capture.release()
            raise SourceError(
                f"{path}: expected a video, got a file that FFmpeg can't read, or cut off before its first frame; "
                "copy it again or name another"
            )
        self._capture: cv2.VideoCapture | None = capture
        fps = capture.get(cv2.CAP_PROP_FPS)
        self._period_s = 1.0 / fps if math.isfinite(fps) and 0.1 <= fps <= 1000 else 1.0 / 25
        self._expected = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._epoch = datetime.fromtimestamp(state.st_mtime, UTC)
        self._stamp_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        self._position_s = 0.0
        self._sequence = 0
        self._grabbed = True
        self._start_s: float | None = None

    def read(self) -> Frame | None:
        """The next frame, or None at the end. Blocks until the frame is due, MAX_GAP_S at most."""
        if self._capture is None:
            return None
        if self._start_s is None:
            self._start_s = time.monotonic()
        while self._grabbed or self._advance():
            self._grabbed = False
            sequence, self._sequence = self._sequence, self._sequence + 1
            wait_s = self._start_s + self._position_s - time.monotonic()
            if not self._fast and wait_s < -self._period_s:
                continue
            decoded, image = self._capture.retrieve()
            picture = bgr(image if decoded else None, self.name)
            if self._fast:
                return Frame(picture, self._position_s, self._epoch + timedelta(seconds=self._position_s), sequence)
            time.sleep(max(0.0, wait_s))
            return stamp(picture, sequence)
        self._check_whole()
        return None

    def _advance(self) -> bool:
        """Grab the next frame and move the position by its timestamp, so that variable frame rates play right."""
        if self._capture is None or not self._capture.grab():
            return False
        stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        step_s = stamp_s - self._stamp_s
        self._stamp_s = stamp_s
        self._position_s += step_s if 0 < step_s <= MAX_GAP_S else self._period_s
        return True

    def _check_whole(self) -> None:
        """The count is only an estimate in some containers: both the frames and the time must fall short."""
        if self._sequence < WHOLE * self._expected and self._position_s < WHOLE * self._expected * self._period_s:
            raise SourceError(
                f"{self.name}: ends after {self._sequence} of {self._expected:.0f} frames: cut off or damaged; "
                "every frame before that was used; copy the file again"
            )

    def close(self) -> None:
        """Release the file. Idempotent."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
