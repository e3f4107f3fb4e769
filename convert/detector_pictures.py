"""The pictures a face detector is calibrated with: the user's, each seen from several distances."""

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from convert.quantize import quiet
from edge.detectors.yunet_tflite import fit
from edge.errors import DataError
from edge.interfaces import FaceDetector
from edge.records import Box

Picture = NDArray[np.uint8]

FRAMES_OF_A_CLIP = 40
MAX_PICTURES = 300
MIN_FACES = 20
"""Pictures with a face, below which the ranges of boxes and landmarks are left to chance."""
NEAR = 0.75
"""Share of the height that the largest face has in the near view. Large faces are the business of the coarsest maps,
which pictures of small ones leave dark: calibrated without, int8 found none of them."""
NEEDED = f"name pictures or clips that show at least {MIN_FACES} faces with --calibration; your own photos will do"


def load_pictures(paths: Sequence[Path]) -> list[Picture]:
    """(H, W, 3) BGR uint8 pictures from picture files, clips (evenly spaced frames) and folders of both.

    Raises DataError where a named file can't be read; in a folder such a file is passed over, and said.
    """
    pictures: list[Picture] = []
    for path in paths:
        if not path.exists():
            raise DataError(f"expected pictures at {path}, there is nothing; {NEEDED}")
        files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
        for file in files:
            found = _read(file)
            if not found and not path.is_dir():
                raise DataError(f"expected a picture or clip, {file} can't be read as one; {NEEDED}")
            if not found:
                print(f"passed over {file}: neither picture nor clip", file=sys.stderr)
            pictures += found
    keep = np.linspace(0, len(pictures) - 1, min(len(pictures), MAX_PICTURES)).astype(int)
    return [pictures[index] for index in keep]


def calibration_views(pictures: Sequence[Picture], detector: FaceDetector, width: int, height: int) -> Picture:
    """(N, height, width, 3): each picture as the device sees it, from twice as far, and close to its largest face.

    Raises DataError where too few pictures show a face.
    """
    views = []
    faces = 0
    for picture in pictures:
        whole = fit(picture, width, height)[0]
        half = cv2.resize(whole, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        views += [whole, fit(np.asarray(half, np.uint8), width, height)[0]]
        found = detector.detect(picture)
        if found:
            faces += 1
            views.append(_near(picture, max((face.box for face in found), key=lambda box: box.area), width, height))
    if faces < MIN_FACES:
        raise DataError(f"expected at least {MIN_FACES} pictures with a face, got {faces} of {len(pictures)}; {NEEDED}")
    return np.stack(views)


def _near(picture: Picture, box: Box, width: int, height: int) -> Picture:
    """The face at NEAR of the height, in the middle; the picture's edge is repeated where it ends."""
    scale = NEAR * height / box.height
    x, y = box.centre
    matrix = np.array([[scale, 0, width / 2 - scale * x], [0, scale, height / 2 - scale * y]])
    near = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(near, np.uint8)


def _read(file: Path) -> list[Picture]:
    with quiet():  # OpenCV and FFmpeg complain on standard error about what is not a picture
        picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if picture is not None and file.suffix.lower() != ".gif":
            return [np.asarray(picture, np.uint8)]
        capture = cv2.VideoCapture(str(file))
        step = max(1, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) // FRAMES_OF_A_CLIP)
        frames: list[Picture] = []
        index = 0
        while len(frames) < FRAMES_OF_A_CLIP and capture.grab():
            if index % step == 0 and (retrieved := capture.retrieve())[0]:
                frames.append(np.asarray(retrieved[1], np.uint8))
            index += 1
        capture.release()
    return frames
