"""A network's logits to probabilities that mean what they say: the one formula, for the device and for training."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FLOOR = 1e-4
"""Least probability of a class where smoothing is undone: what was within the smoothing's share can't be told."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Two numbers fitted on rows the network did not learn from (train/calibration.py). The default changes nothing."""

    temperature: float = 1.0
    """Above 0; above 1 softens."""
    smoothing: float = 0.0
    """0 up to, not including, 1: the share of every training target that was spread evenly over the classes."""


def calibrated(logits: NDArray[np.floating], calibration: Calibration) -> NDArray[np.float64]:
    """(..., C) finite logits to (..., C) float64 probabilities that sum to 1.

    With temperature T, smoothing s and p = softmax(logits / T) it is max((p - s / C) / (1 - s), floor), renormalised.
    A network that learned targets smoothed by s (Szegedy et al., Rethinking the Inception Architecture, 2016, section
    7) never says more than 1 - s + s / C, however sure it is: the formula solves p = (1 - s) p' + s / C for p'. The
    temperature is that of Guo et al., On Calibration of Modern Neural Networks, 2017. Classes keep their order, those
    at the floor of min(FLOOR, s / C) are equal; smoothing 0 is the plain softmax.
    """
    values = np.asarray(logits, dtype=np.float64)
    # Shifted by the maximum first, so that nothing overflows whatever the temperature.
    powers = np.exp((values - values.max(axis=-1, keepdims=True)) / calibration.temperature)
    softmax = powers / powers.sum(axis=-1, keepdims=True)
    even = calibration.smoothing / values.shape[-1]
    raised = np.maximum((softmax - even) / (1.0 - calibration.smoothing), min(FLOOR, even))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), dtype=np.float64)
