"""YuNet (Wu et al. 2023) through OpenCV's FaceDetectorYN: small, quick, five landmarks."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.detectors.working_size import shrink
from edge.errors import BundleError
from edge.records import Box, Face, Landmarks

YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
"""opencv_zoo's face_detection_yunet_2023mar.onnx, 232,589 bytes, MIT."""

NMS_IOU = 0.3
TOP_K = 500


class YunetDetector:
    """A FaceDetector over the .onnx file at ``model``.

    Frames wider than ``working_width_px`` are shrunk to it for detection. The file's SHA-256 is verified and the very
    bytes that were verified are loaded, because a damaged model can crash the process. Raises BundleError where the
    file is missing or is not the expected one.
    """

    name = "yunet"

    def __init__(
        self, model: Path, score_threshold: float = 0.7, working_width_px: int = 320, sha256: str = YUNET_SHA256
    ) -> None:
        self._working_width_px = working_width_px
        content = _verified(model, sha256)
        self._network = cv2.FaceDetectorYN.create(
            "onnx",
            np.frombuffer(content, np.uint8),
            np.empty(0, np.uint8),
            (320, 320),
            score_threshold,
            NMS_IOU,
            TOP_K,
        )

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """image: (H, W, 3) BGR uint8. Faces in its pixels, best first."""
        small, scale_x, scale_y = shrink(image, self._working_width_px)
        self._network.setInputSize((small.shape[1], small.shape[0]))
        rows = self._network.detect(small)[1]
        if rows is None:
            return []
        scale = np.tile([scale_x, scale_y], 7)
        faces = [face_of_row((row[:14] * scale).tolist(), float(row[14])) for row in rows if np.isfinite(row).all()]
        return sorted(faces, key=lambda face: -face.confidence)

    def close(self) -> None:
        """Nothing to release."""


def _verified(model: Path, sha256: str) -> bytes:
    try:
        content = model.read_bytes()
    except OSError as error:
        raise BundleError(
            f"expected YuNet's model file at {model}, could not read it ({error.strerror}); run "
            'python -m edge fetch, or set detector.kind = "haar", which needs no file'
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise BundleError(
            f"expected YuNet's model file {model} with sha256 {sha256[:12]}..., got {found[:12]}... "
            f"({len(content)} bytes); run python -m edge fetch"
        )
    return content


def face_of_row(numbers: list[float], score: float) -> Face:
    """OpenCV's row: left, top, width, height, then x, y of right eye, left eye, nose, right and left mouth corner,
    where right and left are the subject's, as in Landmarks."""
    left, top, width, height, *points = numbers
    pairs = list(zip(points[0::2], points[1::2], strict=True))
    return Face(Box(left, top, width, height), min(max(score, 0.0), 1.0), Landmarks(*pairs))
