"""The tiny bundles, and children to put in the accelerator's place."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.bundle import Bundle, load_bundle
from edge.runtimes.tflite import TfliteModel
from tests.devdata import ROOT

GOLDEN = ROOT / "tests" / "golden"
PATIENCE_S = 60.0
"""For waits on a child: a loaded machine is slow."""


@pytest.fixture(params=["tiny7", "tiny3"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    """48x48 with 7 classes, and 64x64 with 3."""
    return load_bundle(GOLDEN / str(request.param))


@pytest.fixture
def tiny7() -> Bundle:
    return load_bundle(GOLDEN / "tiny7")


@pytest.fixture
def cpu(tiny7: Bundle) -> TfliteModel:
    return TfliteModel(tiny7.read("int8"))


class Child:
    """How the stand-in child behaves in its next life, and what became of its former ones."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.command = (sys.executable, "-m", "tests.edge.runtimes.standin_worker", "--behaviour", str(file))
        self.behave("good")

    def behave(self, how: str) -> None:
        self.file.write_text(how)

    @property
    def pids(self) -> list[int]:
        lives = Path(f"{self.file}.lives")
        return [int(line) for line in lives.read_text().split()] if lives.exists() else []


@pytest.fixture
def child(tmp_path: Path) -> Child:
    return Child(tmp_path / "behaviour")


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Until ``condition`` holds; fails, naming ``what``, when patience ends."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:g} s for {what}"
        time.sleep(0.01)


def inputs(count: int, model: TfliteModel) -> list[NDArray[np.int8]]:
    """Seeded noise in the model's input shape; every answer is another."""
    random = np.random.default_rng(1)
    return [random.integers(-128, 128, model.input.shape).astype(np.int8) for _ in range(count)]


def process_state(pid: int) -> str:
    """The state letter of /proc/PID/stat (Z: zombie); empty where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
