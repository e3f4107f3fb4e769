"""LatestFrame: one slot, old frames dropped and counted, nobody left waiting."""

import threading
from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.frame_slot import LatestFrame
from edge.records import Frame


def frame(number: int) -> Frame:
    return Frame(np.zeros((2, 2, 3), np.uint8), float(number), datetime(2026, 1, 1, tzinfo=UTC), number)


@given(st.lists(st.booleans()))
def test_the_newest_frame_is_taken_and_every_other_is_counted(puts: list[bool]) -> None:
    slot, waiting, taken, put = LatestFrame(), None, 0, 0
    for is_put in puts:
        if is_put:
            waiting = put
            assert slot.put(frame(put))
            put += 1
        else:
            got = slot.take(0)
            assert (got.sequence if got else None) == waiting
            taken, waiting = taken + (waiting is not None), None
    assert slot.dropped == put - taken - (waiting is not None)


def test_without_dropping_a_full_slot_refuses() -> None:
    slot = LatestFrame(drops=False)
    assert slot.put(frame(0))
    assert not slot.put(frame(1))
    assert not slot.wait_empty(0)
    assert slot.take(0) is not None
    assert slot.wait_empty(0)
    assert slot.put(frame(1))
    assert slot.dropped == 0


def test_every_frame_crosses_threads_without_dropping() -> None:
    slot = LatestFrame(drops=False)

    def write() -> None:
        for number in range(200):
            while not slot.put(frame(number)):
                slot.wait_empty(10)
        slot.wait_empty(10)
        slot.close()

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while not slot.closed:
        if (got := slot.take(10)) is not None:
            seen.append(got.sequence)
    writer.join(10)
    assert seen == list(range(200))


def test_close_wakes_the_reader_and_leaves_it_the_last_frame() -> None:
    slot, got = LatestFrame(), []
    reader = threading.Thread(target=lambda: got.append(slot.take(60)))
    reader.start()
    slot.close()
    reader.join(30)
    assert got == [None]
    slot = LatestFrame()
    slot.put(frame(0))
    slot.close()
    assert not slot.put(frame(1))
    last = slot.take(0)
    assert last is not None
    assert last.sequence == 0
    assert slot.take(60) is None


def test_clear_forgets_without_counting() -> None:
    slot = LatestFrame()
    slot.put(frame(0))
    slot.clear()
    assert slot.take(0) is None
    assert slot.dropped == 0
