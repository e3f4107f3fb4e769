import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import DataError
from train.splits import SHARES, kfold, stratified_split

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=200).map(lambda values: np.array(values, dtype=np.int64))


@given(LABELS, st.integers(0, 2**32))
def test_every_class_is_split_80_10_10(labels: np.ndarray, seed: int) -> None:
    splits = stratified_split(labels, seed)
    assert splits.shape == labels.shape
    for label in np.unique(labels):
        count = int((labels == label).sum())
        dealt = {name: int((splits[labels == label] == name).sum()) for name in SHARES}
        assert sum(dealt.values()) == count
        assert abs(dealt["validation"] - 0.1 * count) <= 1
        assert dealt["validation"] == dealt["test"]
        assert min(dealt.values()) >= (1 if count >= 3 else 0)


@given(LABELS, st.integers(0, 1000))
def test_a_seed_gives_the_same_split_again(labels: np.ndarray, seed: int) -> None:
    assert (stratified_split(labels, seed) == stratified_split(labels, seed)).all()


def test_another_seed_gives_another_split() -> None:
    labels = np.repeat(np.arange(7), 50)
    assert (stratified_split(labels, 0) != stratified_split(labels, 1)).any()


def test_other_shares() -> None:
    splits = stratified_split(np.repeat(np.arange(2), 50), 0, {"train": 0.9, "validation": 0.1})
    assert np.unique(splits, return_counts=True)[1].tolist() == [90, 10]


@given(LABELS, st.integers(2, 6), st.integers(0, 1000))
def test_folds_partition_the_rows_evenly(labels: np.ndarray, k: int, seed: int) -> None:
    counts = np.bincount(labels)
    if counts[counts > 0].min() < k:
        with pytest.raises(DataError, match="use fewer folds"):
            list(kfold(labels, k, seed))
        return
    folds = list(kfold(labels, k, seed))
    assert len(folds) == k
    assert sorted(np.concatenate([val for _, val in folds]).tolist()) == list(range(len(labels)))
    for train, val in folds:
        assert sorted([*train, *val]) == list(range(len(labels)))
        for label in np.unique(labels):
            expected = (labels == label).sum() / k
            assert abs((labels[val] == label).sum() - expected) < 1
    sizes = [len(val) for _, val in folds]
    assert max(sizes) - min(sizes) <= 1


def test_folds_follow_the_seed() -> None:
    labels = np.repeat(np.arange(3), 20)
    first, again, other = (next(kfold(labels, 5, seed))[1].tolist() for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(("labels", "k"), [([0, 0, 1, 1], 1), ([], 3), ([0, 0, 0, 1], 2)])
def test_folds_that_cannot_be(labels: list[int], k: int) -> None:
    with pytest.raises(DataError):
        next(kfold(np.array(labels, dtype=np.int64), k, 0))
