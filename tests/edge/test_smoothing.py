"""Smoothing: what it weighs, and that the frame rate does not matter."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.smoothing import Smoothed, smooth


def run(values: list[float], times: list[float], time_constant_s: float) -> Smoothed[float]:
    smoothed = None
    for value, at_s in zip(values, times, strict=True):
        smoothed = smooth(smoothed, value, at_s, time_constant_s)
    assert smoothed is not None
    return smoothed


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 5)), min_size=1, max_size=30), st.floats(0.05, 3))
def test_it_is_the_mean_weighted_by_age(steps: list[tuple[float, float]], tau: float) -> None:
    values = [value for value, _ in steps]
    times = list(np.cumsum([gap for _, gap in steps]))
    weights = [math.exp(-(times[-1] - at_s) / tau) for at_s in times]
    expected = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    assert run(values, times, tau).value == pytest.approx(expected, abs=1e-9)


def test_first_observations_are_averaged_evenly() -> None:
    assert run([1.0, 0.0, 0.0], [0.0, 0.0, 0.0], 1.0).value == pytest.approx(1 / 3)


@pytest.mark.parametrize("fps", [5, 15, 60])
def test_a_step_reaches_63_percent_after_one_time_constant_at_any_frame_rate(fps: int) -> None:
    times = [n / fps for n in range(-20 * fps, fps + 1)]
    values = [float(at_s > 0) for at_s in times]
    assert run(values, times, 1.0).value == pytest.approx(1 - math.exp(-1), abs=0.5 / fps)


def test_after_a_long_gap_only_the_new_observation_counts() -> None:
    assert run([1.0, 1.0, 0.0], [0.0, 0.1, 60.0], 0.6).value == pytest.approx(0.0, abs=1e-9)


def test_no_time_constant_is_no_smoothing() -> None:
    assert run([1.0, 0.25], [0.0, 0.0], 0.0).value == 0.25


def test_probabilities_stay_probabilities() -> None:
    random = np.random.default_rng(0)
    smoothed = None
    for n in range(200):
        smoothed = smooth(smoothed, random.dirichlet(np.ones(7)).astype(np.float32), n / 15, 0.6)
        assert smoothed.value.dtype == np.float32
        assert smoothed.value.sum() == pytest.approx(1.0, abs=1e-5)
        assert (smoothed.value >= 0).all()
