"""Waiting on conditions, with a deadline that a loaded machine meets."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

DEADLINE_S = 60.0


def until(condition: Callable[[], object], what: str = "") -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline_s:
            pytest.fail(f"not within {DEADLINE_S:.0f} s: {what or condition}")
        time.sleep(0.01)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def camera_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("camera")]


def native_threads() -> int:
    """All threads of the process, those of C libraries too."""
    return len(list(Path("/proc/self/task").iterdir()))
