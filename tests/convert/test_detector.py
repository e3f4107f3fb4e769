"""YuNet converted on this machine, against OpenCV's own run of the same file, on real pictures and clips.

Calibrated on the shipped clip alone, so that none of the pictures it is measured on was seen before.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from convert.__main__ import main
from convert.detector_agreement import DetectorAgreement, compare, landmark_distance, match, points
from convert.detector_graph import OUTPUTS, read_onnx, rebuild
from edge.bundle import file_sha256, load_bundle
from edge.detectors.face_bundle import face_network, load_face_bundle, load_face_golden
from edge.detectors.yunet import YUNET_SHA256, face_of_row
from edge.detectors.yunet_tflite import YunetTfliteDetector, fit
from edge.errors import BundleError
from edge.records import Box, Face, Landmarks
from edge.runtimes.backends import emotion_network, open_networks
from edge.runtimes.golden import check_golden
from edge.runtimes.ladder import Rung
from edge.runtimes.tflite import TfliteModel, import_runtime
from edge.settings import ClassifierSettings
from tests import devdata
from tests.devdata import ROOT
from tests.edge.runtimes.conftest import PATIENCE_S, Child, process_state, wait_for

WIDTH, HEIGHT = 320, 256
THRESHOLD = 0.7
NEAR_THRESHOLD = 0.02
"""A face whose score is this near to the threshold may be on either side of it in int8."""
PICTURES = ("obama.jpg", "grace_hopper.bmp", "obama_and_biden.jpg", "multi_face.jpg", "free-mountain-vector-01.jpg")
CLIPS = ("single_face.mp4", "again.mkv", "book.mkv", "noface_face.mov", "no_face.mp4", "WolfgangLanger_Pexels.mp4")
FRAMES_OF_A_CLIP = 12
EDGE_PYTHON = ROOT / ".venv-edge" / "bin" / "python"

Picture = NDArray[np.uint8]

pytestmark = pytest.mark.slow


class Seen(NamedTuple):
    """A real picture and what OpenCV finds on it, shrunk as the network sees it."""

    name: str
    picture: Picture
    faces: list[Face]
    padded: list[Face]
    """Where it is given the network's own picture, black added."""
    cells: list[Face]
    """Then every cell's own estimate, before overlapping ones are taken for one face."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The face bundle, as ``python -m convert detector`` makes it with nothing but the ONNX file."""
    out = tmp_path_factory.mktemp("models") / "face"
    assert main(["detector", str(devdata.yunet()), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def seen() -> list[Seen]:
    return [seen_by_opencv(name, picture) for name in (*PICTURES, *CLIPS) for picture in pictures_of(name)]


def pictures_of(name: str) -> list[Picture]:
    path = str(devdata.media(name))
    if name in PICTURES:
        return [np.asarray(cv2.imread(path), np.uint8)]
    capture = cv2.VideoCapture(path)
    frames = []
    while (read := capture.read())[0]:
        frames.append(np.asarray(read[1], np.uint8))
    return frames[:: -(-len(frames) // FRAMES_OF_A_CLIP)]


def seen_by_opencv(name: str, picture: Picture) -> Seen:
    """OpenCV's own detector on the picture shrunk to fit the network; it fills up with black by itself, though to the
    next multiple of 32 only, so that faces at the edge look a little different to it."""
    shrink = min(1.0, WIDTH / picture.shape[1], HEIGHT / picture.shape[0])
    size = round(picture.shape[1] * shrink), round(picture.shape[0] * shrink)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    scale = np.tile([picture.shape[1] / size[0], picture.shape[0] / size[1]], 7)

    def detected(image: Picture, nms_iou: float = 0.3, threshold: float = THRESHOLD) -> list[Face]:
        of = (image.shape[1], image.shape[0])
        detector = cv2.FaceDetectorYN.create(str(devdata.yunet()), "", of, threshold, nms_iou, 5000)
        rows = detector.detect(image)[1]
        return [] if rows is None else [face_of_row((row[:14] * scale).tolist(), float(row[14])) for row in rows]

    padded = fit(picture, WIDTH, HEIGHT)[0]
    faces = detected(np.asarray(small, np.uint8))
    return Seen(name, picture, faces, detected(padded), detected(padded, 1.0, THRESHOLD - 0.1))


def detected(seen: list[Seen], model: TfliteModel | Rung) -> list[list[Face]]:
    detector = YunetTfliteDetector(model, THRESHOLD)
    return [detector.detect(each.picture) for each in seen]


def sure(faces: list[Face]) -> list[Face]:
    return [face for face in faces if face.confidence >= THRESHOLD + NEAR_THRESHOLD]


def agreement(seen: list[Seen], found: list[list[Face]]) -> DetectorAgreement:
    """Figures of the faces both find; no face that one is sure of is missing at the other."""
    expected = [each.faces for each in seen]
    missed = compare([sure(faces) for faces in expected], found, "", "")
    assert missed.found == missed.faces
    invented = compare([sure(faces) for faces in found], expected, "", "")
    assert invented.found == invented.faces
    return compare(expected, found, "", "")


def model(made: Path, key: str) -> TfliteModel:
    return TfliteModel(load_face_bundle(made).read(key))


def test_the_rebuilt_network_computes_what_opencv_computes_from_the_onnx_file() -> None:
    network = cv2.dnn.readNetFromONNX(str(devdata.yunet()))
    image = pictures_of("multi_face.jpg")[0]
    for width, height in ((320, 256), (160, 96)):
        picture = fit(image, width, height)[0]
        network.setInput(cv2.dnn.blobFromImage(picture))
        expected = dict(zip(OUTPUTS, network.forward(list(OUTPUTS)), strict=True))
        graph = read_onnx(devdata.yunet().read_bytes(), devdata.yunet())
        maps = rebuild(graph, width, height)(picture[np.newaxis].astype(np.float32))
        for name in OUTPUTS:
            np.testing.assert_allclose(np.ravel(maps[name]), np.ravel(expected[name]), atol=1e-4, err_msg=name)


def test_float_finds_the_same_faces_in_the_same_places(made: Path, seen: list[Seen]) -> None:
    figures = agreement(seen, detected(seen, model(made, "float")))
    assert (figures.found, figures.extra) == (figures.faces, 0) and figures.faces > 60
    assert figures.iou_min >= 0.9 and figures.iou_5 > 0.97
    assert figures.landmarks_95 <= 0.03 and figures.landmarks_median < 0.002
    exact = agreement([each._replace(faces=each.padded) for each in seen], detected(seen, model(made, "float")))
    assert exact.iou_min > 0.9999 and exact.landmarks_95 < 1e-4 and exact.score_max < 1e-4


def test_int8_finds_the_same_faces_in_nearly_the_same_places(made: Path, seen: list[Seen]) -> None:
    found = detected(seen, model(made, "int8"))
    figures = agreement(seen, found)
    assert figures.iou_min >= 0.8
    assert figures.landmarks_95 <= 0.03 and figures.landmarks_median <= 0.015
    assert figures.score_max < 0.05
    pictures = [(each.faces, faces) for each, faces in zip(seen, found, strict=True) if each.name in PICTURES]
    pairs = [pair for ours, theirs in pictures for pair in match(ours, theirs)]
    assert len(pairs) == sum(len(ours) for ours, _ in pictures) == sum(len(theirs) for _, theirs in pictures) == 10
    assert max(landmark_distance(*pair) for pair in pairs) <= 0.03


def test_int8_landmarks_are_within_three_percent_of_what_the_same_cell_says_in_float(
    made: Path, seen: list[Seen]
) -> None:
    """Neighbouring cells see one face with nearly the same score and say somewhat different things in float too; where
    int8 prefers another cell than OpenCV does, that difference is the network's own."""
    for each, faces in zip(seen, detected(seen, model(made, "int8")), strict=True):
        for face in sure(faces):
            assert face.landmarks is not None
            estimates = np.array([points(cell.landmarks) for cell in each.cells if cell.landmarks])
            distances = np.linalg.norm(estimates - points(face.landmarks), axis=2).mean(axis=1)
            assert distances.min() <= 0.03 * face.box.height, each.name


def test_verify_knows_a_face_bundle(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(made)]) == 0
    assert "golden        ok: 2 cases" in capsys.readouterr().out
    # The float file in the place of the int8 one, with a card that says so.
    shutil.copytree(made, tmp_path / "face")
    card = json.loads((made / "card.json").read_text())
    card["files"]["int8"] = card["files"]["float"]
    (tmp_path / "face" / "card.json").write_text(json.dumps(card))
    assert main(["verify", str(tmp_path / "face")]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert "not those on its card" in said[-1]


def test_int8_passes_the_edge_tpu_check(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(made / "yunet.int8.tflite")]) == 0
    assert "operators mapped     68 of 68" in capsys.readouterr().out


def test_card_says_what_it_is_and_where_it_came_from(made: Path) -> None:
    card = json.loads((made / "card.json").read_text())
    assert card["input"] == {
        "shape": [1, 256, 320, 3], "dtype": "int8", "scale": 1.0, "zero_point": -128, "colour": "bgr", "range": [0, 255]
    }  # fmt: skip
    assert {output["name"]: output["shape"] for output in card["outputs"]} == {
        f"{kind}_{stride}": [1, 256 // stride, 320 // stride, channels]
        for kind, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
        for stride in (8, 16, 32)
    }
    assert card["strides"] == [8, 16, 32]
    assert card["source"]["sha256"] == YUNET_SHA256
    assert card["licence"].startswith("MIT")
    assert card["calibration"] == {"pictures": 40, "views": 105, "from": ["astronaut.mp4"]}
    assert card["edgetpu"]["compiled"] is None and card["edgetpu"]["check"]["maps_whole"]
    assert [each["file"] for each in card["agreement"]] == ["yunet.float.tflite", "yunet.int8.tflite"]
    for file in card["files"].values():
        path = made / file["path"]
        assert (file_sha256(path), path.stat().st_size) == (file["sha256"], file["bytes"])
    assert str(ROOT) not in json.dumps(card) and str(devdata.SHARED) not in json.dumps(card)


def test_golden_pictures_are_answered_right_and_a_constant_is_not(made: Path) -> None:
    bundle = load_face_bundle(made)
    cases = load_face_golden(bundle, import_runtime()[0])
    assert check_golden(model(made, "int8"), cases) is None
    first = model(made, "int8").invoke(cases[0].tensor)

    class Stuck(TfliteModel):
        def invoke(self, tensor: NDArray[np.generic]) -> list[NDArray[np.generic]]:
            return first

    assert "steps off" in str(check_golden(Stuck(bundle.read("int8")), load_face_golden(bundle, "edgetpu")))
    faces = YunetTfliteDetector(model(made, "int8")).detect(fit(pictures_of("obama.jpg")[0], WIDTH, HEIGHT)[0])
    assert len(faces) == 1


ON_THE_DEVICES_RUNTIME = """
import sys, numpy as np
from pathlib import Path
from edge.detectors.face_bundle import face_network
from edge.detectors.yunet_tflite import YunetTfliteDetector
from edge.settings import ClassifierSettings
model = face_network(Path(sys.argv[1]), ClassifierSettings(backend="cpu")).cpu
detector, pictures = YunetTfliteDetector(model), np.load(sys.argv[2])
print([model.backend, *(detector.detect(pictures[key]) for key in pictures.files)])
"""


@pytest.mark.skipif(not EDGE_PYTHON.is_file(), reason="the device's environment is not made")
def test_the_devices_runtime_finds_the_same_faces_too(made: Path, seen: list[Seen], tmp_path: Path) -> None:
    some = seen[::4]
    np.savez(tmp_path / "pictures.npz", *(each.picture for each in some))
    done = subprocess.run(
        [EDGE_PYTHON, "-c", ON_THE_DEVICES_RUNTIME, made, tmp_path / "pictures.npz"],
        cwd=ROOT, capture_output=True, text=True, timeout=250, check=True,
    )  # fmt: skip
    names = {"Face": Face, "Box": Box, "Landmarks": Landmarks}
    backend, *found = eval(done.stdout, names)  # the records' own repr, from our own child
    assert backend.startswith("cpu:")
    figures = agreement(some, found)
    assert figures.found >= 10 and figures.iou_min >= 0.8 and figures.landmarks_95 <= 0.03


@pytest.mark.skipif(not EDGE_PYTHON.is_file(), reason="the device's environment is not made")
def test_the_device_runs_it_from_camera_to_event(made: Path, tmp_path: Path) -> None:
    config = tmp_path / "edge.toml"
    config.write_text(
        f'[device]\nstate_dir = "{tmp_path / "state"}"\n[detector]\nkind = "yunet-tflite"\nmodel = "{made}"\n'
        f'[classifier]\nbundle = "{ROOT / "tests/golden/tiny7"}"\n'
    )
    clip = ROOT / "edge/demo/astronaut.mp4"
    done = subprocess.run(
        [EDGE_PYTHON, "-m", "edge", "run", "--config", config, "--source", clip, "--fast"],
        cwd=ROOT, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "detector yunet-tflite" in done.stderr
    kinds = [json.loads(line)["event_type"] for line in done.stdout.splitlines()]
    assert [kind for kind in kinds if kind != "change"] == ["start", "end", "start", "end"]


def test_both_networks_on_one_accelerator_and_on_the_cpu_when_it_dies(
    made: Path, seen: list[Seen], tmp_path: Path
) -> None:
    compiled = with_edgetpu_file(made, tmp_path / "face")
    child = Child(tmp_path / "behaviour")
    settings = ClassifierSettings(
        backend="edgetpu", deadline_s=PATIENCE_S, start_s=PATIENCE_S, retry_min_s=0.05, retry_max_s=0.05, recheck_s=3600
    )
    emotion = emotion_network(load_bundle(ROOT / "tests/golden/tiny7"), settings)
    picture, expected = seen[0].picture, detected(seen[:1], model(made, "int8"))[0]
    served, faces = [], []
    warm_up = 1 + len(emotion.golden) + len(load_face_golden(load_face_bundle(compiled), "edgetpu"))
    child.behave(f"abort {warm_up + 2}")
    rungs = open_networks([emotion, face_network(compiled, settings)], settings, command=child.command)
    classifier, face = rungs
    assert isinstance(face, Rung) and isinstance(classifier, Rung)
    detector = YunetTfliteDetector(face, THRESHOLD)
    with closing(face), closing(classifier):
        wait_for(lambda: face.accelerated, "the accelerator")
        assert classifier.accelerated and len(child.pids) == 1
        for _ in range(40):
            faces.append(detector.detect(picture))
            served.append(face.backend)
            if served[-1] != "edgetpu":
                break
    assert served[0] == "edgetpu" and served[-1].startswith("cpu:")
    assert all(each == expected for each in faces)
    assert [pid for pid in child.pids if process_state(pid)] == []


def with_edgetpu_file(made: Path, copy: Path) -> Path:
    """The bundle with its int8 file in the place of the compiled one, for a child that runs it on the CPU."""
    shutil.copytree(made, copy)
    card = json.loads((copy / "card.json").read_text())
    card["files"]["edgetpu"] = card["files"]["int8"]
    (copy / "card.json").write_text(json.dumps(card))
    return copy


@pytest.mark.parametrize("key", ["int8", "golden"])
def test_a_damaged_bundle_is_refused_before_it_is_loaded(made: Path, tmp_path: Path, key: str) -> None:
    shutil.copytree(made, tmp_path / "face")
    path = tmp_path / "face" / load_face_bundle(made).files[key].path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"expected sha256 \w+, got \w+; restore the file"):
        face_network(tmp_path / "face", ClassifierSettings())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema",), "emotion-edge/card/1", "schema: expected 'emotion-edge/face-card/1'"),
        (("input", "colour"), "rgb", "input.colour: expected 'bgr'"),
        (("input", "scale"), 0.5, "not those on its card"),
        (("outputs",), [1], "outputs: expected a list of tensors"),
        (("outputs",), [], "not those on its card"),
        (("files", "golden"), None, "files.golden: expected"),
        (("files", "int8", "path"), "../int8.tflite", "a plain file name"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(
    made: Path, tmp_path: Path, path: tuple[str, ...], value: object, message: str
) -> None:
    shutil.copytree(made, tmp_path / "face")
    file = tmp_path / "face" / "card.json"
    card = json.loads(file.read_text())
    entry = card
    for key in path[:-1]:
        entry = entry[key]
    entry[path[-1]] = value
    if value is None:
        del entry[path[-1]]
    file.write_text(json.dumps(card))
    with pytest.raises(BundleError) as refused:
        face_network(tmp_path / "face", ClassifierSettings())
    assert message in str(refused.value) and "\n" not in str(refused.value)
