"""YuNet's ONNX file to a face bundle: rebuild, calibrate, compare with OpenCV's own run of it, describe, write.

``python -m convert detector face_detection_yunet_2023mar.onnx --out models/face``.
"""

import argparse
import hashlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from convert import card, edgetpu_check, edgetpu_compile, quantize
from convert.detector_agreement import DetectorAgreement, compare, table
from convert.detector_graph import MEND, STRIDES, read_onnx, rebuild
from convert.detector_pictures import NEEDED, calibration_views, load_pictures
from convert.equalize import equalize
from convert.folder import replaced_folder
from convert.golden import FACE
from edge.detectors.face_bundle import CARD_SCHEMA, face_golden_json, load_face_bundle
from edge.detectors.yunet import YUNET_SHA256, YunetDetector
from edge.detectors.yunet_tflite import YunetTfliteDetector, fit, to_tensor
from edge.errors import ConversionError, UsageError
from edge.runtimes.quantization import grey_table
from edge.runtimes.tflite import TfliteModel, import_runtime, runtime_name

SHIPPED_CLIP = Path(__file__).resolve().parent.parent / "edge/demo/astronaut.mp4"
DIVISOR, SMALLEST, LARGEST = 32, 64, 1280
FILES = {"int8": "yunet.int8.tflite", "float": "yunet.float.tflite", "golden": "golden.json"}
LICENCE = (
    "MIT, as opencv_zoo states for models/face_detection_yunet (source: ShiqiYu/libfacedetection.train); the weights "
    "are those of the source file, rearranged and quantized"
)
FLOAT_IOU = 0.99
INT8_FOUND, INT8_IOU = 0.95, 0.8
"""Share of OpenCV's faces that int8 must find, and how well 95 % of them must overlap."""
TOLERANCE_STEPS = {"ai-edge-litert": 4.0, "tflite-runtime": 20.0, "edgetpu": 24.0}
"""Of the golden maps, at the worst of some 27,000 values. Where no face is, boxes and points mean nothing and two
correct runtimes differ most: tflite-runtime 2.14 by up to 12 steps from ai-edge-litert."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("onnx", type=Path, metavar="FILE.onnx", help="face_detection_yunet_2023mar.onnx (edge fetch)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the bundle to write: models/face")
    parser.add_argument("--size", default="320x256", metavar="WxH", help="of the network's picture, multiples of 32")
    parser.add_argument(
        "--calibration", type=Path, nargs="+", metavar="PATH",
        help="pictures, clips and folders of both; without it the shipped clip serves",
    )  # fmt: skip
    parser.add_argument(
        "--sha256", default=YUNET_SHA256, metavar="HEX", help="of another file with YuNet's graph, say one trained on"
    )
    edgetpu_compile.add_compiler_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Make the bundle; the tables go to standard output, progress to standard error."""
    width, height = parse_size(args.size)
    content = _verified(args.onnx, args.sha256)
    edgetpu_compile.find_compiler(args.compiler)
    # The folder first: an unwritable one must not be found out after minutes of work.
    with replaced_folder(args.out) as staging:
        _build(args, content, width, height, staging)
    print(f"\nwrote {args.out}: " + ", ".join(sorted(path.name for path in args.out.iterdir())))
    return 0


def parse_size(text: str) -> tuple[int, int]:
    """``320x256`` to (width, height). Raises UsageError."""
    parts = text.lower().split("x")
    sizes = [int(part) if part.isascii() and part.isdigit() and len(part) < 6 else 0 for part in parts]
    if len(sizes) != 2 or not all(SMALLEST <= size <= LARGEST and size % DIVISOR == 0 for size in sizes):
        raise UsageError(
            f"expected --size WIDTHxHEIGHT in multiples of {DIVISOR} from {SMALLEST} to {LARGEST}, got {text!r}; the "
            "usual one is 320x256"
        )
    return sizes[0], sizes[1]


