"""Exponential smoothing in time, so that a slow and a fast camera smooth alike. Pure."""

import math
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value", float, NDArray[np.float32])


@dataclass(frozen=True, slots=True)
class Smoothed(Generic[Value]):
    """A running mean in which an observation's weight fades with its age."""

    value: Value
    weight: float
    """Sum of the faded weights of all observations so far; each counts 1 when new."""
    at_s: float
    """When the latest observation was made."""


def smooth(before: Smoothed[Value] | None, value: Value, now_s: float, time_constant_s: float) -> Smoothed[Value]:
    """The mean of all observations, each weighing exp(-age / time_constant_s).

    The first observations are averaged evenly instead of the first one ruling (Adam's bias correction, Kingma & Ba
    2015); after a gap much longer than the time constant only the new one counts. time_constant_s 0: no smoothing.
    """
    if before is None or time_constant_s <= 0:
        return Smoothed(value, 1.0, now_s)
    weight = before.weight * math.exp(-max(0.0, now_s - before.at_s) / time_constant_s) + 1.0
    return Smoothed(before.value + (value - before.value) / weight, weight, now_s)
