"""The outbox against a plain model of it, over kills, full disks and damaged files."""

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge.outbox import Entry, Outbox

LIMIT = 8


def add(box: Outbox, *names: str) -> None:
    """A name beginning with c is a change."""
    for name in names:
        box.append(name, name.startswith("c"), name.encode())


def drain(box: Outbox, acknowledge: bool = True) -> list[str]:
    names = []
    while entry := box.take():
        names.append(entry.id)
        assert entry.payload == entry.id.encode()
        if acknowledge:
            box.acknowledge(entry.number)
    return names


def after_kill(box_path: Path, limit: int = 100) -> Outbox:
    """What the next process finds: the files exactly as they are now, nothing flushed or closed."""
    folder = Path(tempfile.mkdtemp(dir=box_path.parent))
    for file in box_path.parent.glob(box_path.name + "*"):
        shutil.copy(file, folder / file.name)
    return Outbox(folder / box_path.name, limit)


def test_in_order_and_gone_when_acknowledged(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "box", 100)
    add(box, "s1", "c1", "e1")
    assert len(box) == 3
    assert drain(box) == ["s1", "c1", "e1"]
    assert len(box) == 0
    box.close()
    assert drain(Outbox(tmp_path / "box", 100)) == []


def test_what_the_broker_will_never_take_is_given_up_and_counted(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "box", 100)
    add(box, "s1", "e1")
    entry = box.take()
    assert entry is not None
    box.give_up(entry.number)
    assert (drain(box), box.discarded) == (["e1"], 1)


def test_every_commit_reaches_the_disk_itself(tmp_path: Path) -> None:
    """WAL is only durable against a power loss with synchronous FULL (2)."""
    disk = Outbox(tmp_path / "box", 100)._disk
    assert disk is not None
    assert disk.execute("PRAGMA synchronous").fetchone() == (2,)
    assert disk.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_unacknowledged_events_are_sent_again_in_their_place(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "box", 100)
    add(box, "s1", "c1", "e1", "s2")
    first = box.take()
    assert first is not None
    assert [entry.id for entry in (box.take(), box.take()) if entry] == ["c1", "e1"]
    box.acknowledge(first.number)
    box.rewind()
    assert drain(box) == ["c1", "e1", "s2"]


def test_events_are_on_disk_when_append_returns_in_an_outage(tmp_path: Path) -> None:
    path = tmp_path / "box"
    box = Outbox(path, 100)
    for n in range(20):
        add(box, f"s{n}")
        assert drain(after_kill(path)) == [f"s{i}" for i in range(n + 1)]


def test_the_disk_is_left_alone_while_the_broker_answers(tmp_path: Path) -> None:
    path = tmp_path / "box"
    box = Outbox(path, 100)
    box.release()
    before = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    for n in range(50):
        add(box, f"s{n}")
        assert drain(box) == [f"s{n}"]
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before


def test_what_is_unacknowledged_goes_to_disk_when_the_broker_goes(tmp_path: Path) -> None:
    path = tmp_path / "box"
    box = Outbox(path, 100)
    box.release()
    add(box, "s1", "c1", "e1")
    box.take()
    assert drain(after_kill(path)) == []
    box.hold()
    assert drain(after_kill(path)) == ["s1", "c1", "e1"]
    box.rewind()
    assert drain(box) == ["s1", "c1", "e1"]
    assert not box.durable
    assert drain(after_kill(path)) == []


def test_a_broker_that_does_not_answer_counts_as_away(tmp_path: Path) -> None:
    now = [100.0]
    box = Outbox(tmp_path / "box", 100, clock=lambda: now[0])
    box.release()
    add(box, "s1")
    box.take()
    now[0] += 0.4
    box.hold_if_older_than(0.5)
    assert not box.durable
    now[0] += 0.2
    box.hold_if_older_than(0.5)
    assert box.durable
    assert drain(after_kill(tmp_path / "box")) == ["s1"]


def test_when_full_the_oldest_changes_go_and_starts_and_ends_stay(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "box", 6)
    add(box, "s1", "c1", "c2", "e1", "s2", "c3", "e2", "s3")
    assert box.discarded == 2
    assert drain(after_kill(tmp_path / "box")) == ["s1", "e1", "s2", "c3", "e2", "s3"]
    add(box, "e3", "s4", "c4")
    assert drain(box) == ["e1", "s2", "e2", "s3", "e3", "s4"], "c3 went, then with no change left the oldest, then c4"
    assert box.discarded == 5


def test_a_smaller_limit_holds_for_what_was_stored(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "box", 100)
    add(box, "s1", "c1", "c2", "e1")
    box.close()
    smaller = Outbox(tmp_path / "box", 3)
    assert smaller.discarded == 1
    assert drain(smaller) == ["s1", "c2", "e1"]


