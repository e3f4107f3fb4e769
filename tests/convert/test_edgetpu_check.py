"""The check on real files, each made to break one rule."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convert.__main__ import main
from convert.edgetpu_check import Check, check_bytes
from convert.flatbuffer import macs, parse_tflite
from tests.convert import made_models
from tests.convert.stand_in_compiler import compiled


@pytest.fixture(scope="module")
def good() -> bytes:
    return made_models.int8()


def complaints(check: Check) -> dict[str, str]:
    """Operator -> reason and mend, of those that break a rule themselves."""
    own = [v for v in check.verdicts if not v.maps and not v.reason.startswith(("after ", "the compiler refuses"))]
    assert all(verdict.mend for verdict in own)
    return {verdict.op.name: f"{verdict.reason}; {verdict.mend}" for verdict in own}


def test_the_recipe_maps_whole(good: bytes) -> None:
    check = check_bytes(good, "good.tflite")
    assert check.ok and not check.refusals and not check.open_questions
    assert [verdict.op.name for verdict in check.verdicts] == ["CONV_2D", "MEAN", "FULLY_CONNECTED"]
    # 8x8 outputs of 3x3x1 for 8 filters, and a dense layer of 8 by 3.
    assert check.macs == check.mapped_macs == 8 * 8 * 8 * 9 + 8 * 3
    # Weights, int32 biases where there are any, two int32 axes of the mean.
    assert check.parameter_bytes == 8 * 9 + 8 * 4 + 8 * 3 + 2 * 4
    assert check.working_bytes == 16 * 16 + 8 * 8 * 8
    assert check.facts()["fits_on_chip"]


def test_dynamic_shapes() -> None:
    check = check_bytes(made_models.dynamic_batch(), "dynamic")
    assert not check.ok and check.mapped_macs == 0
    assert "dynamic shapes" in check.refusals[0][0] and "batch_shape" in check.refusals[0][1]
    assert "dynamic shape -1x16x16x1" in complaints(check)["CONV_2D"]


def test_per_channel_dense_weights() -> None:
    check = check_bytes(made_models.per_channel_dense(), "dense")
    assert list(complaints(check)) == ["FULLY_CONNECTED"]
    assert "per-channel dense weights (3 scales)" in complaints(check)["FULLY_CONNECTED"]
    assert check.mapped_macs == check.macs - 8 * 3


def test_operator_version() -> None:
    check = check_bytes(
        made_models.int8(lambda layers, x: layers.Resizing(16, 16, interpolation="nearest")(x)), "resize"
    )
    assert "version 3, at most 2" in complaints(check)["RESIZE_NEAREST_NEIGHBOR"]


def test_float_island() -> None:
    check = check_bytes(made_models.float_island(lambda layers, x: layers.Activation("elu")(x)), "island")
    found = complaints(check)
    assert "float layer that follows" in found["DEQUANTIZE"] and "QUANTIZE" in found
    # What comes after an island is fine by itself, and stays on the CPU all the same.
    dense = check.verdicts[-1]
    assert (dense.op.name, dense.maps) == ("FULLY_CONNECTED", False)
    assert dense.reason.startswith("after DEQUANTIZE (op 1)")
    assert check.verdicts[0].maps


def test_layer_normalization_is_many_small_islands() -> None:
    check = check_bytes(made_models.float_island(lambda layers, x: layers.LayerNormalization()(x)), "norm")
    found = complaints(check)
    assert "batch normalization" in found["RSQRT"] and "mean over axes [-1]" in found["MEAN"]


def test_float_outside_costs_only_itself() -> None:
    check = check_bytes(made_models.float_outside(), "outside")
    assert [verdict.maps for verdict in check.verdicts] == [False, True, True, True, False]
    assert set(complaints(check)) == {"QUANTIZE", "DEQUANTIZE"}


def test_grouped_convolution() -> None:
    check = check_bytes(made_models.int8(lambda layers, x: layers.Conv2D(8, 3, groups=4)(x)), "grouped")
    assert "grouped convolution (4 groups)" in complaints(check)["CONV_2D"]
    assert "grouped convolution" in check.verdicts[0].mend  # its version is raised by the other one


def test_more_than_three_dimensions() -> None:
    check = check_bytes(made_models.batch_of_two(), "batch")
    assert "2x16x16x1 has more than three dimensions above 1" in complaints(check)["CONV_2D"]


def test_two_subgraphs() -> None:
    check = check_bytes(made_models.two_subgraphs(), "loop")
    assert check.refusals[0][0].startswith("3 subgraphs") and not check.ok


def test_not_quantized() -> None:
    check = check_bytes(made_models.floating(), "float")
    assert "not quantized" in check.refusals[0][0] and check.mapped_macs == 0
    assert all("FLOAT32" in reason for reason in complaints(check).values())


@pytest.mark.parametrize(
    ("middle", "operator", "reason"),
    [
        (lambda layers, x: layers.Activation("hard_swish")(x), "HARD_SWISH", "ReLU6"),
        (lambda layers, x: layers.LeakyReLU()(x), "LEAKY_RELU", "ReLU6"),
        (lambda layers, x: layers.Activation("gelu")(x), "GELU", "ReLU6"),
        (lambda layers, x: layers.UpSampling2D()(x), "TILE", "bilinear"),
        (
            lambda layers, x: layers.DepthwiseConv2D(3, dilation_rate=2, padding="same")(x),
            "DEPTHWISE_CONV_2D",
            "dilation 2x2",
        ),
        (lambda layers, x: layers.Softmax()(x), "SOFTMAX", "not one-dimensional"),
        (lambda layers, x: layers.ReLU()(layers.MaxPooling2D()(x)), "MAX_POOL_2D", "fused activation"),
        (lambda layers, x: x[:, ::2], "STRIDED_SLICE", "strides other than 1"),
        (lambda layers, x: layers.Dense(5)(x), "FULLY_CONNECTED", "1x1 convolution"),
    ],
)
def test_operators_that_stay_on_the_cpu(middle: Callable[[Any, Any], Any], operator: str, reason: str) -> None:
    found = complaints(check_bytes(made_models.int8(middle), operator))
    assert reason in found[operator]


def test_operators_that_map() -> None:
    def middle(layers: Any, x: Any) -> Any:
        x = layers.MaxPooling2D()(layers.Cropping2D()(layers.ZeroPadding2D(2)(layers.ReLU(6.0)(x))))
        x = layers.Concatenate()([layers.SeparableConv2D(8, 3, padding="same")(x), layers.Activation("tanh")(x)])
        return layers.Reshape((2, 2, 8))(layers.Dense(32)(layers.Flatten()(x)))

    check = check_bytes(made_models.int8(middle), "many")
    names = {verdict.op.name for verdict in check.verdicts}
    assert check.ok, complaints(check)
    assert {"PAD", "STRIDED_SLICE", "MAX_POOL_2D", "TANH", "CONCATENATION", "RESHAPE", "DEPTHWISE_CONV_2D"} <= names


def test_squeeze_and_excite_is_said_to_be_open() -> None:
    def excite(layers: Any, x: Any) -> Any:
        gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
        return layers.Multiply()([x, layers.Conv2D(8, 1, activation="sigmoid")(gate)])

    check = check_bytes(made_models.int8(excite), "excite")
    assert check.ok and "MUL" in check.open_questions[0]


def test_compiled_file_is_recognised(good: bytes) -> None:
    check = check_bytes(compiled(good), "good_edgetpu.tflite")
    assert check.compiled and check.ok
    assert not check_bytes(compiled(good, custom=b"other-op"), "other").ok


def test_command_prints_and_exits(good: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "good.tflite"
    path.write_bytes(good)
    assert main(["check", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "every operator will map" in printed and "nothing was compiled" in printed
    assert "1x16x16x1 8x3x3x1 8 -> 1x8x8x8" in printed and "(100.0 %)" in printed
    path.write_bytes(made_models.floating())
    assert main(["check", str(path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["maps_whole"] is False and found["ops"][0]["name"] == "CONV_2D" and found["ops"][0]["mend"]


def test_macs_of_a_transposed_convolution() -> None:
    graph = parse_tflite(made_models.int8(lambda layers, x: layers.Conv2DTranspose(4, 2, 2)(x)))[0]
    (op,) = [op for op in graph.operators if op.name == "TRANSPOSE_CONV"]
    # Each of 8x8x8 inputs is spread over 2x2x4 outputs.
    assert macs(op) == 8 * 8 * 8 * 2 * 2 * 4
