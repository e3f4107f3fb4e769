"""Events on their way: bounded, in order, each kept until the broker has acknowledged it.

While the broker answers, events stay in memory, so that an SD card is not worn. When it is away or slow, everything
unacknowledged goes to SQLite, and every further event is on disk before ``append`` returns: it survives kill -9 and a
power loss, and is delivered by the next process. What is lost at worst is what was in flight to an answering broker.

Two threads use it: one appends, the other delivers.
"""

import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FILE_NAME = "outbox.sqlite"
FORMAT = 1
TIDY_AT = 200
"""Delivered events are deleted from disk so many at a time; a kill before that only repeats them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as it will be sent."""

    number: int
    """Position: grows over restarts as long as anything waits."""
    id: str
    is_change: bool
    payload: bytes
    since_s: float
    """time.monotonic() when this process got it."""


class Outbox:
    """``append`` by one thread; ``take``, ``acknowledge``, ``rewind`` by the delivering one."""

    def __init__(self, path: Path, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        """path: the SQLite file; created, and what an earlier process left there is loaded. A damaged one is moved
        aside. One that can't be used at all is said in ``problem``, and events wait in memory only."""
        self.path = path
        self._limit = max(1, limit)
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: OrderedDict[int, Entry] = OrderedDict()
        self._changes: OrderedDict[int, None] = OrderedDict()
        """Which of the waiting are changes."""
        self._sent: OrderedDict[int, Entry] = OrderedDict()
        """Given to the broker, not acknowledged; all older than the waiting."""
        self._stored_to = 0
        """Entries up to this number are on disk."""
        self._gone: list[int] = []
        """On disk, but delivered or discarded."""
        self._durable = True
        self.discarded = 0
        """Events given up: the outbox was full, or the broker will never take them."""
        self.problem: str | None = None
        """One sentence where the disk can't be used; None when all is well."""
        self._disk: sqlite3.Connection | None = None
        self._open()
        self._last = self._stored_to

    def __len__(self) -> int:
        with self._lock:
            return len(self._waiting) + len(self._sent)

    @property
    def stored(self) -> int:
        """How many of them are on disk."""
        with self._lock:
            return sum(number <= self._stored_to for entries in (self._sent, self._waiting) for number in entries)

    @property
    def durable(self) -> bool:
        """Whether events go to disk now."""
        return self._durable

    def append(self, event_id: str, is_change: bool, payload: bytes) -> None:
        """The newest event. When full, the oldest waiting ``change`` goes; without one, the oldest of all."""
        with self._lock:
            self._last += 1
            self._put(Entry(self._last, event_id, is_change, payload, self._clock()))
            self._shrink()
            if self._durable:
                self._store()

    def take(self) -> Entry | None:
        """The oldest event not given out yet; it counts as sent until acknowledged or rewound."""
        with self._lock:
            if not self._waiting:
                return None
            number, entry = self._waiting.popitem(last=False)
            self._changes.pop(number, None)
            self._sent[number] = entry
            return entry

    def acknowledge(self, number: int) -> None:
        """The broker has it. Once nothing is left, the disk is cleared and left alone."""
        with self._lock:
            if self._sent.pop(number, None) is None:
                return
            self._forget(number)
            if not self._sent and not self._waiting:
                self._durable = False
                self._tidy()
            elif len(self._gone) >= TIDY_AT:
                self._tidy()

    def give_up(self, number: int) -> None:
        """The broker will never take it: counted with the discarded."""
        self.acknowledge(number)
        with self._lock:
            self.discarded += 1

    def rewind(self) -> None:
        """The connection broke: what was sent and not acknowledged is to be sent again, in its old place."""
        with self._lock:
            for number, entry in reversed(self._sent.items()):
                self._waiting[number] = entry
                self._waiting.move_to_end(number, last=False)
                if entry.is_change:
                    self._changes[number] = None
                    self._changes.move_to_end(number, last=False)
            self._sent.clear()
            self._shrink()

    def hold(self) -> None:
        """The broker is away: everything to disk, now and until it has caught up."""
        with self._lock:
            self._durable = True
            self._store()

    def hold_if_older_than(self, seconds: float) -> None:
        """``hold`` when the oldest event waits so long: a broker that does not answer may be away."""
        oldest = self._oldest()
        if not self._durable and oldest is not None and self._clock() - oldest.since_s > seconds:
            self.hold()

    def release(self) -> None:
        """The broker is there: no more disk once nothing waits."""
        with self._lock:
            if not self._sent and not self._waiting:
                self._durable = False

    def close(self) -> None:
        """What was not delivered goes to disk for the next process. Idempotent; later events are memory's only."""
        with self._lock:
            self._durable = True
            self._store()
            self._tidy()
            if self._disk is not None:
                self._disk.close()
                self._disk = None

    def _oldest(self) -> Entry | None:
        with self._lock:
            return next(iter(self._sent.values()), None) or next(iter(self._waiting.values()), None)

    def _put(self, entry: Entry) -> None:
        self._waiting[entry.number] = entry
        if entry.is_change:
            self._changes[entry.number] = None

    def _shrink(self) -> None:
        while len(self._waiting) + len(self._sent) > self._limit and self._waiting:
            number = self._changes.popitem(last=False)[0] if self._changes else next(iter(self._waiting))
            del self._waiting[number]
            self._forget(number)
            self.discarded += 1

    def _forget(self, number: int) -> None:
        if number <= self._stored_to:
            self._gone.append(number)

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._connect()
            except sqlite3.OperationalError:
                raise  # can't be opened, locked, read-only, full: not the file's fault
            except sqlite3.DatabaseError as error:
                self._move_aside(error)
                self._connect()
        except (OSError, sqlite3.Error) as error:
            self._disk = None
            self._memory_only(error)

    def _connect(self) -> None:
        disk = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            # Exclusive: two processes must not deliver the same outbox. WAL with FULL: one fsync a commit; a checkpoint
            # every 100 pages keeps the log under half a megabyte.
            for pragma in (
                "locking_mode=EXCLUSIVE",
                "journal_mode=WAL",
                "synchronous=FULL",
                "wal_autocheckpoint=100",
            ):
                disk.execute(f"PRAGMA {pragma}").fetchall()
            if disk.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("quick_check failed")
            version = disk.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, FORMAT):
                raise sqlite3.DatabaseError(f"its format is {version}, {FORMAT} was expected")
            disk.execute("BEGIN IMMEDIATE")
            disk.execute(
                "CREATE TABLE IF NOT EXISTS event "
                "(number INTEGER PRIMARY KEY, id TEXT NOT NULL, is_change INTEGER NOT NULL, payload BLOB NOT NULL)"
            )
            disk.execute(f"PRAGMA user_version = {FORMAT}")
            disk.execute("COMMIT")
            rows = disk.execute("SELECT number, id, is_change, payload FROM event ORDER BY number").fetchall()
        except BaseException:
            disk.close()
            raise
        self._disk = disk
        for number, event_id, is_change, payload in rows:
            self._put(Entry(number, str(event_id), bool(is_change), bytes(payload), self._clock()))
            self._stored_to = number
        self._shrink()

    def _move_aside(self, error: sqlite3.Error) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        self.path.replace(aside)
        for suffix in ("-wal", "-shm", "-journal"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.problem = f"{self.path}: stored events were expected, the file is damaged ({error}); kept as {aside.name}"

    def _store(self) -> None:
        """Write what is not on disk yet, and delete what is gone, in one transaction."""
        if self._disk is None:
            return
        fresh = [e for e in (*self._sent.values(), *self._newest_waiting()) if e.number > self._stored_to]
        if not fresh:
            return
        try:
            self._disk.execute("BEGIN IMMEDIATE")
            self._disk.executemany("DELETE FROM event WHERE number = ?", [(n,) for n in self._gone])
            self._disk.executemany(
                "INSERT INTO event VALUES (?, ?, ?, ?)", [(e.number, e.id, e.is_change, e.payload) for e in fresh]
            )
            self._disk.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back(error)
        else:
            self._gone.clear()
            self._stored_to = max(e.number for e in fresh)
            self.problem = None

    def _newest_waiting(self) -> list[Entry]:
        """The waiting entries that are not on disk, without walking over a long backlog that is."""
        newest = []
        for number in reversed(self._waiting):
            if number <= self._stored_to:
                break
            newest.append(self._waiting[number])
        return newest[::-1]

    def _tidy(self) -> None:
        if self._disk is None or not self._gone:
            return
        try:
            self._disk.execute("BEGIN IMMEDIATE")
            self._disk.executemany("DELETE FROM event WHERE number = ?", [(n,) for n in self._gone])
            self._disk.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back(error)
        else:
            self._gone.clear()

    def _roll_back(self, error: sqlite3.Error) -> None:
        self._memory_only(error)
        if self._disk is not None and self._disk.in_transaction:
            self._disk.rollback()

    def _memory_only(self, error: Exception) -> None:
        self.problem = (
            f"{self.path}: could not be written ({error}); events wait in memory only and a kill would lose them: "
            "free the disk, or set device.state_dir to a writable folder"
        )
