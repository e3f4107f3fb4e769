"""The main loop: frames in, events out, until told to stop."""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from edge.errors import EXIT_FAILURE, EXIT_OK, ConfigError, UsageError
from edge.heat import HeatGovernor
from edge.life import Signals
from edge.parts import Parts
from edge.records import Command, EmotionEvent, EventType, Frame, State
from edge.reporter import Reporter
from edge.settings import Settings

log = logging.getLogger("edge.run")

WAIT_S = 0.2
"""Longest wait of the loop for anything: a signal or a command is noticed within it."""

LIVE_SECTIONS = ("judgement", "life")
"""What SIGHUP changes in a running program. Everything else is opened or connected at the start."""


class Appliance:
    """Runs the parts. ``reload`` reads the configuration again on SIGHUP; ``clock`` is monotonic, in seconds."""

    def __init__(
        self,
        settings: Settings,
        parts: Parts,
        signals: Signals,
        reload: Callable[[], Settings] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._parts, self._signals = settings, parts, signals
        self._reload, self._clock = reload, clock
        life = settings.life
        self._governor = HeatGovernor(parts.board, life.heat_soft_c, life.heat_hard_c, settings.camera.fps)
        self.reporter = Reporter(settings, parts, self._governor, clock())
        self.faces = self.events = 0
        """Started and published so far."""
        self._last_frame: Frame | None = None
        self._told_state: State | None = None
        self._watching = False
        """The camera is open, or asked to open."""
        self._restart: str | None = None

    def serve(self) -> int:
        """Until a signal, a request to restart or the end of the source; then ``end`` events. 0, or 1 to be restarted.

        ``offline`` is the sink's own last word, when app.py closes it.
        """
        camera, pipeline, sink, reporter = self._parts.camera, self._parts.pipeline, self._parts.sink, self.reporter
        if self._parts.switches.current.privacy:
            log.warning("privacy is on, so the camera stays closed until a command or its stored switch says otherwise")
        self._tell_state()
        self._obey(())
        self._parts.notifier.ready()
        try:
            while not self._asked_to_stop():
                self._obey(sink.commands())
                frame = self._next_frame()
                if frame is not None and self._governor.admits(self._clock()):
                    taken_s = self._clock()
                    self._publish(pipeline.step(frame))
                    self._last_frame = frame
                    now_s = self._clock()
                    reporter.step(now_s - (taken_s if self._parts.fast else frame.monotonic_s), now_s)
                elif camera.ended:
                    log.info("the source is at its end")
                    break
                reporter.turn(self._clock())
        finally:
            self._parts.notifier.stopping()
            self._end_faces()
        return EXIT_FAILURE if self._restart else EXIT_OK

    def _next_frame(self) -> Frame | None:
        """The newest frame to judge, waiting up to WAIT_S; None where there is none, or nothing is to be judged."""
        switches, camera = self._parts.switches.current, self._parts.camera
        if switches.privacy:
            time.sleep(WAIT_S)
            frame = None
        else:
            frame = camera.take(WAIT_S)
        lost = camera.condition != "ok"
        if lost or switches.privacy or not switches.detect:
            self._end_faces()
            self.reporter.idle(self._clock())
        return frame if switches.detect else None

    def _publish(self, events: list[EmotionEvent]) -> None:
        for event in events:
            self._parts.sink.event(event)
            self.events += 1
            self.faces += event.event_type is EventType.START
        self._tell_state()

    def _tell_state(self) -> None:
        state = self._parts.pipeline.state
        if state != self._told_state:
            self._parts.sink.state(state)
            self._told_state = state

    def _end_faces(self) -> None:
        """``end`` events for whoever is there: nobody is watched any more."""
        last = self._last_frame
        if last is None:
            return
        # A fast file ends when its last frame was taken; a camera is left now.
        now_s, when = (last.monotonic_s, last.captured_at) if self._parts.fast else (self._clock(), datetime.now(UTC))
        self._publish(self._parts.pipeline.finish(now_s, when))
        self._last_frame = None

    def _obey(self, commands: Iterable[Command]) -> None:
        """Act on commands. The sink has put switches in force, stored and mirrored them already."""
        for command in commands:
            log.info("command: %s%s", command.name, "" if command.value is None else f" {command.value}")
            if command.name == "restart":
                self._restart = "restart asked for by a command"
        switches, camera = self._parts.switches.current, self._parts.camera
        self._parts.pipeline.confidence_threshold = switches.threshold
        if switches.privacy and self._watching:
            camera.pause()
        elif not switches.privacy and not self._watching:
            camera.open()
        self._watching = not switches.privacy

    def _asked_to_stop(self) -> bool:
        if self._signals.reload:
            self._signals.reload = False
            self._reconfigure()
        self._restart = self._restart or self.reporter.over_memory(self._clock())
        if self._signals.stop:
            log.info("%s: stopping", self._signals.stop)
        elif self._restart:
            log.error("%s: ending, to be started afresh", self._restart)
        return bool(self._signals.stop or self._restart)

    def _reconfigure(self) -> None:
        """SIGHUP: take over what can change while running, name what waits for a restart, keep all on a mistake."""
        if self._reload is None:
            return
        self._parts.notifier.reloading(self._clock())
        try:
            wanted = self._reload()
        except (ConfigError, UsageError) as error:
            log.error("SIGHUP: the configuration in force stays: %s", error)
        else:
            self._take_over(wanted)
        self._parts.notifier.ready()

    def _take_over(self, wanted: Settings) -> None:
        sections = [name for name in Settings.__slots__ if getattr(wanted, name) != getattr(self._settings, name)]
        waiting = [name for name in sections if name not in LIVE_SECTIONS]
        self._governor.limits(wanted.life.heat_soft_c, wanted.life.heat_hard_c)
        self.reporter.reconfigure(wanted, self._clock())
        self._parts.pipeline.judgement = wanted.judgement
        self._parts.pipeline.confidence_threshold = self._parts.switches.configured(
            wanted.judgement.confidence_threshold
        )
        self._settings = wanted
        log.info("SIGHUP: in force: %s", ", ".join(name for name in sections if name in LIVE_SECTIONS) or "no change")
        if waiting:
            log.warning("SIGHUP: these sections wait for a restart: %s", ", ".join(waiting))
