"""Python, packages, inference runtime, model bundle, detector file."""

import importlib
import importlib.metadata
import sys
from collections.abc import Iterator

from edge.checkup import Finding
from edge.errors import BundleError, RuntimeUnavailableError
from edge.settings import ClassifierSettings, Settings

OLDEST, NEWEST = (3, 11), (3, 13)
INSTALL = "python -m pip install -r requirements-edge.txt"
PACKAGES = {"numpy": "numpy", "cv2": "opencv-python-headless", "paho.mqtt": "paho-mqtt"}
"""Module to distribution."""


def python(version: tuple[int, ...] = sys.version_info[:3]) -> Iterator[Finding]:
    text = ".".join(str(part) for part in version)
    if OLDEST <= version[:2] <= NEWEST:
        yield Finding("python", "ok", text)
    else:
        wanted = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
        yield Finding("python", "fail", f"{text}; {wanted} is needed", "sudo apt install python3.11 python3.11-venv")


def packages() -> Iterator[Finding]:
    """Each package imports; OpenCV can read the detector and has the Haar files."""
    for module, distribution in PACKAGES.items():
        try:
            loaded = importlib.import_module(module)
        except Exception as error:  # a package built for another numpy raises nearly anything
            yield Finding(distribution, "fail", " ".join(str(error).split()), INSTALL)
            continue
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:  # the system's own OpenCV, or opencv-python
            version = str(getattr(loaded, "__version__", "unknown"))
        if module == "cv2" and not hasattr(loaded, "FaceDetectorYN"):
            yield Finding(distribution, "fail", f"{version} has no FaceDetectorYN; 4.8 or later is needed", INSTALL)
        elif module == "cv2" and not hasattr(loaded, "CascadeClassifier"):
            yield Finding(distribution, "warn", f"{version} has no Haar detector; 4.x has", INSTALL)
        else:
            yield Finding(distribution, "ok", version)


def runtime() -> Iterator[Finding]:
    from edge.runtimes.tflite import runtime_name

    try:
        yield Finding("runtime", "ok", runtime_name())
    except RuntimeUnavailableError as error:
        yield Finding("runtime", "fail", str(error), INSTALL)


def bundle(settings: ClassifierSettings) -> Iterator[Finding]:
    """The bundle is whole, loads, and answers its golden inputs right on this machine's CPU."""
    from edge.bundle import load_bundle
    from edge.classifiers.emotion import check_tensors
    from edge.runtimes.golden import check_golden, load_golden
    from edge.runtimes.tflite import TfliteModel, import_runtime

    mend = "git checkout -- models/emotion   (or name another bundle with --bundle)"
    try:
        loaded = load_bundle(settings.bundle)
        model = TfliteModel(loaded.read("int8"), settings.threads)
        check_tensors(model, loaded)
        wrong = check_golden(model, load_golden(loaded, import_runtime()[0]))
        model.close()
    except (BundleError, RuntimeUnavailableError) as error:
        yield Finding("bundle", "fail", str(error), mend)
        return
    name = f"{loaded.name} {loaded.version} in {loaded.folder}"
    if wrong:
        yield Finding("bundle", "fail", f"{name}: {model.backend} {wrong}", INSTALL)
    else:
        yield Finding("bundle", "ok", f"{name}: hashes right, golden inputs answered right by {model.backend}")


def detector(settings: Settings) -> Iterator[Finding]:
    """The detector that ``run`` would take can be made."""
    from edge.app import MAKERS, choose_detector

    kind, second_best = choose_detector(settings.detector)
    try:
        face = None
        if kind == "yunet-tflite":
            from edge.detectors.face_bundle import FACE_BUNDLE, face_network

            face = face_network(settings.detector.model or FACE_BUNDLE, settings.classifier).cpu
        MAKERS["detector"][kind](settings.detector, face).close()
    except (BundleError, RuntimeUnavailableError) as error:
        tflite = "python -m convert detector models/downloads/face_detection_yunet_2023mar.onnx --out models/face"
        mend = tflite if kind == "yunet-tflite" else "python -m edge fetch"
        yield Finding("detector", "fail", str(error), mend)
        return
    if second_best:
        yield Finding("detector", "warn", second_best, "python -m edge fetch")
    else:
        yield Finding("detector", "ok", kind)


def checks(settings: Settings) -> Iterator[tuple[str, Iterator[Finding]]]:
    yield "python", python()
    yield "packages", packages()
    yield "runtime", runtime()
    yield "bundle", bundle(settings.classifier)
    yield "detector", detector(settings)