def _verified(path: Path, sha256: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConversionError(
            f"expected YuNet's ONNX file at {path}, could not read it ({error.strerror}); python -m edge fetch gets it"
        ) from error
    read_onnx(content, path)  # what is no ONNX file at all is told so, not that its hash differs
    found = hashlib.sha256(content).hexdigest()
    if found != sha256.lower():
        raise ConversionError(
            f"expected {path} with sha256 {sha256[:12]}..., got {found[:12]}... ({len(content)} bytes); {MEND}"
        )
    return content


def _build(args: argparse.Namespace, content: bytes, width: int, height: int, staging: Path) -> None:
    network = rebuild(read_onnx(content, args.onnx), width, height)
    pictures = load_pictures(args.calibration or [SHIPPED_CLIP])
    reference = YunetDetector(args.onnx, working_width_px=max(width, height), sha256=args.sha256.lower())
    views = calibration_views(pictures, reference, width, height)
    if not args.calibration:
        _say(f"calibrating on the shipped clip alone, one face under one light; better, {NEEDED}")
    _say("converting to float32")
    floating = quantize.to_float(network)
    _say(f"converting to int8, calibrated on {len(views)} views of {len(pictures)} pictures")
    equalize(network, views)
    int8 = quantize.to_int8(network, quantize.with_full_range(views))

    seen = [fit(picture, width, height)[0] for picture in pictures]
    agreements = [
        _agreement(reference, model, FILES[key], seen) for key, model in (("float", floating), ("int8", int8))
    ]
    print(f"against OpenCV {cv2.__version__}'s FaceDetectorYN at {width}x{height}, on the pictures of the calibration")
    print(table(agreements))
    _require_agreement(*agreements)
    mapping = edgetpu_check.check_bytes(int8, FILES["int8"])
    print("\n" + (edgetpu_check.summary(mapping) if mapping.ok else edgetpu_check.table(mapping)))

    files = dict(FILES)
    (staging / files["int8"]).write_bytes(int8)
    (staging / files["float"]).write_bytes(floating)
    model = TfliteModel(int8)
    golden = golden_pictures(width, height)
    levels = grey_table(model.input)
    answers = [model.invoke(to_tensor(picture, levels)) for picture in golden]
    (staging / files["golden"]).write_text(face_golden_json(golden, answers, TOLERANCE_STEPS))
    compiled = edgetpu_compile.compile_beside(staging / files["int8"], args)
    if compiled is not None:
        files["edgetpu"] = compiled["file"]
    entries = card.file_entries(staging, files)
    contents: dict[str, Any] = {
        "schema": CARD_SCHEMA,
        "name": "yunet",
        "version": f"{datetime.now(UTC):%Y.%m.%d}+{entries['int8']['sha256'][:8]}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "input": card.tensor_entry(model.input) | {"colour": "bgr", "range": [0, 255]},
        "strides": list(STRIDES),
        "outputs": [
            {"name": name, **card.tensor_entry(spec)}
            for name, spec in zip(_output_names(int8), model.outputs, strict=True)
        ],
        "files": entries,
        "source": {"file": args.onnx.name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)},
        "agreement": [each.as_dict() for each in agreements],
        "calibration": {
            "pictures": len(pictures),
            "views": len(views),
            "from": [path.name for path in args.calibration or [SHIPPED_CLIP]],
        },
        "network": {"parameters": int(network.count_params()), "macs": mapping.macs},
        "edgetpu": {"compiled": compiled, "check": mapping.facts()},
        "licence": LICENCE,
        "versions": card.versions([runtime_name()]) | {"opencv": cv2.__version__},
    }
    (staging / "card.json").write_text(card.card_text(contents))
    load_face_bundle(staging)  # what the device would refuse is not written


def _agreement(
    reference: YunetDetector, content: bytes, file: str, pictures: list[NDArray[np.uint8]]
) -> DetectorAgreement:
    detector = YunetTfliteDetector(TfliteModel(content))
    expected = [reference.detect(picture) for picture in pictures]
    found = [detector.detect(picture) for picture in pictures]
    return compare(expected, found, file, runtime_name())


def _require_agreement(floating: DetectorAgreement, int8: DetectorAgreement) -> None:
    if floating.found < floating.faces or floating.extra or not floating.iou_min >= FLOAT_IOU:
        raise ConversionError(
            f"float TFLite finds {floating.found} of OpenCV's {floating.faces} faces and {floating.extra} others, with "
            f"an overlap of {floating.iou_min:.3f} at worst; it should be the same network: report it"
        )
    if int8.found < INT8_FOUND * int8.faces or not int8.iou_5 >= INT8_IOU:
        raise ConversionError(
            f"int8 finds {int8.found} of OpenCV's {int8.faces} faces, 95 % of them with an overlap over "
            f"{int8.iou_5:.2f} (needed: {100 * INT8_FOUND:.0f} %, {INT8_IOU}); {NEEDED}"
        )


def golden_pictures(width: int, height: int) -> list[NDArray[np.uint8]]:
    """Two (height, width, 3) BGR pictures: ``skimage.data.astronaut()`` (NASA, public domain) with one face close, and
    a ramp without any, so that no constant answer passes."""
    from skimage import data

    portrait = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    rows, columns = FACE
    near = np.ascontiguousarray(portrait[: rows.stop + 64, columns.start - 96 : columns.stop + 96])
    ramp = np.tile(np.linspace(0, 255, width).astype(np.uint8)[np.newaxis, :, np.newaxis], (height, 1, 3))
    return [fit(np.asarray(near, np.uint8), width, height)[0], ramp]


def _output_names(content: bytes) -> list[str]:
    """cls_8 to kps_32 in the order of the file's outputs."""
    interpreter = import_runtime()[1].Interpreter(model_content=content)
    interpreter.allocate_tensors()
    by_name = interpreter.get_signature_runner().get_output_details()
    names = {details["index"]: name for name, details in by_name.items()}
    return [names[details["index"]] for details in interpreter.get_output_details()]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
