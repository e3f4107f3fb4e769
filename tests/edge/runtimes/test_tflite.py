"""The TFLite adapter and the classifier over it, on whichever runtime this environment has."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.calibration import Calibration
from edge.classifiers.emotion import BundleClassifier
from edge.errors import BundleError, RuntimeUnavailableError
from edge.records import TensorSpec
from edge.runtimes import tflite
from edge.runtimes.golden import load_golden
from edge.runtimes.quantization import dequantize, grey_table, quantize_grey
from edge.runtimes.tflite import TfliteModel, runtime_name


def test_the_installed_runtime_is_named() -> None:
    package, version = runtime_name().split()
    assert package in ("ai-edge-litert", "tflite-runtime")
    assert version[0].isdigit()
    newer = importlib.util.find_spec("ai_edge_litert")
    assert (package == "ai-edge-litert") == (newer is not None)


def test_no_runtime_is_said_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite, "RUNTIMES", {"tflite-runtime": "no_such_runtime"})
    with pytest.raises(
        RuntimeUnavailableError, match=r"expected tflite-runtime or ai-edge-litert, found neither.*pip install"
    ):
        TfliteModel(b"")


def test_tensors_are_those_of_the_card(bundle: Bundle) -> None:
    for model in (TfliteModel(bundle.read("int8")), TfliteModel(bundle.path("int8"), threads=2)):
        assert model.input == bundle.input
        (output,) = model.outputs
        assert (output.shape, output.dtype, output.zero_point) == (
            bundle.output.shape, "int8", bundle.output.zero_point
        )  # fmt: skip
        assert output.scale == pytest.approx(bundle.output.scale)
        assert model.backend.startswith("cpu:")
        assert model.degraded_reason is None


def test_outputs_are_copies(bundle: Bundle) -> None:
    model = TfliteModel(bundle.read("int8"))
    first, second = (case.tensor for case in load_golden(bundle, "edgetpu"))
    (kept,) = model.invoke(first)
    before = kept.copy()
    (other,) = model.invoke(second)
    np.testing.assert_array_equal(kept, before)
    assert (other != kept).any()
    kept[:] = 0
    np.testing.assert_array_equal(model.invoke(first)[0], before)


def test_a_wrong_tensor_is_refused(cpu: TfliteModel) -> None:
    with pytest.raises(
        BundleError, match=r"expected an input tensor \(1, 48, 48, 1\) int8, got \(1, 48, 48, 1\) uint8"
    ):
        cpu.invoke(np.zeros((1, 48, 48, 1), np.uint8))
    with pytest.raises(BundleError, match=r"got \(48, 48\) int8"):
        cpu.invoke(np.zeros((48, 48), np.int8))


def test_a_closed_model_says_so(cpu: TfliteModel) -> None:
    cpu.close()
    cpu.close()
    with pytest.raises(RuntimeUnavailableError, match="closed"):
        cpu.invoke(np.zeros((1, 48, 48, 1), np.int8))


@pytest.mark.parametrize("content", [b"", b"not a model", b"\0" * 4096])
def test_what_is_no_model(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a TFLite model") as caught:
        TfliteModel(content)
    assert "\n" not in str(caught.value)
    with pytest.raises(BundleError, match="expected a TFLite file, got No such file"):
        TfliteModel(tmp_path / "absent.tflite")


def test_a_compiled_model_without_its_accelerator(monkeypatch: pytest.MonkeyPatch, tiny7: Bundle) -> None:
    class Unresolved:
        def allocate_tensors(self) -> None:
            raise RuntimeError("Encountered unresolved custom op: edgetpu-custom-op.\nSee instructions: ...")

    with pytest.raises(RuntimeUnavailableError, match=r"compiled for the Edge TPU .*use the bundle's int8 file"):
        TfliteModel(tiny7.read("int8"), interpreter=Unresolved())


@given(
    scale=st.floats(0.01, 10),
    zero_point=st.integers(-128, 127),
    crop=hypothesis_numpy.arrays(np.uint8, (8, 9)),
)
def test_quantizing_is_the_affine_formula_by_the_nearest_step(
    scale: float, zero_point: int, crop: NDArray[np.uint8]
) -> None:
    spec = TensorSpec((1, 8, 9, 1), "int8", scale, zero_point)
    tensor = quantize_grey(crop, grey_table(spec))
    assert (tensor.shape, tensor.dtype.name) == ((1, 8, 9, 1), "int8")
    real = dequantize(tensor, spec)[0, :, :, 0].astype(np.float64)
    low, high = (-128 - zero_point) * scale, (127 - zero_point) * scale
    nearest = np.clip(crop.astype(np.float64), low, high)
    assert np.abs(real - nearest).max() <= scale / 2 + 1e-3


def test_scale_one_is_a_plain_offset() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    tensor = quantize_grey(levels, grey_table(TensorSpec((1, 16, 16, 1), "int8", 1.0, -128)))
    np.testing.assert_array_equal(tensor[0, :, :, 0], levels.astype(int) - 128)


def test_a_float_tensor_is_left_alone() -> None:
    spec = TensorSpec((1, 2, 1, 1), "float32")
    tensor = quantize_grey(np.array([[0], [255]], np.uint8), grey_table(spec))
    assert (tensor.dtype.name, tensor.reshape(-1).tolist()) == ("float32", [0.0, 255.0])
    np.testing.assert_array_equal(dequantize(tensor, spec), tensor)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_probabilities_are_the_calibrated_logits(bundle: Bundle, smoothing: float) -> None:
    model = TfliteModel(bundle.read("int8"))
    bundle = replace(bundle, calibration=Calibration(1.5, smoothing))
    classifier = BundleClassifier(model, bundle)
    cases = load_golden(bundle, "edgetpu")
    crops = [(case.tensor[0, :, :, 0].astype(int) + 128).astype(np.uint8) for case in cases]
    scores = classifier.classify(crops)
    assert classifier.labels == bundle.labels
    assert classifier.backend == model.backend
    assert classifier.classify([]) == []
    for case, score in zip(cases, scores, strict=True):
        steps = model.invoke(case.tensor)[0][0].astype(np.float64)
        logits = (steps - bundle.output.zero_point) * bundle.output.scale / 1.5
        expected = np.exp(logits) / np.exp(logits).sum()
        if smoothing:
            expected = np.maximum((expected - smoothing / len(expected)) / (1 - smoothing), 1e-4)
            expected /= expected.sum()
        np.testing.assert_allclose(score.probabilities, expected, rtol=1e-4)
        assert (score.labels, score.probabilities.dtype.name) == (bundle.labels, "float32")
        assert score.top[0] == bundle.labels[int(np.argmax(steps))]
    assert len({tuple(score.probabilities) for score in scores}) == len(scores)
    classifier.close()


def test_a_crop_of_another_size_is_refused(tiny7: Bundle, cpu: TfliteModel) -> None:
    classifier = BundleClassifier(cpu, tiny7)
    with pytest.raises(BundleError, match=r"expected a crop of \(48, 48\) uint8, got \(64, 64\) uint8"):
        classifier.classify([np.zeros((64, 64), np.uint8)])


def test_a_model_that_is_not_the_card_s_is_refused(tiny7: Bundle) -> None:
    other = TfliteModel(tiny7.folder.parent / "tiny3" / "emotion.int8.tflite")
    with pytest.raises(
        BundleError, match=r"the card says input \[1, 48, 48, 1\] int8 .*, the model has \[1, 64, 64, 1\]"
    ):
        BundleClassifier(other, tiny7)
