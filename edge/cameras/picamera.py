"""A Raspberry Pi camera, through picamera2."""

import gc
import logging
import os
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.cameras.capture import stamp
from edge.errors import ConfigError, SourceError
from edge.records import Frame
from edge.settings import CameraSettings

log = logging.getLogger(__name__)

READ_S = 2.0
"""Bound of one capture, which without ``wait=`` blocks for ever when the camera stalls."""
TO_BGR: dict[str, int | None] = {
    # picamera2 names formats by their bits in a little-endian word, so arrays come in the opposite order.
    "RGB888": None,
    "BGR888": cv2.COLOR_RGB2BGR,
    "XRGB8888": cv2.COLOR_BGRA2BGR,
    "XBGR8888": cv2.COLOR_RGBA2BGR,
    "YUV420": cv2.COLOR_YUV2BGR_I420,
    "YUYV": cv2.COLOR_YUV2BGR_YUYV,
}


class Picamera:
    """Implements FrameSource over picamera2's main stream at the working size. The size and the format that configure()
    settled on are read back: it may change both.

    Raises ConfigError where picamera2 is not installed, SourceError where there is no such camera or it is in use.
    """

    live = True

    def __init__(self, settings: CameraSettings, number: int = 0, library: ModuleType | None = None) -> None:
        """``library``: picamera2, or edge.cameras.fake_picamera2 in its place."""
        self.name = f"picamera:{number}" if number else "picamera"
        self._camera = _construct(library or _import_picamera2(), number, self.name)
        try:
            self._configure(settings)
            self._camera.start()
        except (RuntimeError, ValueError) as error:
            self.close()
            raise SourceError(
                f"{self.name}: can't be started at {settings.width}x{settings.height} ({_one_line(error)}); "
                "use an even width and height, and see: rpicam-hello --list-cameras"
            ) from None
        except SourceError:
            self.close()
            raise
        self._sequence = 0

    def _configure(self, settings: CameraSettings) -> None:
        main = {"size": (settings.width, settings.height), "format": "RGB888"}
        # A small main stream alone would choose a sensor mode that shows only the middle of the scene; half the
        # sensor's resolution is its binned mode with the whole field of view.
        width, height = self._camera.sensor_resolution
        configuration = self._camera.create_video_configuration(
            main=main, raw={"size": (width // 2, height // 2)}, controls={"FrameRate": settings.fps}
        )
        self._camera.configure(configuration)
        given = self._camera.camera_configuration()["main"]
        self._width, self._height = given["size"]
        if given["format"] not in TO_BGR:
            raise SourceError(f"{self.name}: expected a picture format of {', '.join(TO_BGR)}, got {given['format']}")
        self._code = TO_BGR[given["format"]]
        if (self._width, self._height) != main["size"]:
            log.info("%s gives %dx%d instead of %dx%d", self.name, self._width, self._height, *main["size"])

    def read(self) -> Frame | None:
        """The next frame. Raises TimeoutError after a silent READ_S, SourceError when the camera failed."""
        if self._camera is None:
            raise SourceError(f"{self.name}: read after close")
        try:
            array = self._camera.capture_array("main", wait=READ_S)
        except TimeoutError:
            raise TimeoutError(f"{self.name}: no frame in {READ_S:.0f} s") from None
        except RuntimeError as error:
            raise SourceError(f"{self.name}: lost ({_one_line(error)}); look at its cable") from None
        frame = stamp(self._bgr(array), self._sequence)
        self._sequence += 1
        return frame

    def _bgr(self, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        converted = array if self._code is None else cv2.cvtColor(array, self._code)
        # Rows may be padded on the right (YUV420 keeps its stride).
        image = np.ascontiguousarray(converted[: self._height, : self._width], dtype=np.uint8)
        if image.shape != (self._height, self._width, 3):
            raise SourceError(f"{self.name}: expected {self._width}x{self._height} pictures, got shape {array.shape}")
        return image

    def close(self) -> None:
        """Stop and release the camera, so that it can be opened again. Idempotent.

        The collector is run because picamera2's selectors are cycles that hold a descriptor each.
        """
        camera, self._camera = self._camera, None
        if camera is None:
            return
        try:
            # Not stop() first: it queues behind a capture that timed out, and so waits for ever. close() stops too.
            camera.close()
        except RuntimeError as error:
            log.warning("%s: did not close cleanly (%s)", self.name, _one_line(error))
        gc.collect()


def _construct(library: ModuleType, number: int, name: str) -> Any:
    """library.Picamera2(number) that leaks nothing when it fails: the reopening goes on for ever."""
    present = len(library.Picamera2.global_camera_info())
    if number >= present:
        raise SourceError(
            f"{name}: no such camera (libcamera sees {present}); check the ribbon cable with the power off, then: "
            "rpicam-hello --list-cameras"
        )
    camera = library.Picamera2.__new__(library.Picamera2)
    try:
        camera.__init__(number)
    except Exception as error:
        _discard(camera)
        if not isinstance(error, RuntimeError):
            raise
        raise SourceError(
            f"{name}: in use by another program, not permitted, or failing ({_one_line(error)}); end the other "
            "program, and add this user to the group video"
        ) from None
    return camera


def _discard(camera: Any) -> None:
    """Undo a constructor that failed: by itself it keeps the camera acquired and a pipe open."""
    try:
        camera.close()
    except (AttributeError, RuntimeError) as error:  # its last steps tidy up what was never made
        log.debug("half-made camera closed (%s)", _one_line(error))
    reader = getattr(camera, "notifymeread", None)
    if reader is not None and not reader.closed:
        reader.close()
        os.close(camera.notifyme_w)
    gc.collect()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _import_picamera2() -> ModuleType:
    try:
        import picamera2
    except ImportError as error:
        raise ConfigError(
            f"picamera2 can't be imported ({_one_line(error)}): sudo apt install python3-picamera2, and make the "
            "environment with --system-site-packages; or choose another camera.source"
        ) from None
    return picamera2  # type: ignore[no-any-return]
