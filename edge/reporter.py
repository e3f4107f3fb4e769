"""Says how the appliance is: status, stats, one log line a minute, systemd's watchdog, the memory limit."""

import logging
from collections.abc import Callable

from edge.health import Health
from edge.heat import HeatGovernor
from edge.life import Every, Meter, rss_mb
from edge.parts import Parts
from edge.records import Stats
from edge.settings import Settings

log = logging.getLogger("edge.run")

LOOK_S = 0.2
"""How often the parts are asked how they are; more would only cost."""
MEMORY_S = 10.0
"""How often the resident memory is looked at."""


class Reporter:
    """Owned by the main thread, told of every completed step and every turn of the loop. All times monotonic."""

    def __init__(
        self, settings: Settings, parts: Parts, governor: HeatGovernor, now_s: float, rss: Callable[[], float] = rss_mb
    ) -> None:
        self._settings, self._parts, self._governor, self._rss = settings, parts, governor, rss
        self._health = Health(now_s)
        self.run = Meter(now_s)
        """Over the whole run."""
        self._log_meter, self._stats_meter = Meter(now_s), Meter(now_s)
        self._look_due = Every(LOOK_S, now_s - LOOK_S)
        self._log_due = Every(settings.life.log_s, now_s)
        self._stats_due = Every(settings.mqtt.stats_s, now_s)
        self._memory_due = Every(MEMORY_S, now_s)
        self._dropped_told = 0
        self._withheld_told = 0
        for part, reason in parts.fallbacks.items():
            self._health.note(part, reason)

    def step(self, latency_s: float, now_s: float) -> None:
        """A pipeline step was completed and its events handed over: what feeds the watchdog."""
        for meter in (self.run, self._log_meter, self._stats_meter):
            meter.step(latency_s)
        self._parts.notifier.progress(now_s)

    def idle(self, now_s: float) -> None:
        """A turn that knowingly had nothing to judge: switched off, or the camera is being reopened. The loop is
        alive and a restart would mend nothing, so the watchdog is fed; not while the camera claims to be well."""
        self._parts.notifier.progress(now_s)

    def turn(self, now_s: float) -> None:
        """End of a turn of the loop: publish and log what is due. A sink passes a status on when it changed."""
        parts = self._parts
        if self._look_due.due(now_s):
            self._note_parts()
            status = self._health.status(parts.backend.backend, parts.detector, parts.camera.condition, now_s)
            parts.sink.status(status)
        if self._stats_due.due(now_s):
            parts.sink.stats(self._stats(now_s))
        if self._log_due.due(now_s):
            self._log_line(now_s)

    def over_memory(self, now_s: float) -> str | None:
        """One sentence where the resident memory is above its limit."""
        limit_mb = self._settings.life.rss_limit_mb
        if self._memory_due.due(now_s) and (used_mb := self._rss()) > limit_mb:
            return f"memory: {used_mb:.0f} MB resident is above life.rss_limit_mb = {limit_mb:g}"
        return None

    def reconfigure(self, settings: Settings, now_s: float) -> None:
        """New limits and intervals, at once."""
        self._settings = settings
        self._log_due = Every(settings.life.log_s, now_s)
        self._stats_due = Every(settings.mqtt.stats_s, now_s)

    def _note_parts(self) -> None:
        parts, note = self._parts, self._health.note
        # Camera, classifier and broker log their own transitions, as they happen.
        note("camera", None if parts.camera.condition == "ok" else parts.camera.reason, fault=True, quiet=True)
        note("classifier", parts.backend.degraded_reason, quiet=True)
        if parts.face_backend is not None:
            note("detector network", parts.face_backend.degraded_reason, quiet=True)
        note("broker", parts.delivery.health(), quiet=True)
        note("heat", self._governor.reason)
        discarded = parts.delivery.events_discarded
        note("outbox", f"{discarded} events given up because it was full" if discarded else None)

    def _stats(self, now_s: float) -> Stats:
        parts = self._parts
        fps, p50_ms, p95_ms = self._stats_meter.take(now_s)
        dropped, self._dropped_told = parts.camera.dropped - self._dropped_told, parts.camera.dropped
        return Stats(
            fps=fps,
            latency_p50_ms=p50_ms,
            latency_p95_ms=p95_ms,
            dropped_frames=dropped,
            rss_mb=self._rss(),
            reconnects=parts.delivery.reconnects,
            outbox=parts.delivery.outbox,
            events_discarded=parts.delivery.events_discarded,
            changes_withheld=parts.pipeline.changes_dropped,
            temperature_c=parts.board.temperature_c(),
            throttled=parts.board.throttled(),
        )

    def _log_line(self, now_s: float) -> None:
        """The minute in one line, for the journal and ``systemctl status``."""
        parts = self._parts
        fps, p50_ms, p95_ms = self._log_meter.take(now_s)
        state = parts.pipeline.state
        heat = self._governor.temperature_c
        withheld = parts.pipeline.changes_dropped - self._withheld_told
        self._withheld_told += withheld
        line = (
            f"{fps:.1f} frames/s, latency p50 {p50_ms:.0f} ms, p95 {p95_ms:.0f} ms, {state.faces} faces, "
            f"{state.emotion}, {parts.backend.backend}, {self._rss():.0f} MB"
            + (f", {heat:.0f} C" if heat is not None else "")
            + (f", {parts.delivery.outbox} events waiting" if parts.delivery.outbox else "")
            + (f", {withheld} changes withheld by the limit" if withheld else "")
        )
        log.info("%s", line)
        parts.notifier.status(line)
