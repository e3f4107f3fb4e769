"""YuNet's TFLite adapter on networks whose maps are known: what is decoded, and where it lies in the frame.

The converted network itself is compared with OpenCV's in tests/convert/test_detector.py.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.detectors.yunet_tflite import STRIDES, YunetTfliteDetector, fit
from edge.errors import BundleError
from edge.records import TensorSpec

WIDTH, HEIGHT = 320, 256


class Maps:
    """A TensorModel that answers every picture with the same maps, in an order of its own."""

    backend = "fake"

    def __init__(self, width: int = WIDTH, height: int = HEIGHT, scale: float = 0.0) -> None:
        self.input = TensorSpec((1, height, width, 3), "int8" if scale else "float32", 1.0 if scale else 0.0, -128)
        self.maps: dict[tuple[str, int], NDArray[np.float32]] = {}
        for kind, channels in (("kps", 10), ("obj", 1), ("bbox", 4), ("cls", 1)):
            for stride in reversed(STRIDES):
                self.maps[kind, stride] = np.zeros((1, height // stride, width // stride, channels), np.float32)
        self.scale = scale
        self.outputs = tuple(
            TensorSpec(each.shape, "int8" if scale else "float32", self._scale(kind), -128 if self._unit(kind) else 0)
            for (kind, _), each in self.maps.items()
        )
        self.seen: list[NDArray[np.generic]] = []
        self.closed = False

    def _unit(self, kind: str) -> bool:
        return bool(self.scale) and kind in ("cls", "obj")

    def _scale(self, kind: str) -> float:
        return 1 / 256 if self._unit(kind) else self.scale

    def face(
        self, stride: int, column: int, row: int, box: Sequence[float], points: Sequence[float], score: float
    ) -> None:
        """box: centre x, y, width, height; points: five times x, y; in pixels of the network."""
        cell = (0, row, column)
        corner = np.array([column, row])
        x, y, width, height = np.array(box) / stride
        self.maps["bbox", stride][cell] = [x - column, y - row, np.log(width), np.log(height)]
        self.maps["kps", stride][cell] = np.array(points) / stride - np.tile(corner, 5)
        self.maps["cls", stride][cell] = score
        self.maps["obj", stride][cell] = score

    def invoke(self, tensor: NDArray[np.generic]) -> list[NDArray[np.generic]]:
        self.seen.append(tensor)
        if not self.scale:
            return list(self.maps.values())
        return [
            np.clip(np.rint(values / spec.scale) + spec.zero_point, -128, 127).astype(np.int8)
            for values, spec in zip(self.maps.values(), self.outputs, strict=True)
        ]

    def close(self) -> None:
        self.closed = True


POINTS = [90.0, 70.0, 110.0, 71.0, 101.0, 80.0, 92.0, 90.0, 109.0, 91.0]


def frame(height: int, width: int) -> NDArray[np.uint8]:
    return np.zeros((height, width, 3), np.uint8)


@given(
    stride=st.sampled_from(STRIDES),
    where=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
    offset=st.tuples(st.floats(-1, 2), st.floats(-1, 2)),
    size=st.tuples(st.floats(6, 300), st.floats(6, 300)),
    frame_size=st.tuples(st.integers(8, 1500), st.integers(8, 1500)),
    score=st.floats(0.72, 1.0),
)
def test_a_face_comes_back_in_the_frames_pixels(
    stride: int,
    where: tuple[float, float],
    offset: tuple[float, float],
    size: tuple[float, float],
    frame_size: tuple[int, int],
    score: float,
) -> None:
    model = Maps()
    column, row = int(where[0] * WIDTH / stride), int(where[1] * HEIGHT / stride)
    x, y = (column + offset[0]) * stride, (row + offset[1]) * stride
    model.face(stride, column, row, (x, y, *size), POINTS, score)
    rows, columns = frame_size
    (found,) = YunetTfliteDetector(model).detect(frame(rows, columns))
    # What fit() did, computed another way: the larger side decides, and nothing is enlarged.
    shrink = max(1.0, columns / WIDTH, rows / HEIGHT)
    scale_x, scale_y = columns / max(1, round(columns / shrink)), rows / max(1, round(rows / shrink))
    assert found.box.centre == pytest.approx((x * scale_x, y * scale_y), rel=1e-4, abs=1e-2)
    assert (found.box.width, found.box.height) == pytest.approx((size[0] * scale_x, size[1] * scale_y), rel=1e-4)
    assert found.confidence == pytest.approx(score, abs=1e-6)
    assert found.landmarks is not None
    assert found.landmarks.left_eye == pytest.approx((110 * scale_x, 71 * scale_y), rel=1e-4)
    assert found.landmarks.mouth_left == pytest.approx((109 * scale_x, 91 * scale_y), rel=1e-4)


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_a_frame_of_any_shape_fits_and_is_never_enlarged(rows: int, columns: int) -> None:
    picture, scale_x, scale_y = fit(np.full((rows, columns, 3), 200, np.uint8), WIDTH, HEIGHT)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert scale_x >= 1 - 1e-9 and scale_y >= 1 - 1e-9
    filled_rows, filled_columns = int((picture[:, 0, 0] > 0).sum()), int((picture[0, :, 0] > 0).sum())
    assert (filled_columns * scale_x, filled_rows * scale_y) == pytest.approx((columns, rows))
    assert not picture[filled_rows:].any() and not picture[:, filled_columns:].any()


def test_int8_maps_are_read_with_their_own_scales() -> None:
    model = Maps(scale=0.02)
    model.face(16, 6, 5, (100, 80, 40, 48), POINTS, 0.9)
    (found,) = YunetTfliteDetector(model).detect(frame(256, 320))
    assert found.box.centre == pytest.approx((100, 80), abs=0.2)
    assert (found.box.width, found.box.height) == pytest.approx((40, 48), rel=0.011)
    assert found.landmarks is not None
    assert np.array(found.landmarks.nose) == pytest.approx([101, 80], abs=0.2)
    assert found.confidence == pytest.approx(0.9, abs=1 / 256)


def test_the_picture_goes_in_as_it_is_bgr_shrunk_and_filled_up_with_black() -> None:
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for scale, black in ((0.0, 0), (0.02, -128)):
        model = Maps(scale=scale)
        YunetTfliteDetector(model).detect(image)
        (tensor,) = model.seen
        assert (tensor.shape, tensor.dtype.name) == (model.input.shape, model.input.dtype)
        expected = cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA).astype(np.int16) + black
        np.testing.assert_array_equal(tensor[0, :240], expected)
        assert (tensor[0, 240:] == black).all()


def test_overlapping_faces_are_one_and_the_best_comes_first() -> None:
    model = Maps()
    model.face(8, 12, 10, (100, 80, 40, 48), POINTS, 0.8)
    model.face(16, 6, 5, (101, 81, 41, 47), POINTS, 0.9)
    model.face(8, 30, 20, (240, 160, 30, 36), POINTS, 0.95)
    model.face(32, 1, 6, (40, 200, 60, 60), POINTS, 0.69)  # below the threshold
    found = YunetTfliteDetector(model, 0.7).detect(frame(256, 320))
    assert [round(face.confidence, 2) for face in found] == [0.95, 0.9]
    assert len(YunetTfliteDetector(model, 0.6).detect(frame(256, 320))) == 3


def test_cells_that_tie_on_one_face_are_averaged_and_two_faces_stay_two() -> None:
    model = Maps(scale=0.02)
    model.face(8, 12, 10, (100, 80, 40, 48), POINTS, 0.9)
    model.face(8, 13, 10, (104, 80, 40, 48), [value + 4 * (index % 2 == 0) for index, value in enumerate(POINTS)], 0.9)
    model.face(8, 30, 20, (240, 160, 30, 36), POINTS, 0.9)
    first, second = sorted(YunetTfliteDetector(model).detect(frame(256, 320)), key=lambda face: face.box.left)
    assert first.box.centre == pytest.approx((102, 80), abs=0.2) and first.landmarks is not None
    assert np.array(first.landmarks.nose) == pytest.approx([103, 80], abs=0.2)
    assert second.box.centre == pytest.approx((240, 160), abs=0.2)


def test_no_face_and_values_that_are_none() -> None:
    model = Maps()
    detector = YunetTfliteDetector(model)
    assert detector.detect(frame(256, 320)) == []
    model.face(8, 12, 10, (100, 80, 40, 48), POINTS, 0.9)
    model.maps["kps", 8][0, 10, 12, 3] = np.nan
    model.maps["cls", 16][:] = np.nan
    assert detector.detect(frame(256, 320)) == []
    detector.close()
    assert model.closed


def test_a_network_of_another_size() -> None:
    model = Maps(96, 64)
    model.face(32, 1, 1, (48, 32, 40, 48), POINTS, 0.9)
    (found,) = YunetTfliteDetector(model).detect(frame(128, 192))
    assert found.box.centre == pytest.approx((96, 64))


@pytest.mark.parametrize("change", ["channels", "outputs", "size", "maps"])
def test_another_network_is_refused_in_one_line(change: str) -> None:
    model = Maps(100, 64) if change == "size" else Maps()
    if change == "channels":
        model.input = TensorSpec((1, HEIGHT, WIDTH, 1), "int8", 1.0, -128)
    elif change == "outputs":
        model.outputs = model.outputs[:-1]
    elif change == "maps":
        model.outputs = (TensorSpec((1, 7), "int8", 0.1, 0), *model.outputs[1:])
    with pytest.raises(BundleError, match=r"expected YuNet's picture in and twelve maps out, got .*convert detector"):
        YunetTfliteDetector(model)
