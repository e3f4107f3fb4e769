"""Calibration against its definitions and against data whose true temperature is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.errors import DataError
from train.calibration import (
    TEMPERATURE_RANGE,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability_bins,
    softmax,
)


def sampled(
    true_temperature: float, n: int = 20_000, classes: int = 7
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits, and labels drawn from softmax(logits / true_temperature)."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 3, (n, classes))
    cumulative = softmax(logits, true_temperature).cumsum(axis=1)
    labels = (rng.random((n, 1)) > cumulative).sum(axis=1).clip(0, classes - 1)
    return logits, labels


@pytest.mark.parametrize("true", [0.5, 1.0, 1.7, 3.0])
def test_the_temperature_that_made_the_labels_is_found(true: float) -> None:
    logits, labels = sampled(true)
    assert fit_temperature(logits, labels) == pytest.approx(true, rel=0.03)
    before = expected_calibration_error(softmax(logits), labels)
    after = expected_calibration_error(softmax(logits, fit_temperature(logits, labels)), labels)
    assert after < 0.012
    assert after <= before + 0.002


@given(st.integers(0, 10_000), st.integers(2, 9), st.floats(0.1, 40))
@settings(max_examples=60, deadline=None)
def test_no_other_temperature_is_likelier(seed: int, classes: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (50, classes)).astype(np.float32)
    labels = rng.integers(0, classes, 50)
    best = fit_temperature(logits, labels)
    assert TEMPERATURE_RANGE[0] <= best <= TEMPERATURE_RANGE[1]
    least = negative_log_likelihood(logits, labels, best)
    for other in np.geomspace(*TEMPERATURE_RANGE, 80):
        assert least <= negative_log_likelihood(logits, labels, float(other)) + 1e-9


def test_the_ends_of_the_range() -> None:
    labels = np.array([0, 1, 0, 1])
    right = np.array([[2.0, 0], [0, 2.0], [2.0, 0], [0, 2.0]])
    assert fit_temperature(right, labels) == TEMPERATURE_RANGE[0]
    assert fit_temperature(-right, labels) == TEMPERATURE_RANGE[1]
    assert fit_temperature(np.zeros((4, 2)), labels) == 1.0


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_ece_and_bins_follow_the_definition(seed: int, n: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = softmax(rng.normal(0, 2, (n, 4)))
    labels = rng.integers(0, 4, n)
    expected = 0.0
    for b in range(bins):
        rows = [
            i
            for i in range(n)
            if b / bins < probabilities[i].max() <= (b + 1) / bins  # Guo et al.: (lower, upper]
        ]
        if rows:
            accuracy = sum(probabilities[i].argmax() == labels[i] for i in rows) / len(rows)
            expected += len(rows) / n * abs(accuracy - sum(probabilities[i].max() for i in rows) / len(rows))
    assert expected_calibration_error(probabilities, labels, bins) == pytest.approx(expected, abs=1e-9)
    drawn = reliability_bins(probabilities, labels, bins)
    assert len(drawn) == bins
    assert sum(each.count for each in drawn) == n


def test_certain_probabilities_land_in_the_outer_bins() -> None:
    drawn = reliability_bins(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([1, 0]), bins=2)
    assert [each.count for each in drawn] == [1, 1]
    assert [each.accuracy for each in drawn] == [1.0, 0.0]


def test_softmax_of_huge_logits_is_finite() -> None:
    assert softmax(np.array([[1e4, -1e4, 0.0]]), 0.05).tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("logits", "labels", "said"),
    [
        (np.zeros((0, 7)), np.zeros(0, dtype=int), "at least one row"),
        (np.zeros((2, 7)), np.array([0, 7]), "row 1 has 7"),
        (np.zeros((2, 7)), np.array([-1, 0]), "row 0 has -1"),
        (np.array([[0, 1], [np.nan, 1]]), np.array([0, 1]), "row 1"),
        (np.zeros((2, 7)), np.array([0]), "(2, 7)"),
    ],
)
def test_unusable_rows_are_named(logits: NDArray[np.float64], labels: NDArray[np.int64], said: str) -> None:
    with pytest.raises(DataError) as caught:
        fit_temperature(logits, labels)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
