"""The main loop with scripted parts: what goes in and what comes out, turn by turn."""

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from edge.appliance import Appliance
from edge.bundle import CropGeometry
from edge.errors import ConfigError, SourceError
from edge.fakes import MemorySink, ScriptedClassifier, ScriptedDetector
from edge.heat import Board
from edge.life import Signals
from edge.notify import Notifier
from edge.parts import Parts
from edge.pipeline import Pipeline
from edge.records import Box, Command, EventType, Face, Frame
from edge.settings import JudgementSettings, Settings, TrackingSettings
from edge.switches import SwitchBoard

PICTURE = np.random.default_rng(1).integers(0, 255, (120, 160, 3), dtype=np.uint8)
FACE = Face(Box(40, 20, 60, 60), 1.0)
EVERYTHING_IS_JUDGED = JudgementSettings(
    min_face_px=1, min_sharpness=0, min_brightness=0, confidence_threshold=0.2, hysteresis=0
)
START = datetime(2026, 1, 1, tzinfo=UTC)

Action = Callable[["World"], None]
Script = Iterable["float | Exception | Action | None"]


class ScriptedCamera:
    """Does what the script says, turn by turn: a number is a frame after so many seconds, None is no frame in time, an
    exception is raised, a function is called with the world before the turn."""

    def __init__(self, script: Script, world: "World") -> None:
        self.condition, self.reason, self.dropped = "ok", "", 0
        self.ended = self.closed = False
        self.log: list[str] = []
        self._script, self._world = iter(script), world
        self._sequence = 0
        self.wall_jump = timedelta()

    def open(self) -> None:
        self.log.append("open")

    def pause(self) -> None:
        self.log.append("pause")

    def take(self, timeout_s: float) -> Frame | None:
        step = next(self._script, "end")
        while callable(step):
            step(self._world)
            step = next(self._script, "end")
        if step == "end":
            self.ended = True
            return None
        if isinstance(step, Exception):
            raise step
        self._world.now_s += timeout_s if step is None else float(step)
        if step is None:
            return None
        self._sequence += 1
        taken = START + timedelta(seconds=self._world.now_s) + self.wall_jump
        return Frame(PICTURE, self._world.now_s, taken, self._sequence)


class SwitchingSink(MemorySink):
    """Puts commands in force before it hands them out, as MqttSink does."""

    def __init__(self, switches: SwitchBoard) -> None:
        super().__init__()
        self._switches = switches

    def commands(self) -> Iterable[Command]:
        commands = list(super().commands())
        for command in commands:
            if command.name != "restart":
                self._switches.apply(command)
        return commands


class World:
    """Everything around one Appliance, on a clock of its own."""

    def __init__(self, tmp_path: Path, script: Script, **settings: object) -> None:
        self.now_s = 1000.0
        self.settings = replace(Settings(), **{"judgement": EVERYTHING_IS_JUDGED, **settings})  # type: ignore[arg-type]
        self.switches = SwitchBoard(tmp_path, self.settings.judgement.confidence_threshold)
        self.sink = SwitchingSink(self.switches)
        self.camera = ScriptedCamera(script, self)
        self.signals = Signals()
        self.backend = ScriptedBackend()
        self.pipeline = Pipeline(
            ScriptedDetector([[FACE]] * 10_000),
            ScriptedClassifier(("happy", "sad"), ["happy"]),
            CropGeometry(1.0, "width"),
            (48, 48),
            TrackingSettings(),
            self.settings.judgement,
        )
        self.parts = Parts(
            self.camera, self.pipeline, "scripted", self.backend, self.sink, self.switches, board=Board(tmp_path)
        )
        self.reload: Callable[[], Settings] | None = None

    def serve(self) -> int:
        self.appliance = Appliance(self.settings, self.parts, self.signals, self.reload, clock=lambda: self.now_s)
        return self.appliance.serve()

    @property
    def events(self) -> list[tuple[str, int]]:
        return [(event.event_type.value, event.track_id) for event in self.sink.events]


