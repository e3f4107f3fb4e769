"""The systemd unit: systemd's own checks, and that it starts the program as the command line takes it."""

import argparse
import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.commands import run
from edge.errors import EXIT_CONFIG, EXIT_USAGE
from tests.devdata import ROOT

UNIT = ROOT / "systemd" / "emotion-edge.service"


@pytest.fixture
def analyze() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed: apt install systemd")
    return program


def options() -> dict[str, str]:
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return dict(parser["Service"])


def test_verify_has_nothing_to_say(analyze: str, tmp_path: Path) -> None:
    """Against a stand-in for the installed program, as verify looks whether it is there."""
    python = tmp_path / "emotion-edge" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    text = UNIT.read_text().replace("/opt/emotion-edge/.venv-edge/bin/python", str(python))
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace("/opt/emotion-edge", str(python.parent)))
    done = subprocess.run(
        [analyze, "verify", "--man=no", copy], capture_output=True, text=True, timeout=60, check=False
    )
    assert UNIT.name not in done.stderr
    assert done.returncode == 0, done.stderr


def test_the_sandbox_scores_below_two(analyze: str) -> None:
    command = [analyze, "security", "--offline=yes", "--threshold=20", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "offline" in done.stderr:
        pytest.skip("this systemd can't judge a unit offline")
    assert done.returncode == 0, done.stdout[-300:]


def test_a_configuration_error_is_not_restarted_and_a_failure_is() -> None:
    service = options()
    assert service["Type"] == "notify"
    assert service["Restart"] == "on-failure"
    assert set(service["RestartPreventExitStatus"].split()) == {str(EXIT_CONFIG), str(EXIT_USAGE)}
    assert float(service["WatchdogSec"]) > 0
    assert float(service["TimeoutStopSec"]) >= 5
    assert service["SystemCallErrorNumber"] == "EPERM"


def test_it_starts_a_command_line_that_the_program_takes() -> None:
    words = options()["ExecStart"].split()
    assert words[1:4] == ["-m", "edge", "run"]
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    args = parser.parse_args(words[4:])
    assert args.config == Path("/etc/emotion-edge/emotion-edge.toml")
