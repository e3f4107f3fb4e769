import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import DataError
from train.classnames import CK_CLASSES, FER_CLASSES, SYNONYMS, canonical, choose, in_usual_order


@pytest.mark.parametrize(
    ("written", "meant"),
    [("anger", "angry"), ("Happiness", "happy"), (" SADNESS ", "sad"), ("surprised", "surprise"), ("fear", "fear")],
)
def test_synonyms_are_understood(written: str, meant: str) -> None:
    assert canonical(written) == meant


def test_every_synonym_means_a_known_class() -> None:
    assert set(SYNONYMS.values()) <= set(CK_CLASSES)
    assert not set(SYNONYMS) & set(CK_CLASSES)


def test_known_classes_come_in_fer_order_and_others_after() -> None:
    assert in_usual_order(["Zen", "neutral", "anger", "angry", "bored"]) == ("angry", "neutral", "bored", "zen")


def test_chosen_classes_keep_the_order_wanted() -> None:
    assert choose(["sadness", "anger", "happy"], FER_CLASSES, "x.csv") == ("sad", "angry", "happy")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (["angri", "sad"], "unknown class 'angri': did you mean 'angry'?"),
        (["hapiness", "sad"], "did you mean 'happy'?"),
        (["contempt", "sad"], "unknown class 'contempt'"),
        (["sad", "sadness"], "'sadness' is wanted twice"),
        (["sad"], "two classes or more"),
        ([], "two classes or more"),
    ],
)
def test_classes_that_cannot_be_chosen(wanted: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said.replace("?", r"\?")) as caught:
        choose(wanted, FER_CLASSES, "x.csv")
    assert "\n" not in str(caught.value)
    assert "x.csv has angry, disgust" in str(caught.value) or "twice" in str(caught.value)


@given(st.lists(st.text(max_size=12), max_size=4))
def test_any_text_is_chosen_or_refused_in_one_sentence(wanted: list[str]) -> None:
    try:
        chosen = choose(wanted, FER_CLASSES, "x.csv")
    except DataError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert len(set(chosen)) == len(wanted) >= 2
        assert set(chosen) <= set(FER_CLASSES)