def command(name: str, value: bool | float | None = None) -> Action:
    return lambda world: world.sink.waiting.append(Command(name, value))


class ScriptedBackend:
    backend = "scripted"
    degraded_reason: str | None = None


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.appliance.time.sleep", lambda _: None)


def test_a_file_is_played_to_its_end(tmp_path: Path) -> None:
    world = World(tmp_path, [0.1] * 10)
    assert world.serve() == 0
    assert world.events == [("start", 1), ("end", 1)]
    assert [event.seq for event in world.sink.events] == [0, 1]
    assert world.sink.states[0].emotion == "none"
    assert [state.faces for state in world.sink.states if state.track_id] == [1]
    assert world.sink.states[-1].faces == 0
    assert world.camera.log == ["open"]
    assert world.sink.statuses[0].health == "ok"
    assert (world.appliance.faces, world.appliance.events) == (1, 2)


def test_a_signal_ends_it_with_end_events(tmp_path: Path) -> None:
    def stop(world: World) -> None:
        world.signals.stop = "SIGTERM"

    world = World(tmp_path, [0.1] * 5 + [stop] + [0.1] * 50)
    assert world.serve() == 0
    assert world.events == [("start", 1), ("end", 1)]
    assert world.appliance.reporter.run.total == 6


def test_restart_ends_it_to_be_started_afresh(tmp_path: Path) -> None:
    world = World(tmp_path, [0.1] * 5 + [command("restart")] + [0.1] * 50)
    assert world.serve() == 1
    assert world.events == [("start", 1), ("end", 1)]


def test_privacy_closes_the_camera_and_ends_faces(tmp_path: Path) -> None:
    world = World(tmp_path, [0.1] * 5 + [command("privacy", True), 0.1])
    turns = iter(range(100))

    def commands() -> list[Command]:
        # While the camera is closed nothing else can drive the script: privacy goes off in the tenth turn.
        if next(turns) == 10:
            assert world.camera.log == ["open", "pause"]
            assert world.events == [("start", 1), ("end", 1)]
            world.switches.apply(Command("privacy", False))
        return list(SwitchingSink.commands(world.sink))

    world.sink.commands = commands  # type: ignore[method-assign]
    assert world.serve() == 0
    assert world.camera.log == ["open", "pause", "open"]
    assert world.sink.states[-1].faces == 0


def test_privacy_stored_from_before_keeps_the_camera_closed(tmp_path: Path) -> None:
    SwitchBoard(tmp_path, 0.5).apply(Command("privacy", True))
    world = World(tmp_path, [0.1] * 5)
    turns = iter(range(100))

    def commands() -> list[Command]:
        if next(turns) == 5:
            world.signals.stop = "SIGTERM"
        return []

    world.sink.commands = commands  # type: ignore[method-assign]
    assert world.serve() == 0
    assert world.camera.log == []
    assert world.events == []


def test_detect_off_ends_faces_and_leaves_the_camera_open(tmp_path: Path) -> None:
    switched = [command("detect", False)] + [0.1] * 20 + [command("detect", True)]
    world = World(tmp_path, [0.1] * 5 + switched + [0.1] * 5)
    assert world.serve() == 0
    assert world.events == [("start", 1), ("end", 1), ("start", 2), ("end", 2)]
    assert world.camera.log == ["open"]


def test_the_threshold_reaches_the_pipeline(tmp_path: Path) -> None:
    world = World(tmp_path, [0.1] * 5 + [command("threshold", 0.95)] + [0.1] * 20)
    assert world.serve() == 0
    assert [event.emotion for event in world.sink.events] == ["happy", "unknown", "unknown"]
    assert SwitchBoard(tmp_path, 0.1).current.threshold == 0.95