@pytest.mark.parametrize("damage", ["garbage", "flipped", "newer format"])
def test_a_damaged_file_is_kept_aside_and_said(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "box"
    box = Outbox(path, 10000)
    add(box, *(f"s{n}" for n in range(500)))
    box.close()
    if damage == "garbage":
        path.write_bytes(os.urandom(5000))
    elif damage == "flipped":
        data = bytearray(path.read_bytes())
        data[1024:-1024] = os.urandom(len(data) - 2048)
        path.write_bytes(data)
    else:
        with closing(sqlite3.connect(path)) as disk:
            disk.execute("PRAGMA user_version = 99")
    damaged = path.read_bytes()
    fresh = Outbox(path, 100)
    assert fresh.problem is not None
    assert "the file is damaged" in fresh.problem
    assert [file.read_bytes() for file in tmp_path.glob("box.damaged-*")] == [damaged]
    add(fresh, "s1")
    assert drain(after_kill(path)) == ["s1"]


def test_a_folder_that_can_not_be_written_leaves_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    box = Outbox(tmp_path / "file" / "box", 100)
    assert box.problem is not None
    assert "memory only" in box.problem
    add(box, "s1", "e1")
    box.hold()
    assert box.stored == 0
    assert drain(box) == ["s1", "e1"]
    box.close()


def test_a_full_disk_is_said_and_taken_back_when_it_has_room(tmp_path: Path) -> None:
    path = tmp_path / "box"
    box = Outbox(path, 10000)
    disk = box._disk
    assert disk is not None
    pages = disk.execute("PRAGMA page_count").fetchone()[0]
    disk.execute(f"PRAGMA max_page_count = {pages}")  # the same SQLITE_FULL that a full disk gives
    add(box, *(f"s{n:05d}" for n in range(500)))
    assert box.problem is not None
    assert "full" in box.problem
    assert 0 < box.stored < len(box)
    disk.execute("PRAGMA max_page_count = 1000000")
    add(box, "e")
    assert box.problem is None
    assert box.stored == len(box)
    expected = [f"s{n:05d}" for n in range(500)] + ["e"]
    assert drain(after_kill(path, 10000)) == expected
    assert drain(box) == expected


def test_a_second_process_does_not_deliver_the_same_outbox(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "box", 100)
    add(box, "s1")
    second = Outbox(tmp_path / "box", 100)
    assert second.problem is not None
    assert "locked" in second.problem
    assert drain(second) == []
    assert drain(box) == ["s1"]


def test_close_keeps_what_waits_and_may_be_repeated(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "box", 100)
    box.release()
    add(box, "s1", "e1")
    box.close()
    box.close()
    add(box, "s2")
    assert drain(Outbox(tmp_path / "box", 100)) == ["s1", "e1"]


class OutboxModel(RuleBasedStateMachine):
    """Any sequence of calls, with kills between: order kept, nothing lost but what the rules allow."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.box = Outbox(self.folder / "box", LIMIT)
        self.waiting: list[str] = []
        self.sent: list[tuple[str, Entry]] = []
        self.counter = 0

    @rule(is_change=st.booleans())
    def append(self, is_change: bool) -> None:
        self.counter += 1
        name = f"{'c' if is_change else 's'}{self.counter}"
        add(self.box, name)
        self.waiting.append(name)
        self.shrink()

    @rule()
    def take(self) -> None:
        entry = self.box.take()
        assert (entry.id if entry else None) == (self.waiting[0] if self.waiting else None)
        if entry:
            self.sent.append((self.waiting.pop(0), entry))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        _, entry = self.sent.pop(data.draw(st.integers(0, len(self.sent) - 1)))
        self.box.acknowledge(entry.number)
        self.box.acknowledge(entry.number)  # a repeated acknowledgement is nothing

    @rule()
    def rewind(self) -> None:
        self.box.rewind()
        self.waiting = [name for name, _ in self.sent] + self.waiting
        self.sent = []
        self.shrink()

    @rule()
    def hold(self) -> None:
        self.box.hold()

    @rule()
    def release(self) -> None:
        self.box.release()

    @rule()
    def stop_and_start(self) -> None:
        self.box.close()
        self.restarted(Outbox(self.folder / "box", LIMIT))

    @precondition(lambda self: self.box.durable)
    @rule()
    def kill_in_an_outage(self) -> None:
        killed = self.box
        found = after_kill(self.folder / "box", LIMIT)
        names = drain(found, acknowledge=False)
        expected = [name for name, _ in self.sent] + self.waiting
        repeats = [name for name in names if name not in expected]
        assert [name for name in names if name in expected] == expected
        assert len(repeats) < 200, "what was delivered may come again, what was not may not be lost"
        assert killed is self.box

    def restarted(self, box: Outbox) -> None:
        self.box = box
        self.waiting = [name for name, _ in self.sent] + self.waiting
        self.sent = []
        self.shrink()

    def shrink(self) -> None:
        while len(self.waiting) + len(self.sent) > LIMIT and self.waiting:
            changes = [name for name in self.waiting if name.startswith("c")]
            self.waiting.remove((changes or self.waiting)[0])

    @invariant()
    def sizes_agree(self) -> None:
        assert len(self.box) == len(self.waiting) + len(self.sent)

    def teardown(self) -> None:
        self.box.close()
        shutil.rmtree(self.folder)


OutboxModel.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
test_any_sequence_of_calls = OutboxModel.TestCase
