"""The benchmark of a whole site, small: it measures what it says."""

import subprocess
import sys

import pytest

from edge.embedded_broker import find_mosquitto
from tests.devdata import ROOT


def test_a_small_site_loses_nothing() -> None:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")
    command = [sys.executable, "-m", "benchmarks.site", "--devices", "30", "--rate", "2", "--seconds", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    table = dict(line.rsplit("  ", 1) for line in done.stdout.splitlines() if "  " in line)
    assert {key.strip(): value.strip() for key, value in table.items()}[
        "sent / acknowledged / received"
    ] == "120 / 120 / 120"
