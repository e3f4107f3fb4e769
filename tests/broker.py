"""A real mosquitto of one's own: started, stopped, killed and restarted on its own port, with options; and a subscriber
that keeps what it receives."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge.embedded_broker import HOST, find_mosquitto, free_port, stop_process, wait_until_listening

WAIT_S = 30.0
"""Generous: a loaded machine is slow."""


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> None:
    """Until the condition holds; a failure that says what was awaited."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout_s:g} s in vain for {what}")
        time.sleep(0.01)


class Mosquitto:
    """One broker with a port and a folder of its own. ``options`` are lines of mosquitto.conf after the listener's."""

    def __init__(self, folder: Path, *options: str, anonymous: bool = True) -> None:
        program = find_mosquitto()
        if program is None:
            pytest.skip("mosquitto is not installed: apt install mosquitto")
        self._program = program
        self.port = free_port()
        self._config = folder / f"mosquitto-{self.port}.conf"
        self.log = folder / f"mosquitto-{self.port}.log"
        lines = [f"listener {self.port} {HOST}", f"allow_anonymous {str(anonymous).lower()}", "persistence false"]
        lines += ["user root"] if os.geteuid() == 0 else []
        self._config.write_text("\n".join([*lines, *options]) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://{HOST}:{self.port}"

    @property
    def tls_url(self) -> str:
        """By name, since a certificate is made out to one."""
        return f"mqtts://localhost:{self.port}"

    def start(self) -> Self:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [self._program, "-c", str(self._config), "-v"], stdout=output, stderr=output
            )
        if not wait_until_listening(self.port, self._process, WAIT_S):
            raise AssertionError(f"mosquitto did not start: {self.log.read_text(errors='replace')}")
        return self

    def stop(self) -> None:
        """A clean stop: it tells its clients."""
        if self._process is not None:
            self._thaw()
            stop_process(self._process)
            self._process = None

    def kill(self) -> None:
        """kill -9: it tells nobody and saves nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._thaw()

    def _thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self if self._process is not None else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def password_option(folder: Path, username: str, password: str) -> str:
    """The mosquitto.conf line of a password file with one user."""
    path = folder / "passwords"
    path.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(path), username, password], check=True, timeout=WAIT_S)
    return f"password_file {path}"


def acl_option(folder: Path, *lines: str) -> str:
    """The mosquitto.conf line of an access control list."""
    path = folder / "acl"
    path.write_text("\n".join(lines) + "\n")
    return f"acl_file {path}"


@dataclass(frozen=True)
class Certificates:
    """A certificate authority, and a server and a client certificate it signed. PEM files."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path

    def options(self, require_client: bool = False) -> tuple[str, ...]:
        """The mosquitto.conf lines of a TLS listener."""
        lines = (f"cafile {self.ca}", f"certfile {self.server}", f"keyfile {self.server_key}")
        return (*lines, "require_certificate true") if require_client else lines


def make_certificates(folder: Path, host: str = "localhost") -> Certificates:
    """With openssl, valid for a day. ``host``: the name the server's certificate is made out to."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=WAIT_S, cwd=folder)

    ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *ec, "-days", "1", "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem")
    for name, subject in (("server", host), ("client", "door")):
        (folder / f"{name}.ext").write_text(f"subjectAltName=DNS:{subject}\n")
        openssl("req", *ec, "-subj", f"/CN={subject}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", "1", "-extfile", f"{name}.ext", "-out", f"{name}.pem"),
        )
    return Certificates(*(folder / n for n in ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")))


@dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    expiry_s: int | None

    @property
    def text(self) -> str:
        return self.payload.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


@dataclass
class Subscriber:
    """Receives everything, reconnects by itself, and publishes for the test."""

    port: int
    username: str | None = None
    password: str | None = None
    topic: str = "#"
    qos: int = 1
    messages: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._subscribed = threading.Event()
        self._client = client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        if self.username is not None:
            client.username_pw_set(self.username, self.password)
        client.on_connect = lambda c, *_: c.subscribe(self.topic, qos=self.qos)
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_disconnect = lambda *_: self._subscribed.clear()
        client.on_message = lambda _c, _u, m: self.messages.append(
            Message(m.topic, bytes(m.payload), m.qos, m.retain, getattr(m.properties, "MessageExpiryInterval", None))
        )
        client.connect_async(HOST, self.port, keepalive=30)
        # paho counts in whole seconds; a test of restarts must not wait so long.
        client._reconnect_min_delay = client._reconnect_max_delay = 0.05  # type: ignore[assignment]
        client.loop_start()

    def wait_subscribed(self) -> Self:
        wait_for(self._subscribed.is_set, "the subscription")
        return self

    def publish(self, topic: str, payload: str | bytes, retain: bool = False, qos: int = 1) -> None:
        """Returns when the broker has it."""
        self._client.publish(topic, payload, qos=qos, retain=retain).wait_for_publish(WAIT_S)

    def on(self, suffix: str) -> list[Message]:
        """What came on topics that end so, in order."""
        return [m for m in list(self.messages) if m.topic.endswith(suffix)]

    def wait(self, suffix: str, count: int = 1, timeout_s: float = WAIT_S) -> list[Message]:
        """Until so many messages came on topics that end so."""
        wait_for(
            lambda: len(self.on(suffix)) >= count,
            f"{count} messages on {suffix}, got {len(self.on(suffix))}",
            timeout_s,
        )
        return self.on(suffix)

    def wait_text(self, suffix: str, text: str) -> None:
        """Until the latest message there says so."""
        wait_for(lambda: [m.text for m in self.on(suffix)[-1:]] == [text], f"{suffix} = {text}")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def subscriber(
    port: int, username: str | None = None, password: str | None = None, topic: str = "#", qos: int = 1
) -> Iterator[Subscriber]:
    """A Subscriber for the length of the block, subscribed before it begins."""
    client = Subscriber(port, username, password, topic, qos)
    try:
        yield client.wait_subscribed()
    finally:
        client.close()
