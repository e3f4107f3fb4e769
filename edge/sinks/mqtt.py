"""Events, state and health to an MQTT broker; commands back. Topics lie below ``<topic_prefix>/<device_id>/``."""

import logging
import queue
import time
from collections.abc import Callable
from pathlib import Path

from paho.mqtt.enums import MQTTProtocolVersion

from edge.errors import CommandError
from edge.outbox import FILE_NAME, Outbox
from edge.payloads import (
    OFFLINE,
    Payload,
    encode,
    event_payload,
    state_payload,
    stats_payload,
    status_payload,
    switch_payload,
)
from edge.records import Command, EmotionEvent, EventType, Identity, State, Stats, Status
from edge.settings import MqttSettings
from edge.sinks.mqtt_broker import load_credentials, parse_broker
from edge.sinks.mqtt_commands import TOPICS, parse_command
from edge.sinks.mqtt_link import Backoff, Link
from edge.sinks.mqtt_session import Incoming, Session, Waker
from edge.switches import SwitchBoard

log = logging.getLogger(__name__)

CLOSE_S = 1.5
"""To send what waits and say ``offline``; leaves half a second of the two a stop may take."""
COMMANDS_WAITING = 100
REFUSALS_LOG_S = 10.0
"""At most one refused command is logged in so long; all are counted."""


class MqttSink:
    """An EventSink. Every method returns at once, ``close`` within CLOSE_S; ``event`` waits for one disk write while
    the broker is away, so that a kill loses nothing."""

    def __init__(
        self,
        settings: MqttSettings,
        identity: Identity,
        state_dir: Path,
        switches: SwitchBoard,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connects in the background. switches: mirrored to subscribers and set by their commands; the caller reads
        ``switches.current``. Raises ConfigError for settings that could never work."""
        address = parse_broker(settings.broker)
        load_credentials(settings, address)
        base = f"{settings.topic_prefix}/{identity.device_id}"
        self._identity = identity
        self._switches = switches
        self._clock = clock
        self._status_s = settings.status_s
        self._state: Payload | None = None
        self._status: Payload | None = None
        self._status_at_s = 0.0
        self._commands: queue.Queue[Command] = queue.Queue(COMMANDS_WAITING)
        self._refusal_logged_s = float("-inf")
        self.commands_refused = 0
        self._base = base
        self._outbox = Outbox(state_dir / FILE_NAME, settings.outbox_events)
        for problem in filter(None, (self._outbox.problem, switches.problem)):
            log.warning(problem)

        def open_session(protocol: MQTTProtocolVersion, waker: Waker) -> Session:
            return Session(
                address,
                load_credentials(settings, address),
                identity.device_id,
                protocol,
                settings.keepalive_s,
                (f"{base}/availability", OFFLINE),
                waker,
            )

        self._link = Link(
            open_session,
            str(address),
            base,
            list(TOPICS),
            self._outbox,
            settings.event_expiry_s,
            Backoff(settings.reconnect_min_s, settings.reconnect_max_s),
            self._receive,
        )
        self._mirror()
        self._link.start()

    @property
    def connected(self) -> bool:
        """The broker accepted the connection, and it lasts."""
        return self._link.connected

    @property
    def reconnects(self) -> int:
        """Connections after the first, since the start."""
        return self._link.reconnects

    @property
    def outbox(self) -> int:
        """Events not acknowledged by the broker yet."""
        return len(self._outbox)

    @property
    def events_discarded(self) -> int:
        """Events given up because the outbox was full, since the start."""
        return self._outbox.discarded

    def health(self) -> str | None:
        """What is not as configured, in one sentence for Status.reasons; None when all is well. A connection still
        being tried for the first time is not a fault."""
        return "; ".join(filter(None, (self._link.problem(), self._outbox.problem, self._switches.problem))) or None

    def event(self, event: EmotionEvent) -> None:
        """Delivered at least once, in order; on disk when this returns if the broker is away."""
        self._raise_crash()
        self._outbox.append(
            event.id, event.event_type == EventType.CHANGE, encode(event_payload(event, self._identity))
        )
        self._link.wake()

    def state(self, state: State) -> None:
        """Published when it changed."""
        self._raise_crash()
        payload = state_payload(state)
        if payload != self._state:
            self._state = payload
            self._link.retain("state", encode(payload))

    def status(self, status: Status) -> None:
        """Published when something but the uptime changed, and every ``status_s``; may be called at every frame."""
        self._raise_crash()
        payload = status_payload(status, self._identity)
        now = self._clock()
        news = self._status is None or {**payload, "uptime_s": 0} != {**self._status, "uptime_s": 0}
        if news or now - self._status_at_s >= self._status_s:
            self._status, self._status_at_s = payload, now
            self._link.retain("status", encode(payload))

    def stats(self, stats: Stats) -> None:
        """Published now if connected, otherwise not at all."""
        self._raise_crash()
        self._link.send("stats", encode(stats_payload(stats)))

    def commands(self) -> list[Command]:
        """Validated commands since the last call, oldest first. Switches among them are in force, stored and mirrored
        when this returns: act on ``switches.current`` or on the command."""
        self._raise_crash()
        taken: list[Command] = []
        while True:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                break
            if command.name != "restart":
                self._switches.apply(command)
            taken.append(command)
        if taken or self._switches.current != self._mirrored:  # the configuration may have been read again
            self._mirror()
        return taken

    def close(self) -> None:
        """Send what waits, say ``offline``; what the broker did not take stays on disk for the next start."""
        self._link.close(CLOSE_S)
        self._outbox.close()
        kept = self._outbox.stored
        if kept:
            log.warning("%d events wait for the next start in %s", kept, self._outbox.path)
        if lost := self.outbox - kept:
            log.error("%d events are lost, neither delivered nor stored: %s", lost, self._outbox.problem)

    def _mirror(self) -> None:
        self._mirrored = current = self._switches.current
        self._link.retain("detect/state", switch_payload(current.detect))
        self._link.retain("privacy/state", switch_payload(current.privacy))
        self._link.retain("threshold/state", switch_payload(current.threshold))

    def _receive(self, message: Incoming) -> None:
        """In the link's thread."""
        try:
            suffix = message.topic.removeprefix(f"{self._base}/")
            self._commands.put_nowait(parse_command(suffix, message.payload, message.retained))
        except CommandError as error:
            self._refuse(str(error))
        except queue.Full:
            self._refuse(f"{message.topic}: {COMMANDS_WAITING} commands wait already; send fewer")

    def _refuse(self, reason: str) -> None:
        self.commands_refused += 1
        now = self._clock()
        if now - self._refusal_logged_s >= REFUSALS_LOG_S:
            self._refusal_logged_s = now
            log.warning("command refused: %s (%d so far)", reason, self.commands_refused)

    def _raise_crash(self) -> None:
        if self._link.crash is not None:
            raise self._link.crash
