"""Keeps the device connected: one thread that connects, says what it is and takes in what is asked, delivers, notices
the end, backs off and begins again. Nothing here blocks another thread."""

import logging
import random
import threading
import time
from collections.abc import Callable

from paho.mqtt.enums import MQTTProtocolVersion

from edge.errors import ConfigError
from edge.outbox import Outbox
from edge.payloads import OFFLINE, ONLINE
from edge.sinks.mqtt_delivery import Delivery
from edge.sinks.mqtt_session import MQTT5, MQTT311, Incoming, NotConnectedError, Session, Waker

log = logging.getLogger(__name__)

TICK_S = 1.0
HOLD_S = 0.5
"""A broker that leaves an event unacknowledged so long counts as away: the event goes to disk."""
STABLE_S = 10.0
"""A connection that lasts so long is a good one: back-off begins afresh."""
BRIEF = 3
"""So many shorter ones in a row are worth a sentence: mosquitto throws out the older of two clients without a word."""
GOODBYE_SHARE = 0.25
"""Of the time to close, kept for saying ``offline``."""

OpenSession = Callable[[MQTTProtocolVersion, Waker], Session]
"""Opens a session with that version, or raises NotConnectedError or ConfigError."""


class Backoff:
    """Doubling delays between two bounds, each cut by up to half at random so that a site's devices do not come back
    in the same second."""

    def __init__(self, shortest_s: float, longest_s: float) -> None:
        self._shortest_s, self._longest_s = shortest_s, max(shortest_s, longest_s)
        self._next_s = shortest_s

    def next_s(self) -> float:
        delay = self._next_s * random.uniform(0.5, 1.0)
        self._next_s = min(self._longest_s, self._next_s * 2)
        return delay

    def reset(self) -> None:
        self._next_s = self._shortest_s


