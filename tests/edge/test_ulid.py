"""Event ids: valid, unique, in order, and carrying the event's time whatever the clock does."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.ulid import ALPHABET, UlidMaker, ulid_time

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


def test_the_specifications_example() -> None:
    # 01ARZ3NDEK is the time part of the example in github.com/ulid/spec: 2016-07-30T22:36:16.467Z.
    made = UlidMaker(lambda bits: 0)(datetime(2016, 7, 30, 23, 54, 10, 259000, UTC))
    assert ulid_time(made) == datetime(2016, 7, 30, 23, 54, 10, 259000, UTC)
    assert made[:10] == "01ARZ3NDEK"
    assert made[10:] == "0" * 16


@given(st.lists(MOMENTS, min_size=1, max_size=50))
def test_ids_rise_strictly_under_any_clock(moments: list[datetime]) -> None:
    make = UlidMaker()
    ids = [make(moment) for moment in moments]
    assert all(len(made) == 26 and set(made) <= set(ALPHABET) for made in ids)
    assert ids == sorted(set(ids))


@given(st.lists(MOMENTS, min_size=1, max_size=20, unique=True))
def test_the_time_can_be_read_back_while_the_clock_goes_forward(moments: list[datetime]) -> None:
    make = UlidMaker()
    last = datetime(1999, 1, 1, tzinfo=UTC)
    for moment in sorted(moments):
        read = ulid_time(make(moment))
        if moment - last >= timedelta(milliseconds=1):
            assert timedelta(0) <= moment - read < timedelta(milliseconds=1)
        last = moment


def test_a_carry_out_of_the_random_bits_is_no_error() -> None:
    make = UlidMaker(lambda bits: (1 << bits) - 1)
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    first, second = make(moment), make(moment)
    assert first < second
    assert ulid_time(second) == moment + timedelta(milliseconds=1)


def test_a_clock_before_1970_counts_as_1970() -> None:
    assert ulid_time(UlidMaker()(datetime(1960, 1, 1, tzinfo=UTC))) == datetime(1970, 1, 1, tzinfo=UTC)


@given(st.text(max_size=30))
def test_other_text_is_refused_or_valid(text: str) -> None:
    try:
        ulid_time(text)
    except ValueError as error:
        assert "expected a ULID" in str(error)
    else:
        assert len(text) == 26


def test_a_time_beyond_48_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="ULID"):
        ulid_time("8" + "0" * 25)