def test_a_lost_camera_ends_faces_and_is_a_fault_until_it_is_back(tmp_path: Path) -> None:
    def lose(world: World) -> None:
        world.camera.condition, world.camera.reason = "lost", "usb:0: no such camera"

    def find(world: World) -> None:
        world.camera.condition, world.camera.reason = "ok", ""

    world = World(tmp_path, [0.1] * 5 + [lose] + [None] * 10 + [find] + [0.1] * 5)
    assert world.serve() == 0
    assert world.events == [("start", 1), ("end", 1), ("start", 2), ("end", 2)]
    seen = [(status.health, status.camera, status.reasons) for status in world.sink.statuses]
    assert ("fault", "lost", ("camera: usb:0: no such camera",)) in seen
    assert seen[-1] == ("ok", "ok", ())


def test_what_the_camera_raises_ends_it_after_the_end_events(tmp_path: Path) -> None:
    world = World(tmp_path, [0.1] * 5 + [SourceError("cut off")])
    with pytest.raises(SourceError, match="cut off"):
        world.serve()
    assert world.events == [("start", 1), ("end", 1)]


def test_fallbacks_and_a_degraded_backend_are_in_the_status(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def degrade(world: World) -> None:
        world.backend.degraded_reason = "the Edge TPU hangs"

    world = World(tmp_path, [0.1] * 5 + [degrade] + [0.1] * 5)
    world.parts = replace(world.parts, fallbacks={"detector": "Haar serves"})
    assert world.serve() == 0
    assert world.sink.statuses[0].reasons == ("detector: Haar serves",)
    assert world.sink.statuses[-1].reasons == ("detector: Haar serves", "classifier: the Edge TPU hangs")
    assert world.sink.statuses[-1].health == "degraded"
    assert sum("Haar serves" in record.getMessage() for record in caplog.records) == 1


def test_the_wall_clock_may_jump_years(tmp_path: Path) -> None:
    def jump(years: int) -> Action:
        def act(world: World) -> None:
            world.camera.wall_jump = timedelta(days=365 * years)

        return act

    world = World(tmp_path, [0.1] * 10 + [jump(3)] + [0.1] * 10 + [jump(-1)] + [0.1] * 10)
    world.parts = replace(world.parts, fast=True)
    assert world.serve() == 0
    assert world.events == [("start", 1), ("end", 1)]
    start, end = world.sink.events
    assert end.duration_s == pytest.approx(2.9, abs=0.01)
    assert start.id < end.id


class Systemd:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "notify"))
        self.socket.setblocking(False)
        self.notifier = Notifier({"NOTIFY_SOCKET": str(folder / "notify"), **environ})

    def read(self) -> list[str]:
        got = []
        try:
            while True:
                got.append(self.socket.recv(1000).decode())
        except BlockingIOError:
            return got


def test_the_watchdog_is_fed_by_completed_steps_only(tmp_path: Path) -> None:
    systemd = Systemd(tmp_path, WATCHDOG_USEC="8000000")
    fed: list[int] = []

    def count(world: World) -> None:
        fed.append(systemd.read().count("WATCHDOG=1"))

    def stall(world: World) -> None:
        world.camera.condition, world.camera.reason = "stalled", "no frame"

    # 5 s of frames; 5 s without any while the camera claims to be well; 5 s while it is known to be stalled.
    world = World(tmp_path, [0.1] * 50 + [count] + [None] * 25 + [count, stall] + [None] * 25 + [count])
    world.parts = replace(world.parts, notifier=systemd.notifier)
    assert world.serve() == 0
    assert fed[0] == 5
    assert fed[1] == 0
    assert fed[2] in (4, 5)


def test_systemd_hears_ready_status_and_stopping(tmp_path: Path) -> None:
    systemd = Systemd(tmp_path)
    world = World(tmp_path, [0.5] * 260)
    world.parts = replace(world.parts, notifier=systemd.notifier)
    assert world.serve() == 0
    got = systemd.read()
    assert got[0] == "READY=1"
    assert got[-1] == "STOPPING=1"
    statuses = [message for message in got if message.startswith("STATUS=")]
    assert len(statuses) == 2
    assert "2.0 frames/s" in statuses[0]
    assert "happy" in statuses[0]