class Link:
    """The thread and what it shares with others. All public methods return at once, ``close`` within its bound."""

    def __init__(
        self,
        open_session: OpenSession,
        name: str,
        base: str,
        subscriptions: list[str],
        outbox: Outbox,
        expiry_s: int,
        backoff: Backoff,
        on_message: Callable[[Incoming], None],
    ) -> None:
        """name: the broker's, for messages. base: ``<prefix>/<device>``. on_message is called in the link's thread."""
        self._open_session = open_session
        self._name = name
        self._base = base
        self._subscriptions = subscriptions
        self._outbox = outbox
        self._expiry_s = expiry_s
        self._backoff = backoff
        self._on_message = on_message
        self._waker = Waker()
        self._lock = threading.Lock()
        self._retained: dict[str, bytes] = {}
        self._fresh: dict[str, tuple[bytes, int, bool]] = {}
        """Still to be published: payload, QoS, retain. Only the latest on each topic."""
        self._closing = threading.Event()
        self._deadline_s = float("inf")
        self._goodbye_s = 0.0
        self._connects = 0
        self._lacks_mqtt5 = False
        self._delivery: Delivery | None = None
        self._subscribe_problem: str | None = None
        self._brief = 0
        self._down: str | None = None
        self.connected = False
        self.crash: Exception | None = None
        """What ended the thread though nothing should: for the main thread to raise."""
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def reconnects(self) -> int:
        """Connections after the first."""
        return max(0, self._connects - 1)

    def problem(self) -> str | None:
        """One sentence on what is wrong between this device and the broker; None when nothing is known to be."""
        delivery = self._delivery
        reason = self._down or self._subscribe_problem or (delivery.problem if delivery else None)
        if self._brief >= BRIEF:
            reason = (
                f"{self._brief} connections in a row ended within {STABLE_S:g} s; does another client use the same id? "
                "give each device its own device.id"
            )
        return f"broker {self._name}: {reason}" if reason else None

    def wake(self) -> None:
        """There is something in the outbox."""
        self._waker.wake()

    def retain(self, suffix: str, payload: bytes) -> None:
        """QoS 1, retained; published now if connected, and at every connect."""
        with self._lock:
            self._retained[suffix] = payload
            self._fresh[suffix] = (payload, 1, True)
        self._waker.wake()

    def send(self, suffix: str, payload: bytes) -> None:
        """QoS 0, not retained; for now or never."""
        if self.connected:
            with self._lock:
                self._fresh[suffix] = (payload, 0, False)
            self._waker.wake()

    def close(self, within_s: float) -> None:
        """Deliver what waits if the broker is there, say ``offline``, end the thread. Idempotent."""
        if not self._closing.is_set():
            self._deadline_s = time.monotonic() + within_s
            self._goodbye_s = within_s * GOODBYE_SHARE
            self._closing.set()
            self._waker.wake()
        self._thread.join(max(0.0, self._deadline_s - time.monotonic()))
        if not self._thread.is_alive():
            self._waker.close()

    def _run(self) -> None:
        try:
            self._keep_connected()
        except Exception as error:
            log.exception("the MQTT thread ended")
            self._outbox.hold()
            self._down = f"the thread that publishes ended ({error})"
            self.crash = error

    def _keep_connected(self) -> None:
        while True:
            try:
                session = self._connect()
            except (NotConnectedError, ConfigError) as error:
                self._say_down(str(error))
            else:
                self._serve(session)
                if not self._closing.is_set():
                    self._brief += 1
                    self._say_down(session.end_reason or "the connection was closed")
                    if self._brief == BRIEF:
                        log.warning(self.problem())
            if self._closing.wait(0 if self._closing.is_set() else self._backoff.next_s()):
                return

    def _connect(self) -> Session:
        """MQTT 5, else 3.1.1 where the broker may lack it. What worked is tried first, until it fails: brokers are
        upgraded."""
        lacks_mqtt5, self._lacks_mqtt5 = self._lacks_mqtt5, False
        if not lacks_mqtt5:
            try:
                return self._open_session(MQTT5, self._waker)
            except NotConnectedError as error:
                if not error.try_older:
                    raise
                log.debug("%s: %s; trying MQTT 3.1.1", self._name, error)
        session = self._open_session(MQTT311, self._waker)
        self._lacks_mqtt5 = True
        return session

    def _serve(self, session: Session) -> None:
        delivery = self._delivery = Delivery(self._outbox, session, f"{self._base}/event", self._expiry_s)
        self._connects += 1
        self._down = self._subscribe_problem = None
        log.info("connected to %s with MQTT %s", self._name, "5" if session.is_mqtt5 else "3.1.1")
        session.subscribe([f"{self._base}/{suffix}" for suffix in self._subscriptions])
        with self._lock:
            self._fresh = {suffix: (payload, 1, True) for suffix, payload in self._retained.items()}
            self._fresh["availability"] = (ONLINE.encode(), 1, True)  # last: what it is stands before it is there
        self._outbox.release()
        self.connected = True
        try:
            self._converse(session, delivery)
        finally:
            self.connected = False
            self._delivery = None
            self._outbox.rewind()
            self._outbox.hold()

    def _converse(self, session: Session, delivery: Delivery) -> None:
        stable_at_s = time.monotonic() + STABLE_S
        while True:
            if time.monotonic() > stable_at_s:
                self._brief = 0
                self._backoff.reset()
            self._publish_fresh(session)
            if self._closing.is_set():
                delivery.settle()
                if not len(self._outbox) or time.monotonic() > self._deadline_s - self._goodbye_s:
                    self._say_goodbye(session)
                    return
            delivery.send()
            going_on = session.step(delivery.wait_s(HOLD_S / 2 if len(self._outbox) else TICK_S))
            self._take_in(session, delivery)
            if not going_on:
                return
            self._outbox.hold_if_older_than(HOLD_S)

    def _take_in(self, session: Session, delivery: Delivery) -> None:
        acknowledged, session.acknowledged = session.acknowledged, []
        delivery.acknowledged(acknowledged)
        subscribed, session.subscribed = session.subscribed, []
        refused = [answer.text for answer in subscribed if answer.code >= 128]
        if refused:
            self._subscribe_problem = f"it refuses the subscription to commands: {refused[0]}; check its access list"
            log.warning("%s: %s", self._name, self._subscribe_problem)
        incoming, session.incoming = session.incoming, []
        for message in incoming:
            self._on_message(message)

    def _publish_fresh(self, session: Session) -> None:
        while session.room > 0:
            with self._lock:
                if not self._fresh:
                    return
                suffix = next(iter(self._fresh))
                payload, qos, retain = self._fresh.pop(suffix)
            session.publish(f"{self._base}/{suffix}", payload, qos, retain)

    def _say_goodbye(self, session: Session) -> None:
        mid = session.publish(f"{self._base}/availability", OFFLINE, qos=1, retain=True)
        while time.monotonic() < self._deadline_s and session.step(max(0.0, self._deadline_s - time.monotonic())):
            if any(answer.mid == mid for answer in session.acknowledged):
                session.disconnect()
                log.info("said offline to %s", self._name)
                return
        session.abandon("no answer to offline")  # the will says it instead

    def _say_down(self, reason: str) -> None:
        """Logged when it is news, not at every attempt."""
        if reason != self._down:
            log.warning("broker %s: %s; trying again, events wait", self._name, reason)
            self._down = reason
