"""The download against a real loopback server: good, resumed, damaged, missing, too long, hanging, gone."""

import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from edge.detectors.yunet import YUNET_SHA256
from edge.errors import DownloadError
from edge.fetch import YUNET_BYTES, fetch, fetch_yunet
from tests.devdata import yunet

GOOD = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(GOOD).hexdigest()


class Handler(BaseHTTPRequestHandler):
    ranges: ClassVar[list[str]] = []
    release = threading.Event()

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        Handler.ranges.append(wanted or "")
        body = {"/damaged": GOOD[:-1] + b"!", "/long": GOOD * 3, "/short": GOOD[:1000]}.get(self.path, GOOD)
        if self.path == "/missing":
            self.send_error(404)
            return
        start = 0
        if wanted and self.path != "/no-ranges":
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
        else:
            self.send_response(200)
        if self.path == "/cut":
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            return
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if self.path == "/hang":
            self.wfile.write(body[:1000])
            self.wfile.flush()
            Handler.release.wait(30)
            return
        if self.path == "/drip":
            for byte in body:
                if Handler.release.wait(0.01):
                    return
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
        self.wfile.write(body[start:])

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def url() -> Iterator[str]:
    Handler.ranges, Handler.release = [], threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    Handler.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


def get(url: str, target: Path, timeout_s: float = 20.0, stall_s: float = 10.0) -> Path:
    return fetch(url, target, SHA256, len(GOOD), timeout_s, stall_s)


def test_a_good_file_is_stored_once(url: str, tmp_path: Path) -> None:
    target = tmp_path / "models" / "file.onnx"
    assert get(url + "/good", target) == target
    assert target.read_bytes() == GOOD
    assert [path.name for path in target.parent.iterdir()] == ["file.onnx"]
    get(url + "/good", target)
    assert Handler.ranges == [""]


def test_an_interrupted_download_goes_on_where_it_stopped(url: str, tmp_path: Path) -> None:
    target = tmp_path / "file.onnx"
    part = tmp_path / "file.onnx.part"
    part.write_bytes(GOOD[:5000])
    get(url + "/good", target)
    assert target.read_bytes() == GOOD
    assert Handler.ranges == ["bytes=5000-"]
    assert not part.exists()


def test_a_cut_connection_leaves_a_part_that_the_next_try_completes(url: str, tmp_path: Path) -> None:
    target = tmp_path / "file.onnx"
    with pytest.raises(DownloadError):
        get(url + "/cut", target)
    assert not target.exists()
    get(url + "/good", target)
    assert target.read_bytes() == GOOD


def test_a_server_without_ranges_starts_over(url: str, tmp_path: Path) -> None:
    (tmp_path / "file.onnx.part").write_bytes(b"x" * 5000)
    assert get(url + "/no-ranges", tmp_path / "file.onnx").read_bytes() == GOOD


@pytest.mark.parametrize("size", [5000, len(GOOD), len(GOOD) + 1])
def test_a_damaged_part_is_thrown_away_and_fetched_whole(url: str, tmp_path: Path, size: int) -> None:
    (tmp_path / "file.onnx.part").write_bytes(b"x" * size)
    assert get(url + "/good", tmp_path / "file.onnx").read_bytes() == GOOD


@pytest.mark.parametrize("path", ["/damaged", "/long", "/short", "/missing"])
def test_a_wrong_file_is_refused_and_the_old_one_stays(url: str, tmp_path: Path, path: str) -> None:
    target = tmp_path / "file.onnx"
    target.write_bytes(b"old")
    with pytest.raises(DownloadError) as caught:
        get(url + path, target)
    assert len(str(caught.value).splitlines()) == 1
    assert url + path in str(caught.value)
    assert str(target) in str(caught.value)
    assert [item.name for item in tmp_path.iterdir()] == ["file.onnx"]
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize(("path", "timeout_s", "stall_s"), [("/hang", 20.0, 0.3), ("/drip", 0.5, 10.0)])
def test_a_hanging_or_dripping_server_is_given_up(
    url: str, tmp_path: Path, path: str, timeout_s: float, stall_s: float
) -> None:
    started = time.monotonic()
    with pytest.raises(DownloadError, match=r"timed out|time was up"):
        get(url + path, tmp_path / "file.onnx", timeout_s, stall_s)
    assert time.monotonic() - started < 15
    assert not (tmp_path / "file.onnx").exists()


def test_nobody_listens_and_bad_addresses(tmp_path: Path) -> None:
    for address in ("http://127.0.0.1:9/x", "no-url", "http://[bad", "ftp://127.0.0.1:9/x"):
        with pytest.raises(DownloadError):
            get(address, tmp_path / "file.onnx", stall_s=2.0)


def test_an_unwritable_folder_is_said(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DownloadError, match=r"directory|exists"):
        get(url + "/good", tmp_path / "file" / "model.onnx")


def test_the_published_facts_are_those_of_the_real_file(tmp_path: Path) -> None:
    original = yunet()
    assert original.stat().st_size == YUNET_BYTES
    target = tmp_path / "yunet.onnx"
    assert fetch_yunet(target, original.as_uri()).read_bytes() == original.read_bytes()
    assert hashlib.sha256(target.read_bytes()).hexdigest() == YUNET_SHA256