def test_one_log_line_a_minute_and_stats(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World(tmp_path, [0.5] * 362)
    assert world.serve() == 0
    assert len([record for record in caplog.records if "frames/s" in record.getMessage()]) == 3
    assert len(world.sink.all_stats) == 3
    stats = world.sink.all_stats[0]
    assert stats.fps == pytest.approx(2, abs=0.1)
    assert stats.rss_mb > 10
    assert stats.latency_p95_ms == 0


def test_changes_withheld_by_the_limit_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    judgement = replace(EVERYTHING_IS_JUDGED, smoothing_s=0, dwell_s=0, max_changes_per_minute=2)
    world = World(tmp_path, [0.5] * 130, judgement=judgement)
    world.pipeline._classifier = ScriptedClassifier(("happy", "sad"), ["happy", "sad"] * 65)
    assert world.serve() == 0
    assert world.pipeline.changes_dropped > 20
    assert [event.event_type for event in world.sink.events].count(EventType.CHANGE) <= 4
    assert any("changes withheld by the limit" in record.getMessage() for record in caplog.records)
    assert world.sink.all_stats[0].changes_withheld > 20


def test_too_much_memory_ends_it_to_be_started_afresh(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = World(tmp_path, [0.5] * 1000, life=replace(Settings().life, rss_limit_mb=1))
    assert world.serve() == 1
    assert world.events == [("start", 1), ("end", 1)]
    assert "rss_limit_mb" in caplog.text


def test_heat_lowers_the_rate_and_says_so(tmp_path: Path) -> None:
    zone = tmp_path / "class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "temp").write_text("82000")
    world = World(tmp_path, [1 / 15] * 150)
    world.parts = replace(world.parts, board=Board(tmp_path))
    assert world.serve() == 0
    assert world.appliance.reporter.run.total == pytest.approx(30, abs=2)
    assert "heat: hot" in world.sink.statuses[-1].reasons[0]
    assert world.sink.statuses[-1].health == "degraded"


def hangup(world: World) -> None:
    world.signals.reload = True


def test_sighup_takes_over_what_can_change_and_names_what_can_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world = World(tmp_path, [0.1] * 5 + [hangup] + [0.1] * 20)
    strict = replace(world.settings.judgement, confidence_threshold=0.95)
    camera = replace(world.settings.camera, source="usb:3")
    world.reload = lambda: replace(world.settings, judgement=strict, camera=camera)
    assert world.serve() == 0
    assert [event.emotion for event in world.sink.events] == ["happy", "unknown", "unknown"]
    assert "in force: judgement" in caplog.text
    assert "wait for a restart: camera" in caplog.text


def test_sighup_leaves_a_commanded_threshold_in_force(tmp_path: Path) -> None:
    SwitchBoard(tmp_path, 0.5).apply(Command("threshold", 0.25))
    world = World(tmp_path, [0.1] * 5 + [hangup] + [0.1] * 20)
    world.reload = lambda: replace(
        world.settings, judgement=replace(world.settings.judgement, confidence_threshold=0.95)
    )
    assert world.serve() == 0
    assert world.pipeline.confidence_threshold == 0.25


def test_sighup_with_a_mistake_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def reload() -> Settings:
        raise ConfigError("expected camera.fps from 0.1 to 240")

    world = World(tmp_path, [0.1] * 5 + [hangup] + [0.1] * 20)
    world.reload = reload
    assert world.serve() == 0
    assert world.events == [("start", 1), ("end", 1)]
    assert "the configuration in force stays: expected camera.fps" in caplog.text


def test_real_signals_reach_the_loop(tmp_path: Path) -> None:
    def send(number: signal.Signals) -> Action:
        return lambda world: os.kill(os.getpid(), number)

    world = World(tmp_path, [0.1] * 5 + [send(signal.SIGHUP)] + [0.1] * 5 + [send(signal.SIGTERM)] + [0.1] * 50)
    reloads: list[float] = []
    world.reload = lambda: reloads.append(world.now_s) or world.settings  # type: ignore[func-returns-value]
    with world.signals:
        assert world.serve() == 0
    assert len(reloads) == 1
    assert world.appliance.reporter.run.total == 11
    assert world.sink.events[-1].event_type is EventType.END
