"""A network camera that can fail in every way: MJPEG over HTTP, stdlib and OpenCV's encoder only."""

import base64
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self

import cv2
import numpy as np

Mode = Literal["ok", "stall", "close", "garbage", "truncated", "black", "frozen", "large", "missing"]


def jpeg(number: int, width: int = 320, height: int = 240) -> bytes:
    """A noisy picture that differs for every number, as a live camera's does."""
    noise = np.random.default_rng(number).integers(40, 216, (height // 8, width // 8, 3), dtype=np.uint8)
    picture = cv2.resize(noise, (width, height), interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".jpg", picture)[1].tobytes()


class MjpegServer:
    """Serves http://127.0.0.1:PORT/. Set ``mode`` at any time: connections follow within a frame."""

    def __init__(self, fps: float = 25.0, user: str = "", password: str = "") -> None:
        self.mode: Mode = "ok"
        self.connections = 0
        self.open_connections = 0
        self._fps = fps
        self._authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""
        self._stop = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._serve(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/stream.mjpg"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        self.connections += 1
        if self.mode == "missing":
            handler.send_error(404)
            return
        if self._authorization and handler.headers.get("Authorization") != self._authorization:
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", 'Basic realm="camera"')
            handler.end_headers()
            return
        self.open_connections += 1
        try:
            handler.send_response(200)
            handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            handler.end_headers()
            number = 0
            while not self._stop.is_set() and self.mode != "close":
                if part := self._part(number):
                    handler.wfile.write(part)
                number += 1
                time.sleep(1 / self._fps)
        except OSError:
            pass  # the client has gone
        finally:
            self.open_connections -= 1

    def _part(self, number: int) -> bytes:
        match self.mode:
            case "stall":
                return b""
            case "garbage":
                return random.Random(number).randbytes(3000)
            case "truncated":
                picture = jpeg(number)
                return self._framed(picture[: len(picture) // 2])
            case "black":
                return self._framed(cv2.imencode(".jpg", np.zeros((240, 320, 3), np.uint8))[1].tobytes())
            case "frozen":
                return self._framed(jpeg(0))
            case "large":
                return self._framed(jpeg(number, 640, 480))
            case _:
                return self._framed(jpeg(number))

    @staticmethod
    def _framed(picture: bytes) -> bytes:
        return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(picture), picture)
