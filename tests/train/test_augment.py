"""Augmentation: stays in range, does nothing outside training, draws anew for every picture, repeats by seed."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops
from numpy.typing import NDArray

from train.augment import Augment, AugmentSettings, _bilinear, augmented
from train.learner import Learner

OFF = AugmentSettings(
    flip=False,
    rotate_deg=0.0,
    zoom_min=1.0,
    zoom_max=1.0,
    shift=0.0,
    shear=0.0,
    brightness=0.0,
    contrast=0.0,
    cutout=0.0,
)


def faces(count: int = 16, side: int = 48) -> NDArray[np.float32]:
    """Smooth pictures: a bright blob off the middle, so that every move shows."""
    y, x = np.mgrid[:side, :side]
    blob = 40 + 180 * np.exp(-((x - side * 0.35) ** 2 + (y - side * 0.4) ** 2) / (side * 1.5))
    return np.repeat(blob[None, :, :, None], count, axis=0).astype(np.float32)


def run(settings: AugmentSettings, images: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    return np.asarray(Augment(settings, seed)(images, training=True))


def centroid(image: NDArray[np.float32]) -> tuple[float, float]:
    weight = np.clip(image[..., 0] - 60, 0, None)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return float((x * weight).sum() / weight.sum()), float((y * weight).sum() / weight.sum())


def test_nothing_happens_outside_training_or_with_everything_off() -> None:
    images = faces()
    np.testing.assert_array_equal(np.asarray(Augment(AugmentSettings())(images, training=False)), images)
    np.testing.assert_allclose(run(OFF, images), images, atol=0.01)


def test_shape_and_range_are_kept_and_every_picture_differs() -> None:
    changed = run(AugmentSettings(), faces())
    assert changed.shape == (16, 48, 48, 1)
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert len({image.tobytes() for image in changed}) == 16


def test_the_same_seed_draws_the_same() -> None:
    np.testing.assert_array_equal(run(AugmentSettings(), faces(), 3), run(AugmentSettings(), faces(), 3))
    assert not np.array_equal(run(AugmentSettings(), faces(), 3), run(AugmentSettings(), faces(), 4))


def test_flip_is_exact_and_about_half() -> None:
    images = faces(200)
    flipped = run(replace(OFF, flip=True), images)
    mirror = images[:, :, ::-1]
    as_was = np.isclose(flipped, images, atol=0.01).all(axis=(1, 2, 3))
    mirrored = np.isclose(flipped, mirror, atol=0.01).all(axis=(1, 2, 3))
    assert (as_was ^ mirrored).all()
    assert 60 <= mirrored.sum() <= 140


def test_shift_stays_within_its_range() -> None:
    x0, y0 = centroid(faces(1)[0])
    for image in run(replace(OFF, shift=0.08), faces(60)):
        x, y = centroid(image)
        assert abs(x - x0) <= 0.08 * 48 + 0.5
        assert abs(y - y0) <= 0.08 * 48 + 0.5


def test_rotation_turns_about_the_middle() -> None:
    middle = 23.5
    x0, y0 = centroid(faces(1)[0])
    radius = np.hypot(x0 - middle, y0 - middle)
    turned = [centroid(image) for image in run(replace(OFF, rotate_deg=15.0), faces(60))]
    angles = [np.degrees(np.arctan2(y - middle, x - middle) - np.arctan2(y0 - middle, x0 - middle)) for x, y in turned]
    assert all(abs(np.hypot(x - middle, y - middle) - radius) < 0.6 for x, y in turned)
    assert max(angles) <= 16
    assert min(angles) >= -16
    assert max(angles) - min(angles) > 15


@pytest.mark.parametrize("zoom", [0.85, 1.2])
def test_zoom_scales_the_face(zoom: float) -> None:
    image = run(replace(OFF, zoom_min=zoom, zoom_max=zoom), faces(1))[0]
    x0, y0 = centroid(faces(1)[0])
    x, y = centroid(image)
    assert np.hypot(x - 23.5, y - 23.5) == pytest.approx(zoom * np.hypot(x0 - 23.5, y0 - 23.5), abs=0.6)


def test_cutout_covers_its_share_of_half_the_pictures() -> None:
    images = np.tile(np.linspace(0, 250, 48, dtype=np.float32)[None, None, :, None], (200, 48, 1, 1))
    changed = run(replace(OFF, cutout=0.33), images)
    holes = (np.abs(changed - images) > 0.5).mean(axis=(1, 2, 3))
    assert 0.3 < (holes > 0.001).mean() < 0.7
    assert holes.max() <= 0.13


def test_pictures_are_resampled_as_keras_own_affine_transform_does() -> None:
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (6, 48, 48, 1)).astype(np.float32)
    matrix = rng.uniform(-0.3, 0.3, (6, 8)).astype(np.float32)
    matrix[:, [0, 4]] += 1
    matrix[:, [2, 5]] *= 30
    matrix[:, 6:] = 0
    wanted = ops.image.affine_transform(
        images, matrix, interpolation="bilinear", fill_mode="nearest", data_format="channels_last"
    )
    y, x = np.mgrid[:48, :48].astype(np.float32)
    a0, a1, a2, b0, b1, b2 = (matrix[:, i, None, None] for i in range(6))
    got = _bilinear(images, a0 * x + a1 * y + a2, b0 * x + b1 * y + b2)
    np.testing.assert_allclose(np.asarray(got), np.asarray(wanted), atol=0.02)


def test_large_pictures_are_augmented_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    images = faces(5)[..., 0].astype(np.uint8)
    monkeypatch.setattr("train.augment.PIXELS_AT_ONCE", 2 * 48 * 48)
    np.testing.assert_array_equal(augmented(images, OFF, 0), images)
    assert len({image.tobytes() for image in augmented(images, AugmentSettings(), 0)}) == 5


def test_xla_compiles_a_whole_step() -> None:
    """As Keras has it do where TensorFlow sees a GPU."""
    inputs = keras.Input((48, 48, 1))
    network = keras.Model(inputs, keras.layers.Dense(7)(keras.layers.Flatten()(inputs)))
    learner = Learner(network, Augment(AugmentSettings()))
    learner.compile(optimizer="adam", metrics=["accuracy"], jit_compile=True)
    loss, _ = learner.train_on_batch(faces(4), np.eye(7, dtype=np.float32)[[0, 1, 2, 3]])
    assert np.isfinite(loss)
