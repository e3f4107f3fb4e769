"""Every score against the plainest possible definition, counted row by row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from train import metrics

Rows = tuple[int, list[tuple[int, int]]]


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    """A class count and (true, predicted) pairs."""
    classes = draw(st.integers(2, 6))
    pair = st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1))
    return classes, draw(st.lists(pair, min_size=1, max_size=60))


def matrix(case: Rows) -> NDArray[np.int64]:
    classes, pairs = case
    true, predicted = np.array(pairs).T
    return metrics.confusion_matrix(true, predicted, classes)


def share(above: int, below: int) -> float:
    return above / below if below else 0.0


@given(rows())
@settings(max_examples=150, deadline=None)
def test_scores_follow_their_definitions(case: Rows) -> None:
    classes, pairs = case
    confusion = matrix(case)
    scores = metrics.class_scores(confusion)
    for c in range(classes):
        tp = sum(t == c and p == c for t, p in pairs)
        fp = sum(t != c and p == c for t, p in pairs)
        fn = sum(t == c and p != c for t, p in pairs)
        tn = sum(t != c and p != c for t, p in pairs)
        precision, recall = share(tp, tp + fp), share(tp, tp + fn)
        assert scores.precision[c] == pytest.approx(precision)
        assert scores.recall[c] == pytest.approx(recall)
        assert scores.specificity[c] == pytest.approx(share(tn, tn + fp))
        harmonic = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        assert scores.f1[c] == pytest.approx(harmonic)
        assert scores.support[c] == tp + fn
        for other in range(classes):
            assert confusion[c, other] == pairs.count((c, other))
    right = sum(t == p for t, p in pairs) / len(pairs)
    assert metrics.accuracy(confusion) == pytest.approx(right)
    assert metrics.weighted(scores.recall, scores.support) == pytest.approx(right)
    assert metrics.macro(scores.f1) == pytest.approx(sum(scores.f1) / classes)


@given(rows())
@settings(max_examples=60, deadline=None)
def test_top_confusions_are_all_mistakes_in_order(case: Rows) -> None:
    classes, pairs = case
    found = metrics.top_confusions(matrix(case), classes * classes)
    assert sum(each.rows for each in found) == sum(t != p for t, p in pairs)
    assert [each.rows for each in found] == sorted((each.rows for each in found), reverse=True)
    for each in found:
        assert each.rows == pairs.count((each.true, each.predicted))
        assert each.share == pytest.approx(each.rows / sum(t == each.true for t, _ in pairs))
    assert metrics.top_confusions(matrix(case), 2) == found[:2]


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=50), st.integers(0, 999))
@settings(max_examples=150, deadline=None)
def test_risk_coverage_follows_its_definition_in_any_row_order(case: list[tuple[int, bool]], seed: int) -> None:
    confidence = np.array([c / 8 for c, _ in case])
    right = np.array([r for _, r in case])
    curve = metrics.risk_coverage(confidence, right)
    for threshold in np.unique(confidence):
        answered = confidence >= threshold
        found, least = curve.at(answered.mean())
        assert found == pytest.approx(right[answered].mean())
        assert least == threshold
    assert curve.accuracy[-1] == pytest.approx(right.mean())
    assert 0 <= curve.area <= 1
    shuffled = np.random.default_rng(seed).permutation(len(case))
    again = metrics.risk_coverage(confidence[shuffled], right[shuffled])
    np.testing.assert_allclose(again.accuracy, curve.accuracy)


def test_accuracy_at_a_coverage_answers_at_least_that_many_rows() -> None:
    curve = metrics.risk_coverage(np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([True, True, True, False, False]))
    assert curve.at(0.6) == (1.0, 0.7)
    assert curve.at(0.8) == (0.75, 0.6)
    assert curve.at(0.61) == (0.75, 0.6)
    assert curve.at(1.0) == (0.6, 0.5)


def test_ferplus_agreement_scores_majorities_only() -> None:
    votes = np.array([[10, 0, 0], [6, 4, 0], [5, 5, 0], [0, 4, 5], [0, 0, 0], [0, 0, 7]], dtype=np.float32)
    predicted = np.array([0, 1, 0, 2, 0, 2])
    agreement, scored = metrics.ferplus_agreement(votes, predicted)
    assert agreement == pytest.approx(2 / 3)
    assert scored == 3
    assert metrics.ferplus_agreement(votes[2:5], predicted[2:5]) == (0.0, 0)


def test_an_empty_matrix_has_no_accuracy() -> None:
    assert metrics.accuracy(np.zeros((3, 3), dtype=np.int64)) == 0.0
