"""Every way a detector conversion is refused: one line, exit 1 or 2, nothing half-written; and its smaller parts."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from convert.__main__ import main
from convert.detector import parse_size
from convert.detector_agreement import compare, iou
from convert.detector_pictures import MIN_FACES, calibration_views, load_pictures
from convert.equalize import equalize
from convert.quantize import import_frameworks
from edge.detectors.face_bundle import face_network, load_face_bundle
from edge.detectors.yunet import YunetDetector
from edge.errors import DataError, UsageError
from edge.records import Box, Face
from edge.settings import ClassifierSettings
from tests import devdata
from tests.convert.test_edgetpu_compile import stand_in


def convert(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    """The command's exit code and what it said on standard error: one line where it refuses."""
    capsys.readouterr()
    code = main(["detector", *(str(word) for word in words)])
    said = capsys.readouterr().err.strip()
    assert code == 0 or "\n" not in said
    return code, said


def graph(change: Callable[[Any], None]) -> bytes:
    """YuNet's file with something about its graph changed."""
    import onnx

    model = onnx.load(str(devdata.yunet()))
    change(model.graph)
    return bytes(model.SerializeToString())


def of_type(graph: Any, kind: str) -> Any:
    return next(node for node in graph.node if node.op_type == kind)


def set_attribute(graph: Any, kind: str, name: str, value: object) -> None:
    import onnx

    attributes = of_type(graph, kind).attribute
    kept = [each for each in attributes if each.name != name]
    del attributes[:]
    attributes.extend([*kept, onnx.helper.make_attribute(name, value)])


def test_what_is_no_onnx_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = devdata.yunet().read_bytes()
    file = tmp_path / "network.onnx"
    for content in (b"", b"not a network", source[:1000], source[: len(source) // 2], bytes(5000)):
        file.write_bytes(content)
        code, said = convert(capsys, file, "--out", tmp_path / "face")
        assert code == 1 and "is not an ONNX file" in said and "face_detection_yunet_2023mar.onnx" in said
    assert list(tmp_path.iterdir()) == [file]


def test_missing_or_another_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = convert(capsys, tmp_path / "none.onnx", "--out", tmp_path / "face")
    assert code == 1 and "could not read it (No such file or directory); python -m edge fetch" in said
    other = tmp_path / "other.onnx"
    other.write_bytes(graph(lambda graph: graph.node.pop()))
    code, said = convert(capsys, other, "--out", tmp_path / "face")
    assert code == 1 and "with sha256 8f2383e4dd3c..., got " in said
    assert list(tmp_path.iterdir()) == [other]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda graph: graph.output.pop(), "outputs bbox_16"),
        (lambda graph: setattr(of_type(graph, "Relu"), "op_type", "HardSwish"), "an operator HardSwish"),
        (lambda graph: set_attribute(graph, "Conv", "pads", [0, 0, 1, 1]), "Conv giving .*pads"),
        (lambda graph: set_attribute(graph, "Conv", "group", 3), "Conv giving .*3 groups"),
        (lambda graph: set_attribute(graph, "MaxPool", "kernel_shape", [3, 3]), "MaxPool giving .*kernel_shape"),
        (lambda graph: set_attribute(graph, "Resize", "mode", "linear"), "Resize giving .*linear"),
        (lambda graph: set_attribute(graph, "Transpose", "perm", [0, 1, 2, 3]), "Transpose giving"),
        (lambda graph: graph.initializer.pop(0), "giving .* of another form"),
        (lambda graph: graph.node.pop(3), "giving .* of another form"),
    ],
)
def test_another_graph_is_refused_although_its_hash_was_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Any], None], message: str
) -> None:
    from convert.detector_graph import read_onnx, rebuild
    from edge.errors import ConversionError

    content = graph(change)
    with pytest.raises(ConversionError, match=message) as refused:
        rebuild(read_onnx(content, Path("other.onnx")), 64, 64)
    assert "\n" not in str(refused.value) and "name opencv_zoo's" in str(refused.value)


@pytest.mark.slow
def test_another_graph_leaves_nothing_and_the_old_bundle_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = graph(lambda graph: setattr(of_type(graph, "Relu"), "op_type", "HardSwish"))
    file = tmp_path / "other.onnx"
    file.write_bytes(content)
    old = tmp_path / "face"
    old.mkdir()
    (old / "card.json").write_text("{}")
    code, said = convert(capsys, file, "--out", old, "--sha256", hashlib.sha256(content).hexdigest())
    assert code == 1 and "HardSwish" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["face", "other.onnx"]
    assert [path.name for path in old.iterdir()] == ["card.json"]


@pytest.mark.parametrize(
    "size", ["", "320", "320x240", "0x0", "32x32", "320x256x3", "axb", "-320x256", "4096x4096", "²x²"]
)
def test_sizes_that_are_none(size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="expected --size WIDTHxHEIGHT in multiples of 32"):
        parse_size(size)
    code, said = convert(capsys, devdata.yunet(), "--out", tmp_path / "face", f"--size={size}")
    assert code == 2 and "--size" in said and not list(tmp_path.iterdir())


