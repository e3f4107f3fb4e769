"""An RTSP or HTTP (MJPEG) camera, through FFmpeg."""

import os
import socket
import time
from urllib.parse import urlsplit

import cv2

from edge.cameras.capture import bgr, open_capture, stamp
from edge.errors import SourceError
from edge.records import Frame

OPEN_S, READ_S = 3.0, 2.0
"""Bounds of opening and of one read; FFmpeg's own is 30 s. Looking up a host's name is not bounded by them."""
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


class NetworkCamera:
    """Implements FrameSource over a URL. ``name`` is the URL without its password (Source.name).

    RTSP goes over TCP: lost UDP packets smear the picture and many firewalls stop them.
    Raises SourceError where the host, the server or the stream is missing.
    """

    live = True

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        if url.lower().startswith("rtsp"):
            os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
        milliseconds = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            round(OPEN_S * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            round(READ_S * 1000),
        ]
        self._capture = open_capture(url, cv2.CAP_FFMPEG, milliseconds)
        if self._capture is None:
            raise SourceError(f"{name}: {_why_not(url)}")
        self._sequence = 0

    def read(self) -> Frame | None:
        """The next frame. Raises TimeoutError after a silent READ_S, SourceError when the stream ended."""
        if self._capture is None:
            raise SourceError(f"{self.name}: read after close")
        begin_s = time.monotonic()
        decoded, image = self._capture.read()
        if not decoded:
            if time.monotonic() - begin_s >= 0.9 * READ_S:
                raise TimeoutError(f"{self.name}: no frame in {READ_S:.0f} s")
            raise SourceError(f"{self.name}: the stream ended or can't be decoded")
        frame = stamp(bgr(image, self.name), self._sequence)
        self._sequence += 1
        return frame

    def close(self) -> None:
        """Release the connection. Idempotent."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def _why_not(url: str) -> str:
    """FFmpeg tells nothing, so knock at the port to say what to mend."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    try:
        socket.create_connection((host, port), timeout=OPEN_S).close()
    except socket.gaierror:
        return f"host {host} is unknown; check the name, or use its address"
    except TimeoutError:
        return f"{host} does not answer within {OPEN_S:.0f} s; check that it is on and in this network"
    except OSError as error:
        return f"port {port} of {host} can't be reached ({error.strerror or error}); check the camera and the port"
    return "the server answers but gives no video; check the path, the user and the password"
