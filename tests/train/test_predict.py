"""Predictions of Keras and TFLite files against the device's own classifier and against Keras itself."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.bundle import load_bundle
from edge.calibration import Calibration, calibrated
from edge.classifiers.emotion import BundleClassifier
from edge.errors import BundleError, DataError, RunError
from edge.runtimes.tflite import TfliteModel
from tests.devdata import ROOT
from train.predict import as_logits, open_bundle_file, open_network, predict_logits

TINY7, TINY3 = ROOT / "tests/golden/tiny7", ROOT / "tests/golden/tiny3"


def pictures(count: int, side: int) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (count, side, side), dtype=np.uint8)


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((12, 12, 1))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, strides=2)(x))
    path = tmp_path_factory.mktemp("keras") / "tiny.keras"
    keras.Model(inputs, keras.layers.Dense(3)(x)).save(path)
    return path


@pytest.mark.parametrize("bundle_folder", [TINY7, TINY3])
def test_a_bundle_gives_what_the_device_gives(bundle_folder: Path) -> None:
    bundle = load_bundle(bundle_folder)
    images = pictures(70, bundle.input.shape[1])
    done: list[int] = []
    logits = predict_logits(bundle_folder, images, progress=done.append)
    device = BundleClassifier(TfliteModel(bundle.read("int8")), bundle)
    expected = np.stack([scores.probabilities for scores in device.classify(list(images))])
    np.testing.assert_allclose(calibrated(logits, bundle.calibration), expected, atol=1e-5)
    assert done == [64, 70]
    np.testing.assert_array_equal(predict_logits(bundle.path("int8"), images), logits)
    mirrored = predict_logits(bundle_folder, images, flip=True)
    np.testing.assert_array_equal(mirrored, predict_logits(bundle_folder, np.ascontiguousarray(images[:, :, ::-1])))


def test_a_tflite_file_alone_gives_the_same_as_with_its_card(tmp_path: Path) -> None:
    lone = tmp_path / "lone.tflite"
    shutil.copy(TINY7 / "emotion.int8.tflite", lone)
    images = pictures(3, 48)
    np.testing.assert_array_equal(predict_logits(lone, images), predict_logits(TINY7, images))
    assert open_network(lone).labels is None
    assert open_network(TINY7).labels == load_bundle(TINY7).labels


def test_keras_batches_give_what_one_pass_gives(keras_file: Path) -> None:
    images = pictures(300, 12)  # one full batch and a part of one
    direct = keras.saving.load_model(keras_file).predict(images[..., None].astype(np.float32), verbose=0)
    np.testing.assert_allclose(predict_logits(keras_file, images), direct, atol=1e-4)
    assert predict_logits(keras_file, images[:0]).shape == (0, 3)


def test_probabilities_become_logits_that_softmax_brings_back() -> None:
    plain = Calibration()
    probabilities = calibrated(np.random.default_rng(0).normal(0, 2, (50, 7)), plain).astype(np.float32)
    np.testing.assert_allclose(calibrated(as_logits(probabilities), plain), probabilities, atol=0.01)
    rounded = np.round(probabilities * 256) / np.float32(256)  # as an int8 softmax gives them, zeros too
    np.testing.assert_allclose(calibrated(as_logits(rounded), plain), rounded, atol=0.02)
    logits = np.random.default_rng(0).normal(0, 2, (50, 7)).astype(np.float32)
    assert as_logits(logits) is logits


def damaged(folder: Path, kind: str) -> Path:
    content = (TINY7 / "emotion.int8.tflite").read_bytes()
    path = folder / ("x.keras" if kind == "no keras" else "x.h5" if kind == "other type" else "x.tflite")
    if kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind in ("text", "no keras", "other type"):
        path.write_text("hello")
    elif kind == "empty":
        path.write_bytes(b"")
    return path


@pytest.mark.parametrize("kind", ["absent", "truncated", "text", "empty", "no keras", "other type"])
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    path = damaged(tmp_path, kind)
    with pytest.raises((RunError, BundleError)) as caught:
        predict_logits(path, pictures(1, 48))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_what_its_card_says_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(TINY7, folder)
    model = folder / "emotion.int8.tflite"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    for path in (folder, model):
        with pytest.raises(BundleError, match="sha256"):
            predict_logits(path, pictures(1, 48))


def test_a_file_the_bundle_has_not_or_that_needs_an_accelerator_is_named() -> None:
    with pytest.raises(BundleError, match="keras"):
        open_bundle_file(load_bundle(TINY7), "keras")
    with pytest.raises(BundleError, match=r"Edge TPU|edgetpu"):
        open_bundle_file(load_bundle(TINY7), "edgetpu")


@pytest.mark.parametrize("images", [pictures(2, 47), pictures(2, 48).astype(np.float32), pictures(2, 48)[0]])
def test_pictures_of_another_kind_are_refused(images: NDArray[np.uint8]) -> None:
    with pytest.raises(DataError, match="48"):
        predict_logits(TINY7, images)


def test_a_network_of_another_shape_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input((12, 12, 3))
    path = tmp_path / "colour.keras"
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)).save(path)
    with pytest.raises(RunError, match=r"\(N, H, W, 1\)"):
        open_network(path)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow converts networks of its own backend only"
)
def test_a_float_tflite_file_gives_what_its_keras_network_gives(keras_file: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    path = tmp_path / "float.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(keras.saving.load_model(keras_file)).convert())
    images = pictures(20, 12)
    np.testing.assert_allclose(predict_logits(path, images), predict_logits(keras_file, images), atol=1e-3)
