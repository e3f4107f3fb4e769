"""One connection to the broker, from CONNECT to its end, driven by one thread.

paho's client does the protocol. Its own thread, reconnecting and queue are not used: a fresh client a connection means
that nothing of a broken one is left, and the outbox is the only queue.
"""

import contextlib
import selectors
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.errors import BrokerError
from edge.sinks.mqtt_broker import BrokerAddress, Credentials

CONNECT_S = 5.0
"""For TCP and TLS, each."""
CONNACK_S = 5.0
CONNACK_MQTT5_S = 3.0
"""Shorter: a broker that does not know MQTT 5 may wait for ever for the rest of a packet it misreads (amqtt does)."""
LONGEST_PACKET = 16384
"""Bytes the broker may send at once: commands are short, and memory is not a subscriber's to fill."""
MQTT5, MQTT311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311

_UNSUPPORTED_PROTOCOL = 132
_HINTS = {
    133: "the broker does not accept this client id: change device.id",
    134: "check mqtt.username and the password",
    135: "check mqtt.username, the password and the broker's access list",
    138: "the broker has banned this client",
}
_GARBAGE = (ValueError, LookupError, struct.error)
"""What paho raises on packets that are not MQTT."""


class NotConnectedError(BrokerError):
    """This attempt failed; the message says why and what to check. Another may succeed."""

    def __init__(self, reason: str, try_older: bool = False) -> None:
        super().__init__(reason)
        self.try_older = try_older
        """The broker may only lack MQTT 5: such brokers refuse, hang up or say nothing."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The broker's answer to a QoS 1 publish, or to a subscription."""

    mid: int
    code: int
    """MQTT 5 reason code; 0 success, 16 no matching subscriber, 128 and above refused. Always 0 with 3.1.1."""
    text: str


@dataclass(frozen=True, slots=True)
class Incoming:
    topic: str
    payload: bytes
    retained: bool


