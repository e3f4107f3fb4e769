"""The face detectors side by side: milliseconds at 320x240 and 640x480 on one thread, and faces found.

    .venv-train/bin/python -m benchmarks.detectors [--other-python .venv-edge/bin/python] [--json]

OpenCV's YuNet, YuNet converted to TFLite in float and in int8 on this interpreter's runtime and on each other's, and
Haar. The TFLite files are made first (python -m convert detector, which needs TensorFlow), one at the size of each
frame, unless --bundles names a folder that holds them; give it to keep them. Times are medians over the frames of a
clip; faces are counted on every picture and on evenly spaced frames of every clip in --media. "of YuNet's": so many of
the faces that OpenCV's YuNet finds at the same size.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from convert.detector_agreement import match
from edge.detectors.face_bundle import load_face_bundle
from edge.detectors.haar import HaarDetector
from edge.detectors.yunet import YunetDetector
from edge.detectors.yunet_tflite import YunetTfliteDetector
from edge.interfaces import FaceDetector
from edge.runtimes.tflite import TfliteModel, runtime_name
from tests.devdata import SHARED

ROOT = Path(__file__).resolve().parent.parent
SIZES = {"320x240": "320x256", "640x480": "640x480"}
"""Frame to network; both sides of a network are multiples of 32."""
CALLS = 60
CLIP = "book.mkv"
PICTURES_FILE = "pictures.npz"
TIMEOUT_S = 1800


@dataclass(frozen=True, slots=True)
class Row:
    detector: str
    runtime: str
    size: str
    ms: float
    faces: int
    same: int
    """Of OpenCV's YuNet's."""
    yunet: int


def detectors(
    onnx: Path, bundles: Path, width: int, network: str, runtime_only: bool
) -> Iterator[tuple[str, str, Callable[[], FaceDetector]]]:
    opencv = f"OpenCV {cv2.__version__}"
    if not runtime_only:
        yield "YuNet (cv2)", opencv, lambda: YunetDetector(onnx, working_width_px=width)
        yield "Haar", opencv, lambda: HaarDetector(working_width_px=width)
    bundle = load_face_bundle(bundles / network)
    for key in ("float", "int8"):
        model = TfliteModel(bundle.read(key))
        yield f"YuNet TFLite {key}", runtime_name(), lambda model=model: YunetTfliteDetector(model)  # type: ignore[misc]


def write_pictures(media: Path, folder: Path) -> None:
    """The pictures and the timed clip as every interpreter reads them: other decoders give other pixels."""
    from convert.detector_pictures import load_pictures  # needs TensorFlow's environment

    width, height = 640, 480
    pictures = [fitted(picture, width, height) for picture in load_pictures([media])]
    clip = [np.asarray(cv2.resize(frame, (width, height)), np.uint8) for frame in load_pictures([media / CLIP])]
    arrays = {f"{kind}{index:04}": each for kind, of in (("p", pictures), ("c", clip)) for index, each in enumerate(of)}
    np.savez(folder / PICTURES_FILE, **arrays)  # type: ignore[arg-type]


def measure(onnx: Path, bundles: Path, runtime_only: bool) -> list[Row]:
    """Every detector of this interpreter at every size."""
    cv2.setNumThreads(1)
    with np.load(bundles / PICTURES_FILE) as arrays:
        pictures = [arrays[key] for key in arrays.files if key.startswith("p")]
        clip = [arrays[key] for key in arrays.files if key.startswith("c")]
    rows = []
    for size, network in SIZES.items():
        width, height = map(int, size.split("x"))
        frames = [np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)) for frame in clip]
        shown = [fitted(picture, width, height) for picture in pictures]
        yunet = YunetDetector(onnx, working_width_px=width)
        expected = [yunet.detect(picture) for picture in shown]
        for name, runtime, make in detectors(onnx, bundles, width, network, runtime_only):
            detector = make()
            found = [detector.detect(picture) for picture in shown]
            rows.append(
                Row(
                    detector=name,
                    runtime=runtime,
                    size=size,
                    ms=round(median_ms(detector, frames), 2),
                    faces=sum(map(len, found)),
                    same=sum(len(match(ours, theirs)) for ours, theirs in zip(expected, found, strict=True)),
                    yunet=sum(map(len, expected)),
                )
            )
            detector.close()
    return rows


def fitted(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Shrunk to fit, so that every detector sees the same pixels."""
    shrink = min(1.0, width / picture.shape[1], height / picture.shape[0])
    size = max(1, round(picture.shape[1] * shrink)), max(1, round(picture.shape[0] * shrink))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def median_ms(detector: FaceDetector, frames: list[Any]) -> float:
    times = []
    for call in range(CALLS + 5):
        began = time.perf_counter()
        detector.detect(frames[call % len(frames)])
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times[5:])


def make_bundles(onnx: Path, bundles: Path) -> None:
    for network in SIZES.values():
        if (bundles / network / "card.json").is_file():
            continue
        out = str(bundles / network)
        command = [sys.executable, "-m", "convert", "detector", str(onnx), "--size", network, "--out", out]
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr, timeout=TIMEOUT_S)


def measure_in(python: Path, args: argparse.Namespace, bundles: Path) -> list[Row]:
    """``measure`` of the TFLite rows in another interpreter."""
    command = [str(python), "-m", "benchmarks.detectors", "--onnx", str(args.onnx), "--bundles", str(bundles)]
    done = subprocess.run(
        [*command, "--runtime-only", "--json"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=TIMEOUT_S,
    )  # fmt: skip
    return [Row(**row) for row in json.loads(done.stdout)["rows"]]


def table(rows: list[Row]) -> str:
    sizes = list(SIZES)
    lines = [
        f"{'detector':<20}{'runtime':<24}"
        + "".join(f"{f'ms {size}':>12}" for size in sizes)
        + "".join(f"{f'faces {size}':>15}{'of YuNet':>12}" for size in sizes)
    ]
    for name, runtime in dict.fromkeys((row.detector, row.runtime) for row in rows):
        mine = {row.size: row for row in rows if (row.detector, row.runtime) == (name, runtime)}
        lines.append(
            f"{name:<20}{runtime:<24}"
            + "".join(f"{mine[size].ms:>12.2f}" for size in sizes)
            + "".join(f"{mine[size].faces:>15}{f'{mine[size].same}/{mine[size].yunet}':>12}" for size in sizes)
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.detectors", description=__doc__.splitlines()[0])
    parser.add_argument("--onnx", type=Path, default=SHARED / "models/face_detection_yunet_2023mar.onnx")
    parser.add_argument("--media", type=Path, default=SHARED / "media", help="pictures and clips")
    parser.add_argument("--bundles", type=Path, help="holds, or will hold, a face bundle of each network size")
    parser.add_argument("--other-python", type=Path, action="append", default=[], help="measure its runtime too")
    parser.add_argument("--runtime-only", action="store_true", help="the TFLite rows only")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundles = (args.bundles or Path(folder)).absolute()
        if not args.runtime_only:
            make_bundles(args.onnx, bundles)
            write_pictures(args.media, bundles)
        rows = measure(args.onnx, bundles, args.runtime_only)
        for python in args.other_python:
            rows += measure_in(python.absolute(), args, bundles)
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    if args.json:
        print(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}))
    else:
        print(f"{table(rows)}\n\none thread; {machine}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
