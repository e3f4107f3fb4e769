"""The formula that turns logits into probabilities: a distribution in the network's order, whatever comes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy
from numpy.typing import NDArray

from edge.calibration import FLOOR, Calibration, calibrated

LOGITS = hypothesis_numpy.arrays(
    np.float32,
    hypothesis_numpy.array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=8),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False) | st.floats(-20, 20, width=32),
)
CALIBRATIONS = st.builds(Calibration, st.floats(0.05, 20), st.floats(0, 0.99))


@given(LOGITS, CALIBRATIONS)
def test_it_is_a_distribution_in_the_logits_order(logits: NDArray[np.float32], calibration: Calibration) -> None:
    probabilities = calibrated(logits, calibration)
    assert probabilities.shape == logits.shape
    assert np.isfinite(probabilities).all() and (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0, atol=1e-12)
    in_order = np.take_along_axis(probabilities, np.argsort(logits, axis=-1), axis=-1)
    assert (np.diff(in_order, axis=-1) >= 0).all()


@given(LOGITS, st.floats(0.05, 20))
def test_smoothing_0_is_the_plain_softmax(logits: NDArray[np.float32], temperature: float) -> None:
    scaled = (logits.astype(np.float64) - logits.max(axis=-1, keepdims=True).astype(np.float64)) / temperature
    expected = np.exp(scaled) / np.exp(scaled).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(calibrated(logits, Calibration(temperature)), expected, rtol=1e-12, atol=0)


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=9), st.floats(0, 0.9), st.floats(0.1, 10))
def test_smoothed_targets_learned_to_the_letter_are_brought_back(
    weights: list[float], smoothing: float, temperature: float
) -> None:
    wanted = np.array(weights) / sum(weights)
    said = (1 - smoothing) * wanted + smoothing / len(wanted)
    probabilities = calibrated(np.log(said) * temperature, Calibration(temperature, smoothing))
    np.testing.assert_allclose(probabilities, wanted, atol=1e-9)


def test_what_is_within_the_smoothing_share_lies_at_the_floor() -> None:
    probabilities = calibrated(np.array([9.0, 0.0, -3.0]), Calibration(1.0, 0.1))
    assert probabilities[1] == probabilities[2] == pytest.approx(FLOOR, rel=0.1)
    assert probabilities[0] == pytest.approx(1 - 2 * FLOOR, abs=2e-5)


def test_the_default_changes_nothing_and_huge_logits_are_finite() -> None:
    np.testing.assert_allclose(calibrated(np.log([0.2, 0.3, 0.5]), Calibration()), [0.2, 0.3, 0.5])
    assert calibrated(np.array([[1e4, -1e4, 0.0]]), Calibration(0.05)).tolist() == [[1.0, 0.0, 0.0]]
