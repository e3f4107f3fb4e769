"""ULIDs (https://github.com/ulid/spec): 48 bits of milliseconds, 80 of randomness, 26 Crockford base-32 letters.

They sort as text in the order they were made, so an event's id is unique, orders it, and tells when it happened.
"""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS = 80
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST = (1 << 128) - 1


class UlidMaker:
    """Makes ULIDs that rise strictly, whatever the wall clock does.

    Within one millisecond, or after a clock that went back, the next id is the last one plus one (the specification's
    monotonic mode; a carry goes on into the time bits instead of failing).
    """

    def __init__(self, random_bits: Callable[[int], int] = secrets.randbits) -> None:
        self._random_bits = random_bits
        self._last = -1

    def __call__(self, time: datetime) -> str:
        """time: timezone-aware; before 1970 counts as 1970. Returns 26 characters."""
        milliseconds = max(0, (time - _EPOCH) // timedelta(milliseconds=1))
        fresh = milliseconds << _RANDOM_BITS | self._random_bits(_RANDOM_BITS)
        rising = milliseconds > self._last >> _RANDOM_BITS
        self._last = min(fresh if rising else self._last + 1, _LARGEST)
        return "".join(ALPHABET[self._last >> shift & 31] for shift in range(125, -1, -5))


def ulid_time(ulid: str) -> datetime:
    """The UTC time in a ULID, to the millisecond. Raises ValueError for anything else."""
    if len(ulid) != 26 or ulid[0] > "7" or not set(ulid) <= set(ALPHABET):
        raise ValueError(f"expected a ULID (26 letters of {ALPHABET}, the first at most 7), got {ulid!r}")
    milliseconds = 0
    for letter in ulid[:10]:
        milliseconds = milliseconds << 5 | ALPHABET.index(letter)
    return _EPOCH + timedelta(milliseconds=milliseconds)
