"""Augmentation as a Keras layer: runs on the device that trains, on any backend, and only while training.

Ranges are symmetric unless said. Every picture draws its own values. The geometry is one affine map, so a picture is
resampled once.
"""

import math
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops, random
from numpy.typing import NDArray

PIXELS_AT_ONCE = 2**23
"""Bounds the memory of ``augmented``: about half a gigabyte."""


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """What may happen to a picture, each with its range; 0 turns one off."""

    flip: bool = True
    """Mirror left-right, half of the time."""
    rotate_deg: float = 15.0
    zoom_min: float = 0.85
    """Smallest size of the face relative to the original."""
    zoom_max: float = 1.2
    shift: float = 0.08
    """Share of the side, in x and in y: 0.08 is about 4 pixels of 48."""
    shear: float = 0.05
    """Tangent of the shear angle."""
    brightness: float = 30.0
    """Grey levels added."""
    contrast: float = 0.3
    """Factor 1 +- this about the picture's mean."""
    cutout: float = 0.33
    """Side of one grey square as a share of the picture's side, placed anywhere, half of the time."""


@keras.saving.register_keras_serializable(package="emotion_edge")
class Augment(keras.layers.Layer):
    """(N, S, S, 1) float32 grey 0..255 to the same shape and range; identity unless ``training``."""

    def __init__(self, settings: AugmentSettings, seed: int = 0, **kwargs: object) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.settings = settings
        # Its state is one of the model's variables, so a resumed run draws what the killed one would have drawn.
        self.seed_generator = random.SeedGenerator(seed)

    def call(self, images: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        if not training:
            return images
        return self._cut_out(self._relight(self._move(images)))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def _uniform(self, count: int, low: float, high: float) -> keras.KerasTensor:
        return random.uniform((count,), low, high, seed=self.seed_generator)

    def _move(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Flip, rotate, zoom, shear and shift in one affine map from output to input pixels."""
        s, n, side = self.settings, ops.shape(images)[0], images.shape[1]
        angle = self._uniform(n, -1.0, 1.0) * (s.rotate_deg * math.pi / 180)
        zoom = ops.exp(self._uniform(n, math.log(s.zoom_min), math.log(s.zoom_max)))
        shear = self._uniform(n, -s.shear, s.shear)
        mirror = ops.where(self._uniform(n, 0.0, 1.0) < (0.5 if s.flip else 0.0), -1.0, 1.0)
        cos, sin = ops.cos(angle) / zoom, ops.sin(angle) / zoom
        a0, a1 = mirror * cos, mirror * (shear * cos - sin)
        b0, b1 = sin, shear * sin + cos
        middle = (side - 1) / 2
        a2 = middle - middle * (a0 + a1) + self._uniform(n, -s.shift, s.shift) * side
        b2 = middle - middle * (b0 + b1) + self._uniform(n, -s.shift, s.shift) * side
        line = ops.cast(ops.arange(side), "float32")
        x, y = line[None, None, :], line[None, :, None]
        a0, a1, a2, b0, b1, b2 = (value[:, None, None] for value in (a0, a1, a2, b0, b1, b2))
        return _bilinear(images, a0 * x + a1 * y + a2, b0 * x + b1 * y + b2)

    def _relight(self, images: keras.KerasTensor) -> keras.KerasTensor:
        s, n = self.settings, ops.shape(images)[0]
        gain = ops.reshape(1.0 + self._uniform(n, -s.contrast, s.contrast), (n, 1, 1, 1))
        offset = ops.reshape(self._uniform(n, -s.brightness, s.brightness), (n, 1, 1, 1))
        mean = ops.mean(images, axis=(1, 2, 3), keepdims=True)
        return ops.clip((images - mean) * gain + mean + offset, 0.0, 255.0)

    def _cut_out(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Cutout (DeVries & Taylor 2017, arXiv:1708.04552), filled with the picture's mean."""
        s, n, side = self.settings, ops.shape(images)[0], images.shape[1]
        half = s.cutout * side / 2
        wanted = self._uniform(n, 0.0, 1.0) < (0.5 if s.cutout else 0.0)
        line = ops.cast(ops.arange(side), "float32")[None, :]
        inside_x = ops.abs(line - (self._uniform(n, 0.0, 1.0) * side)[:, None]) < half
        inside_y = ops.abs(line - (self._uniform(n, 0.0, 1.0) * side)[:, None]) < half
        hole = inside_y[:, :, None] & inside_x[:, None, :] & wanted[:, None, None]
        return ops.where(hole[..., None], ops.mean(images, axis=(1, 2, 3), keepdims=True), images)


def augmented(images: NDArray[np.uint8], settings: AugmentSettings, seed: int) -> NDArray[np.uint8]:
    """(N, S, S) uint8 pictures as training would see them."""
    layer, done = Augment(settings, seed), np.empty_like(images)
    rows = max(1, PIXELS_AT_ONCE // images[0].size) if len(images) else 1
    for first in range(0, len(images), rows):
        part = slice(first, first + rows)
        pictures = layer(images[part, ..., None].astype(np.float32), training=True)
        done[part] = ops.convert_to_numpy(pictures)[..., 0].round()
    return done


def _bilinear(images: keras.KerasTensor, x: keras.KerasTensor, y: keras.KerasTensor) -> keras.KerasTensor:
    """(N, S, S, 1) pictures read at x, y (N, S, S) in pixels; outside, the edge pixels repeat, as in edge.preprocess.

    keras.ops.image.affine_transform does the same, but XLA can't compile TensorFlow's (Keras compiles whole steps with
    XLA wherever TensorFlow sees a GPU), and PyTorch's loops over the pictures.
    """
    n, side = ops.shape(images)[0], images.shape[1]
    pixels = ops.reshape(images, (n, side * side))
    x, y = ops.clip(x, 0.0, side - 1.0), ops.clip(y, 0.0, side - 1.0)
    left, top = ops.floor(x), ops.floor(y)
    across, down = x - left, y - top

    def pixel(column: keras.KerasTensor, row: keras.KerasTensor) -> keras.KerasTensor:
        index = ops.cast(ops.minimum(row, side - 1.0) * side + ops.minimum(column, side - 1.0), "int32")
        taken = ops.take_along_axis(pixels, ops.reshape(index, (n, side * side)), axis=1)
        return ops.reshape(taken, (n, side, side))

    upper = pixel(left, top) * (1 - across) + pixel(left + 1, top) * across
    lower = pixel(left, top + 1) * (1 - across) + pixel(left + 1, top + 1) * across
    return (upper * (1 - down) + lower * down)[..., None]
