"""The appliance's health, gathered from its parts: every fallback is logged once and published in the status."""

import logging

from edge.records import Status

log = logging.getLogger("edge.health")


class Health:
    """Which parts are not as configured, and why. Owned by the main thread."""

    def __init__(self, now_s: float) -> None:
        self._started_s = now_s
        self._reasons: dict[str, tuple[str, bool]] = {}

    def note(self, part: str, reason: str | None, *, fault: bool = False, quiet: bool = False) -> None:
        """Say how ``part`` is: None, as it should be; else one sentence. Call it as often as you like: only a change
        is logged. ``fault``: the main job can't be done meanwhile; otherwise it is done another way (degraded).
        ``quiet``: the part itself has logged it."""
        before = self._reasons.get(part)
        if reason is None:
            if self._reasons.pop(part, None) is not None and not quiet:
                log.info("%s: as it should be again", part)
        elif before != (reason, fault):
            self._reasons[part] = (reason, fault)
            if not quiet:
                log.log(logging.ERROR if fault else logging.WARNING, "%s: %s", part, reason)

    @property
    def reasons(self) -> tuple[str, ...]:
        """``part: sentence``, faults first, else in order of appearance."""
        faults_first = sorted(self._reasons.items(), key=lambda item: not item[1][1])
        return tuple(f"{part}: {reason}" for part, (reason, _) in faults_first)

    def status(self, backend: str, detector: str, camera: str, now_s: float) -> Status:
        """The record to publish."""
        faults = any(fault for _, fault in self._reasons.values())
        health = "fault" if faults else "degraded" if self._reasons else "ok"
        return Status(health, self.reasons, backend, detector, camera, round(now_s - self._started_s, 1))
