"""The golden cases of a bundle: public pictures and what the int8 file answers, asked again on every device.

A device, a runtime or an accelerator that answers them wrong is not used. Training pictures may not be passed on, so
the face is ``skimage.data.astronaut()``'s (NASA, Eileen Collins, public domain); the others are drawn.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from convert.runner import run_model, run_model_in
from edge.preprocess import resize_grey, to_grey
from edge.runtimes.golden import golden_json

FACE = (slice(64, 175), slice(168, 279))
"""Rows and columns of the astronaut's face: YuNet's box, cut with the card's geometry (.98 of its height)."""
TOLERANCE_STEPS = {
    # Bit-exact on x86 with TensorFlow's own interpreter; leaves room for ARM kernels' rounding.
    "ai-edge-litert": 4.0,
    # 5 steps from ai-edge-litert on these pictures with the shipped network; up to 28 on 3,589 real ones.
    "tflite-runtime": 12.0,
    "edgetpu": 16.0,
}
"""By runtime, in steps of the output scale."""


def golden_pictures(height: int, width: int) -> NDArray[np.uint8]:
    """(4, height, width) uint8 grey: a face, its negative, a ramp and noise, so that no constant answer passes."""
    from skimage import data  # half a second to import

    portrait = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    face = resize_grey(to_grey(np.ascontiguousarray(portrait[FACE], dtype=np.uint8)), height, width)
    ramp = np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))
    noise = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    return np.stack([face, 255 - face, ramp, noise])


def make_golden(int8: bytes, height: int, width: int, also: list[Path]) -> str:
    """The text of golden.json for an int8 file. also: interpreters of other runtimes.

    A tolerance grows to twice what another runtime differs on these very pictures: room for a third kind of kernel.
    """
    pictures = golden_pictures(height, width)
    steps, _ = run_model(int8, pictures)
    others = [run_model_in(python, int8, pictures)[0] for python in also]
    measured = max((int(np.abs(steps.astype(int) - other.astype(int)).max()) for other in others), default=0)
    tolerance = TOLERANCE_STEPS | {
        name: max(TOLERANCE_STEPS[name], 2.0 * measured) for name in ("tflite-runtime", "edgetpu")
    }
    return golden_json(list(pictures), [np.asarray(row, np.int8) for row in steps], tolerance)
