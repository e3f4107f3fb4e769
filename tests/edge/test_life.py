"""systemd's protocol, heat on a fake tree, memory, signals, figures, health."""

import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.health import Health
from edge.heat import SLOWEST, Board, HeatGovernor, rate_share
from edge.life import Every, Meter, Signals, peak_rss_mb, quantile, rss_mb
from edge.notify import Notifier
from tests.devdata import ROOT


@pytest.fixture
def systemd(tmp_path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.settimeout(5)
    return listener


def test_notifications_reach_systemd(systemd: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "8000000"})
    assert notifier.watchdog_s == 8.0
    notifier.ready()
    notifier.status("two\nlines")
    for now in (0.0, 0.5, 0.99, 1.0, 1.5, 9.0):
        notifier.progress(now)
    notifier.reloading(1.5)
    notifier.stopping()
    notifier.close()
    notifier.ready()
    got = [systemd.recv(100).decode() for _ in range(7)]
    assert got == [
        "READY=1",
        "STATUS=two lines",
        *["WATCHDOG=1"] * 3,
        "RELOADING=1\nMONOTONIC_USEC=1500000",
        "STOPPING=1",
    ]
    systemd.close()


def test_no_systemd_no_watchdog_of_mine_or_a_dead_socket_is_harmless(tmp_path: Path) -> None:
    silent = Notifier({})
    silent.ready()
    silent.progress(1.0)
    assert silent.watchdog_s is None
    assert Notifier({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}).watchdog_s is None
    dead = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "5"})
    dead.ready()
    dead.close()


def test_a_full_socket_blocks_for_a_bounded_time_only(systemd: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": systemd.getsockname()})
    for _ in range(30):
        notifier.ready()
    assert systemd.recv(100) == b"READY=1"
    systemd.close()


@given(st.floats(-40, 150), st.floats(-40, 150))
def test_hotter_is_never_faster(a: float, b: float) -> None:
    cool, hot = sorted((a, b))
    assert SLOWEST <= rate_share(hot, 75, 80) <= rate_share(cool, 75, 80) <= 1


def thermal_tree(root: Path, *milli: str) -> Path:
    for index, text in enumerate(milli):
        zone = root / "class/thermal" / f"thermal_zone{index}"
        zone.mkdir(parents=True, exist_ok=True)
        (zone / "temp").write_text(text)
    return root


def test_the_board_is_read_from_sysfs(tmp_path: Path) -> None:
    assert Board(tmp_path).temperature_c() is None
    assert Board(tmp_path).throttled() is None
    thermal_tree(tmp_path, "48312\n", "51000\n", "not a number", "999999999")
    assert Board(tmp_path).temperature_c() == 51.0
    firmware = tmp_path / "devices/platform/soc/soc:firmware"
    firmware.mkdir(parents=True)
    for word, throttled in (("0\n", False), ("50000\n", False), ("50005\n", True), ("4\n", True)):
        (firmware / "get_throttled").write_text(word)
        assert Board(tmp_path).throttled() is throttled


def admitted(governor: HeatGovernor, seconds: float, fps: float, start: float) -> float:
    count = int(seconds * fps)
    return sum(governor.admits(start + index / fps) for index in range(count)) / seconds


def test_the_frame_rate_sinks_with_heat_and_comes_back(tmp_path: Path) -> None:
    board = Board(thermal_tree(tmp_path, "60000"))
    governor = HeatGovernor(board, 75, 80, fps=15)
    assert admitted(governor, 20, 15, 0) == 15
    assert governor.reason is None
    thermal_tree(tmp_path, "77500")
    assert admitted(governor, 20, 15, 100) == pytest.approx(9, abs=0.5)
    assert governor.reason is not None
    assert "75 C" in governor.reason
    thermal_tree(tmp_path, "90000")
    assert admitted(governor, 20, 15, 200) == pytest.approx(3, abs=0.2)
    thermal_tree(tmp_path, "60000")
    assert admitted(governor, 20, 15, 300) == 15
    governor.limits(50, 55)
    assert admitted(governor, 20, 15, 400) == pytest.approx(3, abs=0.2)


def test_resident_memory_is_read(tmp_path: Path) -> None:
    assert 5 < rss_mb() < 10_000
    ballast = b"x" * 100_000_000
    assert rss_mb() > 100
    assert peak_rss_mb() >= rss_mb() - 1
    asked = "from edge.life import peak_rss_mb; print(peak_rss_mb())"
    child = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 5 < float(child.stdout) < 60, "its own, not what its parent had when it forked"
    del ballast
    assert rss_mb(tmp_path / "missing") == 0.0
    assert peak_rss_mb(tmp_path / "missing") == 0.0


def test_signals_set_flags_and_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.reload
        assert signals.stop is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.stop == "SIGTERM"
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.stop == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_meter_tells_rate_and_latency() -> None:
    meter = Meter(now_s=10.0, keep=100)
    for index in range(200):
        meter.step(index / 1000)
    fps, p50, p95 = meter.take(20.0)
    assert fps == 20
    assert p50 == pytest.approx(150)
    assert p95 == pytest.approx(195)
    assert meter.take(21.0) == (0.0, 0.0, 0.0)
    assert meter.total == 200


@given(st.lists(st.floats(0, 10), max_size=50), st.floats(0, 1))
def test_a_quantile_is_one_of_the_values(values: list[float], share: float) -> None:
    got = quantile(values, share)
    assert got in values or not values
    assert sum(value < got for value in values) <= share * len(values)


def test_every_skips_what_was_missed() -> None:
    every = Every(10, now_s=0)
    assert [now for now in (1, 9, 10, 11, 19, 47, 48, 57, 58) if every.due(now)] == [10, 47, 57]


def test_each_change_of_health_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    health = Health(now_s=100.0)
    assert health.status("cpu", "haar", "ok", 100.0).health == "ok"
    for _ in range(3):
        health.note("detector", "YuNet's file is missing")
        health.note("camera", "no frame for 3 s", fault=True)
    status = health.status("cpu", "haar", "stalled", 107.25)
    assert status.health == "fault"
    assert status.reasons == ("camera: no frame for 3 s", "detector: YuNet's file is missing")
    assert status.uptime_s == 7.2
    health.note("camera", None)
    health.note("camera", None)
    assert health.status("cpu", "haar", "ok", 107.0).health == "degraded"
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR", "INFO"]
