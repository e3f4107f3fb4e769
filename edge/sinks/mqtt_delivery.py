"""The outbox through one connection: a window of unacknowledged events, in order, sent again where nobody got them."""

import logging
import time
from collections.abc import Callable, Iterable

from edge.outbox import Outbox
from edge.sinks.mqtt_session import Acknowledgement, Session

log = logging.getLogger(__name__)

WINDOW = 16
"""Events sent and not acknowledged, at most; the broker may allow fewer."""
SETTLE_S = 10.0
"""After a broker's restart, subscribers come back in the same seconds as this device. An MQTT 5 broker says when nobody
received an event; for so long it is then sent again, one at a time, until somebody does."""
AGAIN_S = 0.2
REFUSED_S = 10.0
"""Between attempts to send what the broker's access list or quota refuses: it is kept until that is mended."""

_NO_SUBSCRIBER = 16
_MAY_PASS_LATER = {128: "unspecified", 131: "implementation", 135: "not authorized", 151: "quota"}


class Delivery:
    """Used by the connection's thread only; made anew for each connection."""

    def __init__(
        self,
        outbox: Outbox,
        session: Session,
        topic: str,
        expiry_s: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._session = session
        self._topic = topic
        self._expiry_s = expiry_s
        self._clock = clock
        self._numbers: dict[int, int] = {}
        """MQTT message id -> the outbox's number."""
        self._not_before = 0.0
        self._settle_until = clock() + SETTLE_S if session.is_mqtt5 else 0.0
        self._event_problem: str | None = None
        self._other_problem: str | None = None

    @property
    def problem(self) -> str | None:
        """One sentence while the broker refuses what is published; None when all is well."""
        return self._event_problem or self._other_problem

    def settle(self) -> None:
        """No more waiting for subscribers: the connection is about to be closed."""
        self._settle_until = 0.0

    def send(self) -> None:
        """As many events as the window takes now."""
        now = self._clock()
        window = 1 if now < self._settle_until else WINDOW
        if now < self._not_before:
            return
        self._not_before = 0.0
        while len(self._numbers) < window and self._session.room > 0 and (entry := self._outbox.take()):
            mid = self._session.publish(self._topic, entry.payload, qos=1, retain=False, expiry_s=self._expiry_s)
            self._numbers[mid] = entry.number

    def wait_s(self, longest_s: float) -> float:
        """How long nothing needs to be sent."""
        return min(longest_s, max(0.0, self._not_before - self._clock())) if self._not_before else longest_s

    def acknowledged(self, answers: Iterable[Acknowledgement]) -> None:
        """The broker's answers, to events and to everything else that was published."""
        for answer in answers:
            number = self._numbers.pop(answer.mid, None)
            if answer.code in _MAY_PASS_LATER:
                problem = f"it refuses what is published: {answer.text}; check its access list"
                if number is None:
                    self._other_problem = problem
                else:
                    self._event_problem = problem
                    self._again(REFUSED_S)
            elif number is None:
                continue
            elif answer.code == _NO_SUBSCRIBER and self._clock() < self._settle_until:
                self._again(AGAIN_S)
            else:
                self._not_before = 0.0
                if answer.code >= 128:
                    log.error("an event is given up: the broker will never take it (%s)", answer.text)
                    self._outbox.give_up(number)
                    continue
                if answer.code == 0:
                    self._settle_until = 0.0
                    self._event_problem = None
                self._outbox.acknowledge(number)

    def _again(self, delay_s: float) -> None:
        """From the oldest unacknowledged on, so that order holds; answers still under way no longer count."""
        self._outbox.rewind()
        self._numbers.clear()
        self._not_before = self._clock() + delay_s
