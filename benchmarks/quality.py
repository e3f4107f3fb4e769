"""What blur, darkness, smallness and turning cost the shipped network: the tables behind the limits in edge/quality.py.

    python -m benchmarks.quality --data fer2013.csv [--rows 1000]

Takes PublicTest faces, which are sharp, lit and mostly frontal, spoils them step by step, and prints for each step the
measure that the device would see (median) and the accuracy of the int8 network. A limit belongs where accuracy has
lost so much that a label is worth less than ``unknown``. The last table is accuracy and coverage by confidence.
"""

import argparse
import csv
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.bundle import load_bundle
from edge.classifiers.emotion import BundleClassifier
from edge.detectors.yunet import YunetDetector
from edge.preprocess import resize_grey
from edge.quality import sharpness, yaw
from edge.runtimes.tflite import TfliteModel
from tests.devdata import SHARED

Picture = NDArray[np.uint8]
FER_LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def read_faces(path: Path, count: int) -> tuple[list[Picture], list[str]]:
    """``count`` PublicTest faces, (48, 48) uint8, evenly spread over the split, and their labels."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file, skipinitialspace=True) if row["Usage"] == "PublicTest"]
    rows = rows[:: max(1, len(rows) // count)][:count]
    pictures = [np.array(row["pixels"].split(), np.uint8).reshape(48, 48) for row in rows]
    return pictures, [FER_LABELS[int(row["emotion"])] for row in rows]


def blurred(sigma: float) -> Callable[[Picture], Picture]:
    return lambda face: np.asarray(cv2.GaussianBlur(face, (0, 0), sigma), np.uint8) if sigma else face


def shrunk(side: int) -> Callable[[Picture], Picture]:
    """As a face ``side`` pixels high arrives: few pixels, enlarged by the crop."""
    return lambda face: resize_grey(resize_grey(face, side, side), 48, 48)


def darkened(mean: float, noise: float = 2.0) -> Callable[[Picture], Picture]:
    """Less light, the same sensor noise (grey levels, one standard deviation), clipped and rounded as a camera does."""
    random = np.random.default_rng(0)

    def spoil(face: Picture) -> Picture:
        dark = face * (mean / max(1.0, float(face.mean()))) + random.normal(0, noise, face.shape)
        return np.clip(np.rint(dark), 0, 255).astype(np.uint8)

    return spoil


def rolled(degrees: float) -> Callable[[Picture], Picture]:
    matrix = cv2.getRotationMatrix2D((23.5, 23.5), -degrees, 1.0)
    border = cv2.BORDER_REPLICATE
    return lambda face: np.asarray(cv2.warpAffine(face, matrix, (48, 48), borderMode=border), np.uint8)


def turned(faces: Sequence[Picture], yunet: Path) -> NDArray[np.float64]:
    """|yaw| of each face as YuNet sees it, enlarged and framed; NaN where it sees none."""
    detector = YunetDetector(yunet)
    found = []
    for face in faces:
        large = cv2.copyMakeBorder(cv2.resize(face, (144, 144)), 48, 48, 48, 48, cv2.BORDER_REPLICATE)
        seen = detector.detect(np.asarray(cv2.cvtColor(large, cv2.COLOR_GRAY2BGR), np.uint8))
        found.append(abs(yaw(seen[0].landmarks)) if seen and seen[0].landmarks else np.nan)
    return np.array(found)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="fer2013.csv")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--bundle", type=Path, default=Path("models/emotion"))
    parser.add_argument("--yunet", type=Path, default=SHARED / "models/face_detection_yunet_2023mar.onnx")
    options = parser.parse_args(arguments)
    bundle = load_bundle(options.bundle)
    classifier = BundleClassifier(TfliteModel(bundle.path("int8")), bundle)
    _, height, width, _ = bundle.input.shape
    faces, labels = read_faces(options.data, options.rows)

    def right(pictures: Sequence[Picture]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Whether each was classified right, and how surely."""
        scores = classifier.classify([resize_grey(picture, height, width) for picture in pictures])
        hits = np.array([score.top[0] == label for score, label in zip(scores, labels, strict=True)])
        return hits, np.array([score.top[1] for score in scores])

    def table(title: str, measure: Callable[[Picture], float], steps: dict[str, Callable[[Picture], Picture]]) -> None:
        print(f"\n{title:28} {'measure 5%':>10} {'median':>10} {'95%':>10} {'accuracy':>9} {'confidence':>10}")
        for name, spoil in steps.items():
            spoiled = [spoil(face) for face in faces]
            hits, sure = right(spoiled)
            low, middle, high = np.percentile([measure(picture) for picture in spoiled], (5, 50, 95))
            print(f"{name:28} {low:10.3g} {middle:10.3g} {high:10.3g} {hits.mean():9.1%} {sure.mean():10.2f}")

    print(f"{len(faces)} PublicTest faces, bundle {bundle.name} {bundle.version}, {classifier.backend}")
    table("blur: sigma px -> sharpness", sharpness, {str(s): blurred(s) for s in (0, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4)})
    table("size: px -> sharpness", sharpness, {str(n): shrunk(n) for n in (48, 40, 32, 28, 24, 20, 16, 12, 8)})
    table(
        "light: mean -> mean",
        lambda p: float(p.mean()),
        {str(n): darkened(n) for n in (128, 64, 40, 30, 20, 15, 10, 5)},
    )

    table("roll: degrees -> sharpness", sharpness, {str(d): rolled(d) for d in (0, 5, 10, 15, 20, 25, 30, 40)})

    hits, sure = right(faces)
    sharp = np.array([sharpness(face) for face in faces])
    print(f"\n{'sharpness as it is':28} {'faces':>10} {'accuracy':>10}")
    edges = np.percentile(sharp, (0, 1, 2, 5, 10, 25, 50, 75, 100))
    for low, high in pairwise(edges):
        kept = (sharp >= low) & (sharp <= high)
        print(f"{low:13.3g} .. {high:<11.3g} {kept.sum():10} {hits[kept].mean():10.1%}")
    turn = turned(faces, options.yunet)
    print(f"\n{'|yaw|':28} {'faces':>10} {'accuracy':>10}   ({np.isnan(turn).mean():.1%} not found by YuNet)")
    for low, high in ((0, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, np.inf)):
        kept = (turn >= low) & (turn < high)
        accuracy = f"{hits[kept].mean():10.1%}" if kept.any() else f"{'-':>10}"
        print(f"{low:13.2f} .. {high:<11.2f} {kept.sum():10} {accuracy}")
    print(f"\n{'confidence threshold':28} {'coverage':>10} {'accuracy':>10}")
    for threshold in (0, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7):
        kept = sure >= threshold
        print(f"{threshold:<28} {kept.mean():10.1%} {hits[kept].mean() if kept.any() else 0:10.1%}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
