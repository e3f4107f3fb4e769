"""YuNet as a TFLite network, so that faces and emotions are found by one runtime on one accelerator."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.detectors.yunet import NMS_IOU, TOP_K, face_of_row
from edge.errors import BundleError
from edge.interfaces import TensorModel
from edge.records import Face
from edge.runtimes.quantization import dequantize, grey_table

STRIDES = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class Level:
    """Where one stride's four maps are among the outputs."""

    stride: int
    probabilities: tuple[int, int]
    """Face-ness and object-ness: only their product counts, so their order does not."""
    box: int
    points: int


class YunetTfliteDetector:
    """A FaceDetector over a converted YuNet (``python -m convert detector``), float or int8, on any runtime.

    A frame is shrunk to fit the network's fixed size, never enlarged, and black is added at the right and the bottom,
    as OpenCV's FaceDetectorYN does. Raises BundleError where the model's tensors are not YuNet's.
    """

    name = "yunet-tflite"

    def __init__(self, model: TensorModel, score_threshold: float = 0.7) -> None:
        self._model = model
        self._score_threshold = score_threshold
        self._levels = _levels(model)
        self._table = grey_table(model.input)

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """image: (H, W, 3) BGR uint8. Faces in its pixels, best first."""
        _, height, width, _ = self._model.input.shape
        picture, scale_x, scale_y = fit(image, width, height)
        outputs = self._model.invoke(to_tensor(picture, self._table))
        rows = np.concatenate([self._rows(level, outputs) for level in self._levels])
        kept = cv2.dnn.NMSBoxes(rows[:, :4].tolist(), rows[:, 14].tolist(), self._score_threshold, NMS_IOU, top_k=TOP_K)
        scale = np.array([scale_x, scale_y] * 7)
        best = [_with_ties(rows, index) for index in np.asarray(kept, np.int64)]
        faces = [face_of_row((row[:14] * scale).tolist(), float(row[14])) for row in best]
        return sorted(faces, key=lambda face: -face.confidence)

    def close(self) -> None:
        """Free the model. Idempotent."""
        self._model.close()

    def _rows(self, level: Level, outputs: Sequence[NDArray[np.generic]]) -> NDArray[np.float64]:
        """(N, 15): left, top, width, height, five points, score of every cell that scores enough, in the network's
        pixels. A cell's box and points are relative to its own corner and in strides, sizes as logarithms
        (FaceDetectorYNImpl::postProcess in OpenCV's face_detect.cpp)."""

        def real(index: int) -> NDArray[np.float32]:
            return dequantize(outputs[index][0], self._model.outputs[index])

        first, second = (real(index)[:, :, 0].clip(0.0, 1.0) for index in level.probabilities)
        scores = np.sqrt(first * second)
        cells = np.nonzero(scores >= self._score_threshold)
        corner = np.stack([cells[1], cells[0]], axis=1).astype(np.float64)
        box, points = (real(index)[cells].astype(np.float64) for index in (level.box, level.points))
        size = np.exp(box[:, 2:])
        rows = np.hstack([corner + box[:, :2] - size / 2, size, np.tile(corner, 5) + points]) * level.stride
        rows = np.hstack([rows, scores[cells][:, np.newaxis]])
        return np.asarray(rows[np.isfinite(rows).all(axis=1)])


def fit(image: NDArray[np.uint8], width: int, height: int) -> tuple[NDArray[np.uint8], float, float]:
    """image: (H, W, 3) uint8. It in the upper left corner of a black (height, width, 3) picture, shrunk where it is
    larger, and the factors by which x and y in that picture are multiplied to give pixels of ``image``."""
    rows, columns = image.shape[:2]
    shrink = min(1.0, width / columns, height / rows)
    small_rows, small_columns = max(1, round(rows * shrink)), max(1, round(columns * shrink))
    picture = np.zeros((height, width, 3), np.uint8)
    whole = shrink == 1.0
    picture[:small_rows, :small_columns] = (
        image if whole else cv2.resize(image, (small_columns, small_rows), interpolation=cv2.INTER_AREA)
    )
    return picture, columns / small_columns, rows / small_rows


def _with_ties(rows: NDArray[np.float64], index: int) -> NDArray[np.float64]:
    """The mean of row ``index`` and those that overlap it and have the very same score: in int8 neighbouring cells tie
    (in float they do not), and which comes first means nothing, while their landmarks differ by some percent."""
    row = rows[index]
    tied = rows[rows[:, 14] == row[14]]
    start = np.maximum(tied[:, :2], row[:2])
    end = np.minimum(tied[:, :2] + tied[:, 2:4], row[:2] + row[2:4])
    common = np.maximum(end - start, 0.0).prod(axis=1)
    union = tied[:, 2:4].prod(axis=1) + row[2:4].prod() - common
    return np.asarray(tied[common >= NMS_IOU * union].mean(axis=0))


def to_tensor(picture: NDArray[np.uint8], table: NDArray[Any]) -> NDArray[np.generic]:
    """picture: (H, W, 3) uint8; table: ``grey_table`` of the network's input. The (1, H, W, 3) input tensor."""
    return np.asarray(cv2.LUT(picture, table))[np.newaxis]


def _levels(model: TensorModel) -> tuple[Level, ...]:
    """The outputs told apart by their shapes, because a converter may give them any order."""
    batch, height, width, channels = model.input.shape if len(model.input.shape) == 4 else (0, 0, 0, 0)
    found = []
    for stride in STRIDES:
        cells = (1, height // stride, width // stride)
        of_channels = {
            count: [index for index, output in enumerate(model.outputs) if output.shape == (*cells, count)]
            for count in (1, 4, 10)
        }
        if [len(indices) for indices in of_channels.values()] == [2, 1, 1]:
            first, second = of_channels[1]
            found.append(Level(stride, (first, second), of_channels[4][0], of_channels[10][0]))
    if (batch, channels) != (1, 3) or height % 32 or width % 32 or len(found) != 3 or len(model.outputs) != 12:
        raise BundleError(
            f"expected YuNet's picture in and twelve maps out, got {model.input.shape} and {len(model.outputs)} "
            "outputs; convert again (python -m convert detector)"
        )
    return tuple(found)
