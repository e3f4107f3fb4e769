"""The program as its users run it: a child process, its exit code and what it prints."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.devdata import ROOT

TIMEOUT_S = 120.0
"""Generous: a loaded machine is slow."""

BUNDLE = ROOT / "models" / "emotion"


@dataclass
class Finished:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class Edge:
    """``python -m edge`` with a state folder of its own and no network beyond loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[str]] = []
        dead = "http://127.0.0.1:9"  # nobody listens: downloads fail at once, here and on a machine with a network
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
            "https_proxy": dead,
            "http_proxy": dead,
            "XDG_STATE_HOME": str(folder / "home-state"),
            "OPENCV_LOG_LEVEL": "OFF",
        }

    def config(self, text: str = "", detector: str = "[detector]\nkind = 'haar'\n") -> Path:
        """A configuration file with a state folder of this test's own."""
        path = self.folder / "emotion-edge.toml"
        path.write_text(f"[device]\nid = 'test'\nstate_dir = '{self.folder / 'state'}'\n{detector}{text}")
        return path

    def start(self, *arguments: object, **environ: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-m", "edge", *map(str, arguments)],
            cwd=ROOT,
            env=self.environ | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running.append(child)
        return child

    def finish(self, child: subprocess.Popen[str], timeout_s: float = TIMEOUT_S) -> Finished:
        out, err = child.communicate(timeout=timeout_s)
        return Finished(child.returncode, out, err)

    def __call__(self, *arguments: object, **environ: str) -> Finished:
        """Run to the end. A traceback is never an answer."""
        finished = self.finish(self.start(*arguments, **environ))
        assert "Traceback" not in finished.err, finished.err
        return finished

    def stop_all(self) -> None:
        for child in self.running:
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
                child.communicate(timeout=TIMEOUT_S)


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    program = Edge(tmp_path)
    yield program
    program.stop_all()


@pytest.fixture(scope="session")
def bundle() -> Path:
    """The shipped bundle."""
    assert (BUNDLE / "card.json").is_file(), "models/emotion is part of the repository"
    return BUNDLE


@pytest.fixture(scope="session")
def tiny() -> Path:
    """A bundle that is real in every byte and judges nothing right: for tests that are not about emotions."""
    return ROOT / "tests" / "golden" / "tiny7"
