"""Every architecture: its shapes, its cost, and that the device's rules are kept."""

from pathlib import Path

import keras
import numpy as np
import pytest

from edge.errors import RunError, UsageError
from train.networks import NETWORKS, build_network
from train.networks.cost import count_macs, count_parameters
from train.networks.transfer import BASE_NAME, TRANSFER_BASES


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("classes", "size"), [(7, 48), (3, 64)])
def test_logits_from_raw_grey(name: str, classes: int, size: int) -> None:
    network = build_network(name, classes, size)
    assert network.input_shape == (None, size, size, 1)
    logits = np.asarray(network(np.full((2, size, size, 1), 200.0, np.float32)))
    assert logits.shape == (2, classes)
    assert np.isfinite(logits).all()


def test_the_default_fits_the_device() -> None:
    network = build_network("mobile", 7)
    assert count_parameters(network) <= 1_000_000
    assert count_macs(network) <= 80_000_000
    names = {type(layer).__name__ for layer in network.layers}
    allowed = {"Conv2D", "DepthwiseConv2D", "BatchNormalization", "ReLU", "Add", "Dense", "Dropout"}
    assert names <= allowed | {"InputLayer", "Rescaling", "GlobalAveragePooling2D"}
    assert all(layer.max_value == 6 for layer in network.layers if isinstance(layer, keras.layers.ReLU))


def test_macs_and_parameters_of_a_network_counted_by_hand() -> None:
    network = build_network("three-conv", 7)
    by_hand = 48 * 48 * 9 * 1 * 32 + 24 * 24 * 9 * 32 * 64 + 12 * 12 * 9 * 64 * 128 + 6 * 6 * 128 * 256 + 256 * 7
    assert count_macs(network) == by_hand
    weights = (9 * 32 + 32) + (9 * 32 * 64 + 64) + (9 * 64 * 128 + 128) + (6 * 6 * 128 * 256 + 256) + (256 * 7 + 7)
    assert count_parameters(network) == weights


@pytest.mark.parametrize("name", ["mobile", "six-conv", "residual"])
def test_squeeze_excite_is_an_option(name: str) -> None:
    plain, attending = build_network(name, 7), build_network(name, 7, squeeze_excite=True)
    assert not any(isinstance(layer, keras.layers.Multiply) for layer in plain.layers)
    assert any(isinstance(layer, keras.layers.Multiply) for layer in attending.layers)


def test_transfer_from_random_weights_and_from_a_file(tmp_path: Path) -> None:
    first = build_network("mobilenetv2", 3, 48, weights="none")
    assert first.input_shape == (None, 48, 48, 1)
    file = tmp_path / "base.weights.h5"
    first.get_layer(BASE_NAME).save_weights(file)
    second = build_network("mobilenetv2", 3, 48, weights=str(file))
    for a, b in zip(first.get_layer(BASE_NAME).get_weights(), second.get_layer(BASE_NAME).get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_transfer_base_counts_its_inner_model() -> None:
    for name in TRANSFER_BASES:
        network = build_network(name, 7)
        assert count_macs(network) > 10_000_000, name
        assert network.output_shape == (None, 7)


def test_weights_that_are_not_there_or_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="found no file"):
        build_network("vgg16", 7, weights=str(tmp_path / "missing.weights.h5"))
    damaged = tmp_path / "damaged.weights.h5"
    damaged.write_bytes(b"no weights")
    with pytest.raises(RunError, match="--weights none"):
        build_network("mobilenetv2", 7, weights=str(damaged))


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(UsageError, match=r"three-conv.*vgg16"):
        build_network("mobil", 7)