def test_calibration_that_can_not_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, text = tmp_path / "empty", tmp_path / "notes.txt"
    folder.mkdir()
    text.write_text("not a picture")
    for calibration, message in (
        (tmp_path / "none", "there is nothing"),
        (text, "can't be read as one"),
        (folder, "got 0 of 0"),
        (devdata.media("obama.jpg"), f"expected at least {MIN_FACES} pictures with a face, got 1 of 1"),
        (devdata.media("no_face.mp4"), "got 0 of 40"),
    ):
        code, said = convert(capsys, devdata.yunet(), "--out", tmp_path / "face", "--calibration", calibration)
        assert code == 1 and message in said and "--calibration; your own photos will do" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "notes.txt"]


def test_output_that_can_not_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, others = tmp_path / "file", tmp_path / "others"
    file.touch()
    others.mkdir()
    (others / "letter.txt").touch()
    for out, exit_code, message in (
        (file, 2, "is a file"),
        (others, 2, "holds other files"),
        (file / "face", 1, "can't be written"),
        (Path("/proc/face"), 1, "can't be written"),
    ):
        code, said = convert(capsys, devdata.yunet(), "--out", out)
        assert code == exit_code and message in said
    assert [path.name for path in others.iterdir()] == ["letter.txt"]


@pytest.mark.slow
def test_calibrated_on_real_pictures_at_another_size_and_compiled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compiler = stand_in(tmp_path / "bin", "abort", "succeed")
    paths = [devdata.media(name) for name in ("multi_face.jpg", "grace_hopper.bmp", "single_face.mp4")]
    out = tmp_path / "face"
    words: list[str | Path] = ["--out", out, "--size", "160x128", "--compiler", compiler]
    assert convert(capsys, devdata.yunet(), *words, "--calibration", *paths)[0] == 0
    bundle = load_face_bundle(out)
    assert bundle.input.shape == (1, 128, 160, 3)
    assert bundle.card["calibration"]["from"] == ["multi_face.jpg", "grace_hopper.bmp", "single_face.mp4"]
    assert bundle.card["calibration"]["pictures"] == 42
    float_figures, int8_figures = bundle.card["agreement"]
    assert float_figures["found"] == float_figures["faces"] >= 40
    assert int8_figures["found"] >= 0.95 * int8_figures["faces"]
    assert bundle.card["edgetpu"]["compiled"]["compiler"] == "16.0.384591198"
    network = face_network(out, ClassifierSettings())
    assert network.compiled == (out / "yunet.int8_edgetpu.tflite").read_bytes() and len(network.golden) == 2


def test_a_folder_gives_its_pictures_and_says_what_it_passes_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = np.full((40, 60, 3), 90, np.uint8)
    for name in ("b.png", "a.jpg"):
        cv2.imwrite(str(tmp_path / name), picture)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "folder").mkdir()
    assert [found.shape for found in load_pictures([tmp_path])] == [(40, 60, 3)] * 2
    assert f"passed over {tmp_path / 'notes.txt'}" in capsys.readouterr().err
    with pytest.raises(DataError, match="got 0 of 2"):
        calibration_views(load_pictures([tmp_path]), YunetDetector(devdata.yunet()), 320, 256)


def test_evened_out_channels_compute_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    _, keras = import_frameworks()
    layers = keras.layers
    keras.utils.set_random_seed(1)
    inputs = keras.Input(batch_shape=(1, 16, 16, 3))
    first = layers.ReLU()(layers.Conv2D(6, 3, 2, padding="same", name="first")(inputs))
    pointwise = layers.Conv2D(6, 1, name="pointwise")(first)
    second = layers.ReLU()(layers.DepthwiseConv2D(3, padding="same")(pointwise))
    joined = layers.MaxPooling2D(2)(layers.Add()([first, second]))
    kept = layers.Conv2D(4, 1, name="kept")(joined)
    gate = layers.Activation("sigmoid")(layers.Conv2D(4, 1)(layers.ReLU()(kept)))
    network = keras.Model(inputs, [kept, gate])
    # Channels of very different ranges, and one that is always off.
    kernel, bias = network.get_layer("pointwise").get_weights()
    network.get_layer("pointwise").set_weights([kernel * np.array([100, 10, 1, 0.1, 0.01, 0]), bias])
    pictures = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    tensor = pictures[:1].astype(np.float32)
    before = [np.asarray(output) for output in network(tensor)]
    equalize(network, pictures)
    for got, expected in zip(network(tensor), before, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    probe = keras.Model(inputs, network.get_layer("pointwise").output)
    tops = np.max([np.abs(probe(each[None].astype(np.float32))).max(axis=(0, 1, 2)) for each in pictures], axis=0)
    assert tops[:2] == pytest.approx([tops[0]] * 2, rel=1e-3)
    assert tops[3] > tops[0] / 20


def test_agreement_counts_each_face_once() -> None:
    def face(left: float, width: float = 10) -> Face:
        return Face(Box(left, 0, width, 10), 0.9)

    figures = compare([[face(0), face(100)], [face(0)], []], [[face(1), face(2)], [], [face(5)]], "f", "r")
    assert (figures.faces, figures.found, figures.extra) == (3, 1, 2)
    assert figures.iou_min == pytest.approx(9 / 11)
    assert iou(Box(0, 0, 10, 10), Box(20, 0, 10, 10)) == 0.0
    assert iou(Box(0, 0, 0, 0), Box(0, 0, 0, 0)) == 0.0
    assert np.isnan(compare([[face(0)]], [[]], "f", "r").iou_min)
