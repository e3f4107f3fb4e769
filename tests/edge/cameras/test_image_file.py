"""read_image: any picture becomes upright BGR uint8, anything else one line."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.cameras.image_file import read_image
from edge.errors import SourceError
from tests.devdata import media

# Blue, green / red, white: a quarter of each, so that colour order and rotation both show.
QUARTERS = np.zeros((40, 60, 3), np.uint8)
QUARTERS[:20, :30], QUARTERS[:20, 30:], QUARTERS[20:, :30], QUARTERS[20:, 30:] = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    255,
)


def corners(image: NDArray[np.uint8]) -> list[list[int]]:
    """The four corners' colours, clockwise from the top left, rounded to 0 or 255 (JPEG is not exact)."""
    picked = [image[3, 3], image[3, -4], image[-4, -4], image[-4, 3]]
    return [[255 * (int(value) > 127) for value in colour] for colour in picked]


BLUE, GREEN, RED, WHITE = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]


def with_exif_orientation(jpeg: bytes, orientation: int) -> bytes:
    """TIFF 6.0 header with the one tag 0x0112, in an APP1 segment."""
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tiff", "ppm"])
def test_colour_order_and_shape(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    assert cv2.imwrite(str(path), QUARTERS)
    image = read_image(path)
    assert image.shape == (40, 60, 3)
    assert image.dtype == np.uint8
    assert corners(image) == [BLUE, GREEN, WHITE, RED]


@pytest.mark.parametrize(
    ("orientation", "shape", "expected"),
    [
        (1, (40, 60, 3), [BLUE, GREEN, WHITE, RED]),
        (3, (40, 60, 3), [WHITE, RED, BLUE, GREEN]),
        (6, (60, 40, 3), [RED, BLUE, GREEN, WHITE]),
        (8, (60, 40, 3), [GREEN, WHITE, RED, BLUE]),
    ],
)
def test_exif_rotation(tmp_path: Path, orientation: int, shape: tuple[int, ...], expected: list[list[int]]) -> None:
    jpeg = cv2.imencode(".jpg", QUARTERS, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    path = tmp_path / "turned.jpg"
    path.write_bytes(with_exif_orientation(jpeg, orientation))
    image = read_image(path)
    assert image.shape == shape
    assert corners(image) == expected


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tiff", "pgm"])
def test_grey_becomes_three_equal_channels(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"grey.{suffix}"
    cv2.imwrite(str(path), np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1)))
    image = read_image(path)
    assert image.shape == (40, 60, 3)
    assert np.array_equal(image[..., 0], image[..., 1])
    assert np.array_equal(image[..., 0], image[..., 2])
    assert image[0, 0, 0] < 10 < 225 < image[0, -1, 0]


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_keeps_its_range(tmp_path: Path, suffix: str, channels: int) -> None:
    levels = np.linspace(0, 65535, 60).astype(np.uint16)
    picture = np.repeat(np.tile(levels, (40, 1))[..., None], channels, axis=2)
    if channels == 4:
        picture[..., 3] = 65535
    path = tmp_path / f"deep.{suffix}"
    cv2.imwrite(str(path), picture if channels > 1 else picture[..., 0])
    image = read_image(path)
    assert image.shape == (40, 60, 3)
    assert image.dtype == np.uint8
    assert np.abs(image[0, :, 1].astype(int) - levels // 257).max() <= 1


def test_transparency_is_white_not_what_lies_under_it(tmp_path: Path) -> None:
    picture = np.zeros((10, 10, 4), np.uint8)
    picture[:5, :, 2:] = 255  # above opaque red, below transparent black
    picture[4, :, 3] = 128
    path = tmp_path / "cut.png"
    cv2.imwrite(str(path), picture)
    image = read_image(path)
    assert image[0, 0].tolist() == RED
    assert image[9, 9].tolist() == WHITE
    assert abs(int(image[4, 0, 0]) - 127) <= 1


def test_4k(tmp_path: Path) -> None:
    path = tmp_path / "4k.jpg"
    cv2.imwrite(str(path), cv2.resize(QUARTERS, (3840, 2160), interpolation=cv2.INTER_NEAREST))
    image = read_image(path)
    assert image.shape == (2160, 3840, 3)
    assert corners(image) == [BLUE, GREEN, WHITE, RED]


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tiff"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_a_cut_off_picture_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    whole = tmp_path / f"whole.{suffix}"
    cv2.imwrite(str(whole), noise)
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    with pytest.raises(SourceError) as caught:
        read_image(cut)
    assert str(cut) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cut_off_jpeg_with_a_whole_thumbnail_is_refused(tmp_path: Path) -> None:
    thumbnail = cv2.imencode(".jpg", QUARTERS)[1].tobytes()
    jpeg = cv2.imencode(".jpg", cv2.resize(QUARTERS, (600, 400)))[1].tobytes()
    body = b"Exif\0\0" + thumbnail
    jpeg = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg)
    assert read_image(path).shape == (400, 600, 3)
    path.write_bytes(jpeg + b"trailing bytes some phones append")
    assert read_image(path).shape == (400, 600, 3)
    path.write_bytes(jpeg[:-200])
    with pytest.raises(SourceError, match="cut off"):
        read_image(path)


def test_what_is_no_picture_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text, empty = tmp_path / "text.jpg", tmp_path / "empty.png"
    text.write_text("not a picture")
    empty.touch()
    for path in (text, empty, tmp_path / "missing.jpg", tmp_path):
        with pytest.raises(SourceError) as caught:
            read_image(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == "", "the codecs' own complaints would be a second message"


@pytest.mark.parametrize(
    "name", ["obama.jpg", "obama_and_biden.jpg", "grace_hopper.bmp", "free-mountain-vector-01.jpg"]
)
def test_real_pictures(name: str) -> None:
    image = read_image(media(name))
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.std() > 20
