"""Downloads the one file the project does not ship: YuNet's weights, on the user's machine, checked by SHA-256."""

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

from edge.bundle import file_sha256
from edge.detectors.yunet import YUNET_SHA256
from edge.errors import DownloadError

YUNET_FILE = Path(__file__).resolve().parent.parent / "models/downloads/face_detection_yunet_2023mar.onnx"
YUNET_URL = (
    "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx"
)
YUNET_BYTES = 232_589

_CHUNK = 65536


def fetch_yunet(target: Path = YUNET_FILE, url: str = YUNET_URL, timeout_s: float = 60.0) -> Path:
    """The checked weights at ``target``, downloaded unless they are there. Raises DownloadError."""
    return fetch(url, target, YUNET_SHA256, YUNET_BYTES, timeout_s)


def yunet_is_whole(file: Path = YUNET_FILE) -> bool:
    """Whether YuNet's weights lie at ``file``, undamaged."""
    return file.is_file() and _matches(file, YUNET_SHA256, YUNET_BYTES)


def fetch(url: str, target: Path, sha256: str, size: int, timeout_s: float, stall_s: float = 10.0) -> Path:
    """Download ``url`` to ``target``: written to ``target.part``, checked, renamed; an interrupted download goes on.

    size: in bytes, exact. timeout_s bounds the whole, stall_s each wait for the server. A damaged file is removed,
    whatever stood at ``target`` before stays. Raises DownloadError, whose message ends in a mend.
    """
    if target.is_file() and _matches(target, sha256, size):
        return target
    part = target.with_name(target.name + ".part")
    mend = f"try again, or put the file at {target} by hand"
    deadline_s = time.monotonic() + timeout_s
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        resumed = part.exists()
        _download(url, part, size, deadline_s, min(stall_s, timeout_s))
        if resumed and not _matches(part, sha256, size):  # what was there before was damaged: all of it again
            part.unlink()
            _download(url, part, size, deadline_s, min(stall_s, timeout_s))
        if not _matches(part, sha256, size):
            found = f"{part.stat().st_size} bytes with sha256 {file_sha256(part)}"
            part.unlink()
            raise DownloadError(f"expected {size} bytes with sha256 {sha256} from {url}, got {found}; {mend}")
        part.replace(target)
    except DownloadError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DownloadError(f"expected to download {url}, got: {_reason(error)}; {mend}") from error
    return target


def _matches(file: Path, sha256: str, size: int) -> bool:
    return file.stat().st_size == size and file_sha256(file) == sha256


def _download(url: str, part: Path, size: int, deadline_s: float, stall_s: float) -> None:
    """Append to ``part`` what it lacks of ``size`` bytes; from the start where the server can't continue."""
    have = part.stat().st_size if part.exists() else 0
    if have >= size:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=stall_s) as answer:
        continues = have > 0 and answer.status == 206
        with part.open("ab" if continues else "wb") as file:
            while chunk := answer.read1(_CHUNK):
                file.write(chunk)
                if file.tell() > size:
                    return  # the size check of the caller refuses it
                if time.monotonic() > deadline_s:
                    raise TimeoutError(f"{file.tell()} of {size} bytes when the time was up")


def _reason(error: Exception) -> str:
    plain = isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError)
    cause = error.reason if plain else error  # type: ignore[attr-defined]
    return " ".join(str(cause).split()) or type(cause).__name__
