"""What subscribers can switch, kept over restarts: detect, privacy and the confidence threshold.

Only what a command set is stored, so that a default changed in the configuration counts until somebody overrides it.
The file is JSON, written beside and renamed. One that can't be read gives the defaults and says so.
"""

import json
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge.records import Command

FILE_NAME = "switches.json"


@dataclass(frozen=True, slots=True)
class Switches:
    """What is in force."""

    detect: bool = True
    """False: faces are neither sought nor judged."""
    privacy: bool = False
    """True: the camera is closed."""
    threshold: float = 0.45
    """Calibrated probability 0..1 below which the emotion is unknown."""


class SwitchBoard:
    """The switches and their file. Commands are applied by one thread; any thread may read ``current``."""

    def __init__(self, state_dir: Path, threshold: float) -> None:
        """threshold: the configured one, in force until a command sets another."""
        self._path = state_dir / FILE_NAME
        self._defaults = Switches(threshold=threshold)
        self.problem: str | None = None
        """One sentence where the file could not be read or written; None when all is well."""
        self._stored = self._load()
        self.current = replace(self._defaults, **self._stored)

    def apply(self, command: Command) -> Switches:
        """Put a detect, privacy or threshold command in force and store it. A file that can't be written is said in
        ``problem``; the switch is in force all the same. Raises ValueError for another command or value."""
        checked = _checked({command.name: command.value})
        self.current = replace(self.current, **checked)
        self._stored |= checked
        self._save()
        return self.current

    def configured(self, threshold: float) -> float:
        """The configuration was read again. The threshold in force: a command's, where one set it."""
        self._defaults = Switches(threshold=threshold)
        self.current = replace(self.current, threshold=self._stored.get("threshold", threshold))
        return self.current.threshold

    def _load(self) -> dict[str, Any]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            return self._defaults_because(error)
        try:
            return _checked(json.loads(text))
        except (ValueError, RecursionError) as error:
            return self._defaults_because(error)

    def _defaults_because(self, error: Exception) -> dict[str, Any]:
        self.problem = (
            f"{self._path}: stored switches were expected, they can't be read ({error}); "
            "the defaults are in force: set detect, privacy and threshold again"
        )
        return {}

    def _save(self) -> None:
        beside = self._path.with_suffix(".part")
        try:
            with beside.open("w", encoding="utf-8") as file:
                json.dump(self._stored, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            self.problem = (
                f"{self._path}: could not be written ({error.strerror}); switches are in force, "
                "but not kept over a restart"
            )
        else:
            self.problem = None


def _checked(stored: object) -> dict[str, Any]:
    """The entries, or ValueError for a name or a value that is not a switch's."""
    if not isinstance(stored, dict):
        raise ValueError(f"an object was expected, {type(stored).__name__} came")
    for name, value in stored.items():
        if name in ("detect", "privacy"):
            good = isinstance(value, bool)
        elif name == "threshold":
            number = isinstance(value, int | float) and not isinstance(value, bool)
            good = number and math.isfinite(value) and 0 <= value <= 1
        else:
            good = False
        if not good:
            raise ValueError(f"detect, privacy (true or false) or threshold (0..1) was expected, {name}={value!r} came")
    return {name: float(value) if name == "threshold" else value for name, value in stored.items()}


def _sync_folder(folder: Path) -> None:
    """So that the rename itself survives a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