class Waker:
    """Lets another thread end ``Session.step``'s wait."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def fileno(self) -> int:
        return self._read.fileno()

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake already; closed: nobody sleeps
            self._write.send(b"\0")

    def rest(self) -> None:
        with contextlib.suppress(OSError):
            self._read.recv(4096)

    def close(self) -> None:
        self._read.close()
        self._write.close()


class Session:
    """Connected when the constructor returns; it raises NotConnectedError otherwise, within about fifteen seconds."""

    def __init__(
        self,
        address: BrokerAddress,
        credentials: Credentials,
        client_id: str,
        protocol: MQTTProtocolVersion,
        keepalive_s: int,
        will: tuple[str, str],
        waker: Waker,
    ) -> None:
        """will: topic and payload the broker publishes, retained, if the connection breaks."""
        self.address = address
        self.protocol = protocol
        self.acknowledged: list[Acknowledgement] = []
        self.subscribed: list[Acknowledgement] = []
        self.incoming: list[Incoming] = []
        self.end_reason: str | None = None
        """Why the connection ended; None while it lasts."""
        self._receive_maximum = 65535
        self._awaited: set[int] = set()
        self._waker = waker
        self._connack: Any = None
        self._client = self._make_client(client_id, keepalive_s, credentials, will)
        self._connect(keepalive_s)
        self._await_connack()

    @property
    def is_mqtt5(self) -> bool:
        return self.protocol == MQTT5

    @property
    def room(self) -> int:
        """How many more QoS 1 messages the broker takes before it must acknowledge one; it may hang up beyond that."""
        return self._receive_maximum - len(self._awaited)

    def fileno(self) -> int:
        """For a caller that watches many sessions; -1 once the connection has ended."""
        sock: Any = self._client.socket()
        return -1 if sock is None else int(sock.fileno())

    def step(self, timeout_s: float) -> bool:
        """Wait for the network or the waker, handle what there is; False when the connection has ended."""
        sock: Any = self._client.socket()
        if sock is None:
            return self._ended()
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            timeout_s = 0.0
        try:
            readable, writable = self._wait(sock, timeout_s)
            rc = self._client.loop_read() if readable else MQTTErrorCode.MQTT_ERR_SUCCESS
            if not rc and writable and self._client.socket() is not None:
                rc = self._client.loop_write()
            if not rc and self._client.socket() is not None:
                rc = self._client.loop_misc()
        except (OSError, *_GARBAGE) as error:
            self.abandon(f"it sent something that is not MQTT ({error})")
            return False
        if rc or self._client.socket() is None:
            return self._ended()
        return True

    def publish(self, topic: str, payload: bytes | str, qos: int, retain: bool, expiry_s: int | None = None) -> int:
        """Send; returns the message id that ``acknowledged`` will name where qos is 1. expiry_s counts with MQTT 5."""
        properties = None
        if self.is_mqtt5 and expiry_s is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = expiry_s
        mid = self._client.publish(topic, payload, qos, retain, properties).mid
        if qos:
            self._awaited.add(mid)
        return mid

    def subscribe(self, topics: list[str]) -> None:
        """QoS 1; the broker's answers come in ``subscribed``. With MQTT 5 a retained message keeps its flag."""
        if self.is_mqtt5:
            self._client.subscribe([(topic, SubscribeOptions(qos=1, retainAsPublished=True)) for topic in topics])
        else:
            self._client.subscribe([(topic, 1) for topic in topics])

    def disconnect(self) -> None:
        """Say goodbye: no will."""
        self._client.disconnect()
        self.abandon("closed")

    def abandon(self, reason: str) -> None:
        """Drop the connection; the broker publishes the will unless goodbye was said."""
        self.end_reason = self.end_reason or reason
        sock: Any = self._client.socket()
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.close()

    def _make_client(self, client_id: str, keepalive_s: int, credentials: Credentials, will: tuple[str, str]) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if self.is_mqtt5 else True,
            protocol=self.protocol,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_S
        client.max_inflight_messages_set(0)  # the delivery keeps the window
        if credentials.username is not None:
            client.username_pw_set(credentials.username, credentials.password)
        if credentials.tls is not None:
            client.tls_set_context(credentials.tls)
        topic, payload = will
        client.will_set(topic, payload, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = lambda _c, _u, mid, codes, _p: self.subscribed.extend(
            Acknowledgement(mid, code.value, str(code)) for code in codes
        )
        client.on_message = lambda _c, _u, m: self.incoming.append(Incoming(m.topic, bytes(m.payload), m.retain))
        return client

    def _connect(self, keepalive_s: int) -> None:
        properties = None
        if self.is_mqtt5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = LONGEST_PACKET
        try:
            self._client.connect(self.address.host, self.address.port, keepalive_s, properties=properties)
        except socket.gaierror as error:
            raise NotConnectedError(
                f"host {self.address.host} is unknown ({error.strerror}); check mqtt.broker"
            ) from None
        except ConnectionRefusedError:
            raise NotConnectedError("nothing listens there; is the broker running, is the port right?") from None
        except TimeoutError:
            raise NotConnectedError(
                f"no answer within {CONNECT_S:g} s; is the host up, is a firewall between?"
            ) from None
        except ssl.SSLCertVerificationError as error:
            raise NotConnectedError(
                f"its certificate is not trusted ({error.verify_message}); check mqtt.ca_file and the clock"
            ) from None
        except ssl.SSLError as error:
            raise NotConnectedError(f"TLS failed ({error.reason or error}); is it a TLS port?") from None
        except ConnectionResetError:
            hint = "is it a TLS port?" if self.address.tls else "is it a broker?"
            raise NotConnectedError(f"it hung up while connecting; {hint}") from None
        except (OSError, *_GARBAGE) as error:
            raise NotConnectedError(str(error)) from None

    def _await_connack(self) -> None:
        within_s = CONNACK_MQTT5_S if self.is_mqtt5 else CONNACK_S
        deadline = time.monotonic() + within_s
        while self._connack is None and self.step(max(0.0, deadline - time.monotonic())):
            if time.monotonic() > deadline:
                self.abandon("no answer")
                raise NotConnectedError(
                    f"it does not answer MQTT's CONNECT within {within_s:g} s; is it a broker?", self.is_mqtt5
                )
        if self._connack is None:
            # Brokers without MQTT 5 may say so, hang up or answer with a packet of their own version.
            raise NotConnectedError(
                "it hung up before answering; is it a broker, does the port want TLS (mqtts://)?", self.is_mqtt5
            )
        if self._connack.is_failure:
            code = self._connack.value
            self.abandon("refused")
            hint = f"; {_HINTS[code]}" if code in _HINTS else ""
            raise NotConnectedError(
                f"the broker refuses the connection: {self._connack}{hint}",
                self.is_mqtt5 and code == _UNSUPPORTED_PROTOCOL,
            )

    def _wait(self, sock: Any, timeout_s: float) -> tuple[bool, bool]:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._client.want_write() else 0)
        with selectors.DefaultSelector() as selector:
            selector.register(sock, wanted)
            selector.register(self._waker, selectors.EVENT_READ)
            ready = {key.fileobj: events for key, events in selector.select(timeout_s)}
        if self._waker in ready:
            self._waker.rest()
        events = ready.get(sock, 0)
        pending = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        return bool(events & selectors.EVENT_READ) or pending, bool(events & selectors.EVENT_WRITE)

    def _ended(self) -> bool:
        self.end_reason = self.end_reason or "the connection was closed"
        return False

    def _on_connect(self, _client: Client, _data: object, _flags: object, code: Any, properties: Any) -> None:
        self._connack = code
        self._receive_maximum = getattr(properties, "ReceiveMaximum", self._receive_maximum)

    def _on_publish(self, _client: Client, _data: object, mid: int, code: Any, _properties: object) -> None:
        if mid in self._awaited:  # paho also calls this for what it has sent with QoS 0
            self._awaited.remove(mid)
            self.acknowledged.append(Acknowledgement(mid, code.value, str(code)))

    def _on_disconnect(self, _client: Client, _data: object, flags: Any, code: Any, _properties: object) -> None:
        # paho may call this twice; the first reason counts.
        if self.end_reason is None:
            by_broker = flags.is_disconnect_packet_from_server
            self.end_reason = f"the broker ended the connection: {code}" if by_broker else "connection lost"
