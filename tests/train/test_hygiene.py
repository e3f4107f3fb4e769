"""What training leaves out: found, counted, named; validation and test keep every row."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from train.dataset import Dataset
from train.hygiene import clean, inspect, picture_groups


def dataset(
    kinds: Sequence[int], labels: Sequence[int], splits: Sequence[str], no_face: Sequence[bool] | None = None
) -> Dataset:
    """Rows of the same kind have the same picture; kind 0 is constant."""
    faces = np.random.default_rng(0).integers(0, 256, (10, 8, 8), dtype=np.uint8)
    faces[0] = 7
    return Dataset(
        images=faces[list(kinds)],
        labels=np.array(labels, dtype=np.int64),
        splits=np.array(splits, dtype="<U16"),
        classes=("a", "b", "c"),
        origins=tuple(f"r{row}" for row in range(len(kinds))),
        no_face=None if no_face is None else np.array(no_face),
    )


def test_identical_pictures_share_a_number() -> None:
    assert picture_groups(dataset([3, 1, 3, 2, 1], [0] * 5, ["train"] * 5).images).tolist() == [0, 1, 0, 2, 1]
    assert picture_groups(np.empty((0, 8, 8), dtype=np.uint8)).tolist() == []


def test_each_flaw_is_left_out_under_its_name() -> None:
    #       constant   leaked      conflict  repeats    fine  no face
    data = dataset(
        [0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 5, 5],
        [0, 0, 1, 1, 0, 1, 2, 2, 2, 1, 0, 0],
        ["train", "validation", "train", "test", "train", "train", "train", "train", "train", "train", "train", "test"],
        [False] * 9 + [True] + [False] * 2,
    )  # fmt: skip
    kept = clean(data)
    assert kept.dropped == {
        "constant picture in training": ["r0"],
        "no face in training, say all FER+ taggers": ["r9"],
        "training picture that validation or test has too": ["r2", "r10"],
        "identical training pictures with different labels": ["r4", "r5"],
        "training picture that came before": ["r7", "r8"],
    }
    assert kept.origins == ("r1", "r3", "r6", "r11")
    assert len(data) == 12, "the original is left alone"


def test_labels_differing_across_splits_are_a_leak_only() -> None:
    found = inspect(dataset([1, 1], [0, 1], ["train", "validation"]))
    assert found.leaked.tolist() == [True, False]
    assert not found.conflicting.any()


def test_repeats_outside_training_stay() -> None:
    data = dataset([0, 1, 1, 1], [0, 1, 2, 1], ["validation", "validation", "test", "test"])
    assert len(clean(data)) == 4
    assert clean(data).dropped == {}


ROWS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 2), st.sampled_from(["train", "train", "validation", "test"])),
    max_size=40,
)


@given(ROWS)
def test_what_is_kept_is_clean_and_nothing_else_is_lost(rows: list[tuple[int, int, str]]) -> None:
    kinds, labels, splits = ([row[column] for row in rows] for column in range(3))
    data = dataset(kinds, labels, splits)  # type: ignore[arg-type]
    kept = clean(data)
    gone = {origin for origins in kept.dropped.values() for origin in origins}
    assert sorted([*kept.origins, *gone]) == sorted(data.origins), "every row is kept or named, once"
    assert sum(map(len, kept.dropped.values())) == len(gone)

    held = [int(origin[1:]) for origin in kept.origins]
    train = [row for row in held if splits[row] == "train"]
    outside = {kinds[row] for row in range(len(rows)) if splits[row] != "train"}
    assert len({kinds[row] for row in train}) == len(train), "no picture twice"
    assert not {kinds[row] for row in train} & (outside | {0}), "no leak, nothing constant"
    assert [row for row in range(len(rows)) if splits[row] != "train"] == [
        row for row in held if splits[row] != "train"
    ]
    # and what could stay, stays
    for kind in set(range(1, 10)) - outside:
        of_kind = [row for row in range(len(rows)) if kinds[row] == kind]
        if len({labels[row] for row in of_kind}) == 1:
            assert of_kind[0] in train
    assert clean(kept).dropped == kept.dropped, "a second time changes nothing"
