"""Calibration against its definitions and against data whose true temperature and smoothing are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.calibration import Calibration, calibrated
from edge.errors import DataError
from train.calibration import (
    MOST_SMOOTHING,
    TEMPERATURE_RANGE,
    crossvalidated,
    expected_calibration_error,
    fit_calibration,
    fit_temperature,
    fitted_stages,
    negative_log_likelihood,
    reliability_bins,
)


def sampled(
    true: Calibration, n: int = 20_000, classes: int = 7, seed: int = 3
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits, and labels drawn from the probabilities that the true calibration makes of them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, classes))
    cumulative = calibrated(logits, true).cumsum(axis=1)
    labels = (rng.random((n, 1)) > cumulative).sum(axis=1).clip(0, classes - 1)
    return logits, labels


@pytest.mark.parametrize("true", [0.5, 1.0, 1.7, 3.0])
def test_the_temperature_that_made_the_labels_is_found(true: float) -> None:
    logits, labels = sampled(Calibration(true))
    assert fit_temperature(logits, labels) == pytest.approx(true, rel=0.03)
    before = ece(logits, labels, Calibration())
    after = ece(logits, labels, Calibration(fit_temperature(logits, labels)))
    assert after < 0.012
    assert after <= before + 0.002


def nll(logits: NDArray[np.floating], labels: NDArray[np.integer], calibration: Calibration) -> float:
    return negative_log_likelihood(calibrated(logits, calibration), labels)


def ece(logits: NDArray[np.floating], labels: NDArray[np.integer], calibration: Calibration) -> float:
    return expected_calibration_error(calibrated(logits, calibration), labels)


@pytest.mark.parametrize("true", [Calibration(1.2, 0.11), Calibration(1.7, 0.05), Calibration(0.6, 0.2)])
def test_temperature_and_smoothing_that_made_the_labels_are_found(true: Calibration) -> None:
    logits, labels = sampled(true)
    fitted = fit_calibration(logits, labels)
    assert fitted.temperature == pytest.approx(true.temperature, rel=0.05)
    assert fitted.smoothing == pytest.approx(true.smoothing, abs=0.015)
    assert nll(logits, labels, fitted) <= nll(logits, labels, true)
    assert fit_calibration(logits, labels) == fitted


def test_each_stage_brings_something_where_targets_were_smoothed() -> None:
    logits, labels = sampled(Calibration(1.2, 0.15), n=6000)
    calibration, stages = fitted_stages(logits, labels)
    assert calibration == fit_calibration(logits, labels)
    assert list(stages) == ["before", "temperature_alone", "after", "crossvalidated"]
    assert stages["after"].ece < 0.015 < stages["temperature_alone"].ece
    assert stages["crossvalidated"].ece < 0.02
    assert stages["after"].nll < stages["crossvalidated"].nll < stages["temperature_alone"].nll
    assert stages["temperature_alone"].nll <= stages["before"].nll


@pytest.mark.parametrize("seed", range(3))
def test_no_point_of_a_grid_is_likelier_than_the_fit(seed: int) -> None:
    logits, labels = sampled(Calibration(1.3, 0.08 * seed), n=1500, seed=seed)
    least = nll(logits, labels, fit_calibration(logits, labels))
    for temperature in np.geomspace(*TEMPERATURE_RANGE, 60):
        for smoothing in np.linspace(0, MOST_SMOOTHING, 26):
            assert least <= nll(logits, labels, Calibration(float(temperature), float(smoothing))) + 1e-6


@given(st.integers(0, 10_000), st.integers(2, 9), st.floats(0.1, 40), st.integers(2, 30))
@settings(max_examples=15, deadline=None)
def test_whatever_the_rows_smoothing_makes_nothing_worse(seed: int, classes: int, spread: float, n: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(0, spread, (n, classes)), rng.integers(0, classes, n)
    fitted = fit_calibration(logits, labels)
    assert TEMPERATURE_RANGE[0] <= fitted.temperature <= TEMPERATURE_RANGE[1]
    assert 0 <= fitted.smoothing <= MOST_SMOOTHING
    alone = Calibration(fit_temperature(logits, labels))
    assert nll(logits, labels, fitted) <= nll(logits, labels, alone)
    probabilities = crossvalidated(logits, labels)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)


def test_a_cross_validated_row_has_no_part_in_its_calibration() -> None:
    logits, labels = sampled(Calibration(1.5), n=40)
    before = crossvalidated(logits, labels)
    for row in (0, 17):
        changed = labels.copy()
        changed[row] = (labels[row] + 1) % 7
        np.testing.assert_array_equal(crossvalidated(logits, changed)[row], before[row])
        assert (crossvalidated(logits, changed) != before).any()


@given(st.integers(0, 10_000), st.integers(2, 9), st.floats(0.1, 40))
@settings(max_examples=60, deadline=None)
def test_no_other_temperature_is_likelier(seed: int, classes: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (50, classes)).astype(np.float32)
    labels = rng.integers(0, classes, 50)
    best = fit_temperature(logits, labels)
    assert TEMPERATURE_RANGE[0] <= best <= TEMPERATURE_RANGE[1]
    least = nll(logits, labels, Calibration(best))
    for other in np.geomspace(*TEMPERATURE_RANGE, 80):
        assert least <= nll(logits, labels, Calibration(float(other))) + 1e-9


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
    probabilities = calibrated(rng.normal(0, 2, (n, 4)), Calibration())
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
        fit_calibration(logits, labels)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
