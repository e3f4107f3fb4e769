"""Any picture file into the one layout the pipeline takes."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.cameras.capture import bgr
from edge.errors import SourceError

JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
FORMATS = "JPEG, PNG, WebP, BMP, TIFF, PPM"


def read_image(path: Path) -> NDArray[np.uint8]:
    """The picture at ``path`` as (H, W, 3) BGR uint8, upright: EXIF rotation applied, grey repeated to three channels,
    transparency put on white, 16 bit cut to 8. Any size.

    Raises SourceError naming the file where it is missing, not a picture, empty or cut off.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise SourceError(f"{path}: expected a picture, there is no such file; check the path") from None
    except IsADirectoryError:
        raise SourceError(f"{path}: expected a picture, this is a folder; name the files in it") from None
    except OSError as error:
        raise SourceError(f"{path}: can't be read ({error.strerror}); check its permissions") from None
    if not data:
        raise SourceError(f"{path}: expected a picture, the file is empty; copy it again")
    if _cut_off(data):
        raise SourceError(
            f"{path}: expected a whole picture, got one that is cut off after {len(data)} bytes; copy it again"
        )
    image = _decode(data)
    if image is None:
        raise SourceError(
            f"{path}: expected {FORMATS}, at most 1 gigapixel, got what is none or damaged; copy it again"
        )
    return bgr(image, str(path))


def _decode(data: bytes) -> NDArray[Any] | None:
    """BGR with the EXIF rotation applied, or BGRA where there is transparency."""
    encoded = np.frombuffer(data, np.uint8)
    try:
        if not data.startswith(JPEG_START):
            # IMREAD_COLOR would drop the alpha channel and show whatever colour lies under it.
            unchanged = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
            if unchanged is None or (unchanged.ndim == 3 and unchanged.shape[2] == 4):
                return unchanged
        return cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    except (cv2.error, MemoryError):
        return None


def _cut_off(data: bytes) -> bool:
    """Whether a JPEG or PNG ends before its end marker. OpenCV fills the missing part with grey and says nothing."""
    if data.startswith(PNG_START):
        return b"IEND" not in data
    if not data.startswith(JPEG_START):
        return False
    # Step over the header segments, whose embedded thumbnail has end markers of its own, to the start of scan.
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        at += 1 if data[at + 1] == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data.find(b"\xff\xd9", at) < 0
