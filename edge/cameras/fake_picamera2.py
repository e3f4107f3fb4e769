"""A stand-in for picamera2 with no camera behind it, for tests and for trying the adapter on a workstation.

It keeps picamera2's habits that bite (picamera2 0.3.3x, read from its source and seen on libcamera's virtual pipeline):
format names are the reverse of the arrays' channel order; configure() adjusts sizes and formats; ``capture_array``
without ``wait`` blocks for ever when the camera stalls; a capture that timed out stays queued, and ``stop()`` waits
behind it for ever, while ``close()`` does not; a constructor that fails leaves a pipe open and may keep the camera; a
camera is opened by one program at a time.
"""

import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def _scene() -> NDArray[np.uint8]:
    """(240, 320, 3) BGR: blue above, orange below."""
    picture = np.empty((240, 320, 3), np.uint8)
    picture[:120], picture[120:] = (200, 60, 20), (30, 130, 240)
    return picture


@dataclass
class World:
    """What is in front of, and wrong with, the fake cameras. Tests change it; ``reset`` puts it right."""

    cameras: int = 1
    scene: NDArray[np.uint8] = field(default_factory=_scene)
    stalled: threading.Event = field(default_factory=threading.Event)
    adjusted: dict[str, Any] = field(default_factory=dict)
    """What configure() puts in place of the asked ``size`` and ``format``."""
    fps: float = 100.0
    busy: set[int] = field(default_factory=set)
    """Cameras in use."""
    no_buffers: bool = False
    """The constructor fails after it took the camera, as without permission for /dev/dma_heap."""
    unbounded_captures: int = 0
    """Captures made without a bounded wait: an adapter that makes any would hang one day."""
    freed: threading.Event = field(default_factory=threading.Event)
    """Set at the end of a test: lets go what would block for ever."""


world = World()


def reset() -> World:
    """Sound cameras again; whatever was left blocked by the old world is let go."""
    global world
    world.freed.set()
    world = World()
    return world


class Picamera2:
    """One fake camera."""

    sensor_resolution = (3280, 2464)

    def __init__(self, camera_num: int = 0) -> None:
        self._world = world
        self.notifyme_r, self.notifyme_w = os.pipe()
        self.notifymeread = os.fdopen(self.notifyme_r, "rb")
        self.started = self.is_open = False
        if camera_num in self._world.busy:
            raise RuntimeError("Camera __init__ sequence did not complete.")
        self._world.busy.add(camera_num)
        self.is_open = True
        self._number = camera_num
        if self._world.no_buffers:
            raise RuntimeError("Could not open any dmaHeap device")
        self.allocator = object()
        self._configuration: dict[str, Any] = {}
        self._pending = self._frames = 0

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        return [{"Model": "fake", "Num": number} for number in range(world.cameras)]

    def create_video_configuration(
        self, main: dict[str, Any], raw: dict[str, Any], controls: dict[str, Any]
    ) -> dict[str, Any]:
        return {"main": dict(main), "raw": dict(raw), "controls": dict(controls)}

    def configure(self, configuration: dict[str, Any]) -> None:
        if self.started:
            raise RuntimeError("Camera must be stopped before configuring")
        if any(side % 2 for side in configuration["main"]["size"]):
            raise RuntimeError("width and height should be even")
        main = {**configuration["main"], **self._world.adjusted}
        self._configuration = {**configuration, "main": main}

    def camera_configuration(self) -> dict[str, Any]:
        return self._configuration

    def start(self) -> None:
        if not self._configuration:
            raise RuntimeError("Camera has not been configured")
        self.started = True

    def capture_array(self, name: str = "main", wait: float | bool | None = None) -> NDArray[np.uint8]:
        if wait is None or wait is True:
            self._world.unbounded_captures += 1
        deadline_s = float("inf") if wait is None or wait is True else time.monotonic() + wait
        while not self.started or not self.is_open or self._world.stalled.is_set():
            if time.monotonic() >= deadline_s:
                self._pending += 1
                raise TimeoutError
            if self._world.freed.wait(0.01):
                raise RuntimeError("the test is over")
        time.sleep(1 / self._world.fps)
        self._pending = 0
        self._frames += 1
        return self._picture(self._configuration[name])

    def _picture(self, stream: dict[str, Any]) -> NDArray[np.uint8]:
        """The scene in the stream's layout; one changing corner pixel block, as no real picture is twice the same."""
        picture = cv2.resize(self._world.scene, stream["size"], interpolation=cv2.INTER_NEAREST)
        picture[:4, :4] = self._frames % 256
        match stream["format"]:
            case "RGB888":
                layout = picture
            case "BGR888":
                layout = picture[:, :, ::-1].copy()
            case "XRGB8888":
                layout = cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA)
            case "XBGR8888":
                layout = cv2.cvtColor(picture, cv2.COLOR_BGR2RGBA)
            case "YUV420":
                # Rows are padded to a multiple of 64, and the array keeps the padding.
                padding = -stream["size"][0] % 64
                picture = cv2.copyMakeBorder(picture, 0, 0, 0, padding, cv2.BORDER_CONSTANT)
                layout = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)
            case other:
                raise RuntimeError(f"Format {other} not supported")
        return np.asarray(layout, dtype=np.uint8)

    def stop(self) -> None:
        while self._pending and self._world.stalled.is_set():
            if self._world.freed.wait(0.05):
                return
        self.started = False

    def close(self) -> None:
        if not self.is_open:
            return
        self.started = self.is_open = False
        self._world.busy.discard(self._number)
        del self.allocator
        self.notifymeread.close()
        os.close(self.notifyme_w)
