"""Reading ``card.json`` field by field: every complaint names the field, what was expected, what came and the mend."""

import json
from pathlib import Path
from typing import Any, NoReturn

from edge.errors import BundleError

MAX_CARD_BYTES = 1_000_000


class Fields:
    """A JSON object whose values are taken out checked. ``where`` is its place in the file, for messages."""

    def __init__(self, values: dict[str, Any], file: Path, where: str = "") -> None:
        self.values = values
        self.file = file
        self.where = where

    def refuse(self, key: str, expected: str) -> NoReturn:
        """Raise BundleError for field ``key`` (empty: the object itself)."""
        place = f"{self.where}.{key}".strip(".") or "the card"
        if not place.isprintable() or len(place) > 60:
            place = shorten(place)  # the file's own keys, which may hold anything
        came = "nothing" if key and key not in self.values else shorten(self.values.get(key, self.values))
        raise BundleError(f"{self.file}: {place}: expected {expected}, got {came}; convert again (python -m convert)")

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            self.refuse(key, "a line of text")
        return value

    def choice(self, key: str, *choices: str) -> str:
        value = self.values.get(key)
        if value not in choices or not isinstance(value, str):
            self.refuse(key, " or ".join(map(repr, choices)))
        return value

    def number(self, key: str) -> float:
        """A finite number above 0 (and of a magnitude that float32 holds)."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1e-30 < value < 1e30:
            self.refuse(key, "a finite number above 0")
        return float(value)

    def share(self, key: str, default: float) -> float:
        """A number from 0 up to, not including, 1; ``default`` where there is no such field."""
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            self.refuse(key, "a number from 0 up to, not including, 1")
        return float(value)

    def integer(self, key: str, low: int, high: int) -> int:
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.refuse(key, f"a whole number from {low} to {high}")
        return value

    def integers(self, key: str, count: int) -> tuple[int, ...]:
        """``count`` whole numbers, each from 0 to 4096."""
        value = self.values.get(key)
        if (
            not isinstance(value, list)
            or len(value) != count
            or not all(type(v) is int and 0 <= v <= 4096 for v in value)
        ):
            self.refuse(key, f"{count} whole numbers")
        return tuple(value)

    def items(self, key: str) -> list[Any]:
        value = self.values.get(key)
        if not isinstance(value, list):
            self.refuse(key, "a list")
        return value

    def object(self, key: str) -> "Fields":
        value = self.values.get(key)
        if not isinstance(value, dict):
            self.refuse(key, "an object")
        return Fields(value, self.file, f"{self.where}.{key}".strip("."))


def shorten(value: object) -> str:
    """A value for a one-line message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_object(file: Path, expected: str) -> Fields:
    """The JSON object in ``file``; BundleError saying ``expected`` where it is missing, too large or not an object."""
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_CARD_BYTES + 1)
    except OSError as error:
        raise BundleError(f"expected {expected}, got {error.strerror}: {file}") from error
    if len(content) > MAX_CARD_BYTES:
        raise BundleError(f"expected {expected} of at most {MAX_CARD_BYTES} bytes, {file} is larger; convert again")
    return parse_object(content, file)


def parse_object(content: bytes, file: Path) -> Fields:
    """The JSON object in ``content``; ``file`` is named in messages."""
    try:
        values = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{file} is not JSON ({shorten(str(error))}); restore it or convert again") from error
    if not isinstance(values, dict):
        raise BundleError(f"{file}: expected a JSON object, got {shorten(values)}; restore it or convert again")
    return Fields(values, file)
