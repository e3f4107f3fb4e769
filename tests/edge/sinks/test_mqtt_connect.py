"""Getting connected: credentials, TLS, protocol versions, and everything that is not a broker."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.embedded_broker import free_port
from edge.errors import ConfigError
from edge.settings import MqttSettings
from edge.sinks.mqtt_broker import BrokerAddress, load_credentials, parse_broker
from edge.sinks.mqtt_link import Backoff
from tests.broker import (
    Certificates,
    Mosquitto,
    make_certificates,
    password_option,
    subscriber,
    wait_for,
)
from tests.edge.sinks.conftest import MakeSink
from tests.edge.sinks.records_made import a_stream, an_event

SECRET = "s3cret wörd"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that wants user door and SECRET."""
    with Mosquitto(tmp_path, password_option(tmp_path, "door", SECRET), anonymous=False) as broker:
        yield broker


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_refused_connection_is_not_a_connection_and_a_corrected_password_is_taken(
    guarded: Mosquitto, make_sink: MakeSink, tmp_path: Path
) -> None:
    password_file = write(tmp_path / "password", "wrong\n")
    with subscriber(guarded.port, "door", SECRET) as client:
        sink = make_sink(guarded.url, username="door", password_file=password_file)
        for event in a_stream(3):
            sink.event(event)
        wait_for(lambda: "refuses the connection: Not authorized" in (sink.health() or ""), "the refusal to be said")
        wait_for(lambda: guarded.log.read_text().count("not authorised") >= 3, "further attempts")
        assert (sink.connected, sink.reconnects, sink.outbox) == (False, 0, 9)
        write(password_file, SECRET)
        wait_for(lambda: sink.connected, "the connection")
        assert len(client.wait("/event", 9)) == 9
        assert sink.health() is None


def test_the_password_may_be_a_systemd_credential(
    guarded: Mosquitto, make_sink: MakeSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "mqtt-password", SECRET + "\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    sink = make_sink(guarded.url, username="door")
    wait_for(lambda: sink.connected, "the connection")


def test_a_port_that_nobody_listens_on_then_somebody_does(make_sink: MakeSink, tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    sink = make_sink(broker.url)
    wait_for(lambda: "nothing listens there" in (sink.health() or ""), "the reason")
    sink.event(an_event(0))
    with broker, subscriber(broker.port) as client:
        client.wait("/event")
        assert sink.health() is None
        assert sink.reconnects == 0


def test_an_unknown_host_is_said_and_tried_again(make_sink: MakeSink, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def unknown(*arguments: object, **_: object) -> list[object]:
        asked.append(arguments)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    sink = make_sink("mqtt://broker.example:1883")
    wait_for(lambda: len(asked) >= 3, "three attempts")
    assert "host broker.example is unknown" in (sink.health() or "")
    assert not sink.connected


@contextmanager
def server(answer: bytes | None, hang_up: bool) -> Iterator[tuple[int, list[bytes]]]:
    """Something that accepts connections and answers a client's first bytes. Yields its port and what came."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    stop = threading.Event()
    heard: list[bytes] = []
    kept: list[socket.socket] = []

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            kept.append(connection)
            try:
                heard.append(connection.recv(4096))
                if answer:
                    connection.sendall(answer)
            except OSError:
                pass
            if hang_up:
                connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1], heard
    finally:
        stop.set()
        thread.join()
        for connection in [*kept, listener]:
            connection.close()


@pytest.mark.parametrize(
    ("answer", "hang_up", "said"),
    [
        (bytes([0x20, 2, 0, 1]), False, "hung up|refuses|answer"),  # 3.1.1's "unacceptable protocol version"
        (bytes([0x20, 3, 0, 0x84, 0]), False, "hung up|refuses|answer"),  # MQTT 5's
        (b"", True, "hung up before answering"),
        (b"", False, "does not answer MQTT's CONNECT"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", True, "not MQTT|hung up"),
        (bytes([0x20, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]), False, "not MQTT|hung up"),
        (bytes(range(256)) * 8, False, "not MQTT|hung up"),
    ],
)
def test_what_is_not_an_mqtt5_broker_is_tried_with_311_and_named(
    make_sink: MakeSink, monkeypatch: pytest.MonkeyPatch, answer: bytes, hang_up: bool, said: str
) -> None:
    monkeypatch.setattr("edge.sinks.mqtt_session.CONNACK_S", 0.5)
    monkeypatch.setattr("edge.sinks.mqtt_session.CONNACK_MQTT5_S", 0.5)
    with server(answer, hang_up) as (port, heard):
        sink = make_sink(f"mqtt://127.0.0.1:{port}")
        sink.event(an_event(0))
        wait_for(lambda: len([c for c in heard if c]) >= 4, "both versions, twice")
        wait_for(sink.health, "the reason")
        assert re.search(said, sink.health() or ""), sink.health()
        levels = {connect[connect.index(b"MQTT") + 4] for connect in heard if b"MQTT" in connect}
        assert levels == {5, 4}
        assert (sink.connected, sink.outbox) == (False, 1)


@pytest.mark.parametrize("code", [0x85, 0x86, 0x87, 0x88, 0x8A, 0x97])
def test_every_refusal_of_an_mqtt5_broker_is_named_and_not_a_reason_for_311(make_sink: MakeSink, code: int) -> None:
    with server(bytes([0x20, 3, 0, code, 0]), hang_up=True) as (port, heard):
        sink = make_sink(f"mqtt://127.0.0.1:{port}")
        wait_for(lambda: "the broker refuses the connection: " in (sink.health() or ""), "the reason")
        wait_for(lambda: len(heard) >= 3, "further attempts")
        assert {connect[connect.index(b"MQTT") + 4] for connect in heard if b"MQTT" in connect} == {5}
        assert (sink.connected, sink.reconnects) == (False, 0)


def test_tls_with_the_authority_given(certificates: Certificates, make_sink: MakeSink, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, *certificates.options()) as broker:
        sink = make_sink(broker.tls_url, ca_file=certificates.ca)
        wait_for(lambda: sink.connected, "the connection")
        sink.event(an_event(0))
        wait_for(lambda: "emotion/door/event" in broker.log.read_text(), "the event")


def test_tls_without_the_authority_is_not_trusted(
    certificates: Certificates, make_sink: MakeSink, tmp_path: Path
) -> None:
    with Mosquitto(tmp_path, *certificates.options()) as broker:
        sink = make_sink(broker.tls_url)
        wait_for(lambda: "certificate is not trusted" in (sink.health() or ""), "the reason")
        assert not sink.connected


def test_tls_to_another_name_than_the_certificates(
    certificates: Certificates, make_sink: MakeSink, tmp_path: Path
) -> None:
    with Mosquitto(tmp_path, *certificates.options()) as broker:
        sink = make_sink(f"mqtts://127.0.0.1:{broker.port}", ca_file=certificates.ca)
        wait_for(lambda: "certificate is not trusted" in (sink.health() or ""), "the reason")


def test_a_client_certificate_where_the_broker_wants_one(
    certificates: Certificates, make_sink: MakeSink, tmp_path: Path
) -> None:
    options = (*certificates.options(require_client=True), "use_identity_as_username true")
    with Mosquitto(tmp_path, *options, anonymous=False) as broker:
        bare = make_sink(broker.tls_url, ca_file=certificates.ca)
        wait_for(bare.health, "the refusal")
        assert not bare.connected
        bare.close()
        sink = make_sink(
            broker.tls_url,
            tmp_path / "other",
            ca_file=certificates.ca,
            certificate_file=certificates.client,
            key_file=certificates.client_key,
        )
        wait_for(lambda: sink.connected, "the connection")
        assert "u'door'" in broker.log.read_text()


def test_plain_and_tls_mixed_up(certificates: Certificates, make_sink: MakeSink, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, *certificates.options()) as tls, Mosquitto(tmp_path) as plain:
        to_tls = make_sink(tls.url)
        to_plain = make_sink(plain.tls_url, tmp_path / "other", ca_file=certificates.ca)
        wait_for(lambda: "does the port want TLS" in (to_tls.health() or ""), "a hint at TLS")
        wait_for(lambda: "is it a TLS port?" in (to_plain.health() or ""), "a hint at a plain port")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://broker", ("broker", 1883, False)),
        ("mqtts://broker", ("broker", 8883, True)),
        ("mqtt://10.0.0.1:1884/", ("10.0.0.1", 1884, False)),
        ("mqtt://[::1]:1884", ("::1", 1884, False)),
    ],
)
def test_broker_urls(url: str, address: tuple[str, int, bool]) -> None:
    assert parse_broker(url) == BrokerAddress(*address)
    assert parse_broker(str(parse_broker(url))) == BrokerAddress(*address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "broker",
        "broker:1883",
        "http://broker",
        "mqtt://",
        "mqtt://:1883",
        "mqtt://b:x",
        "mqtt://b:70000",
        "mqtt://b:0",
        "mqtt://b:1883/path",
        "mqtt://b?x=1",
        "mqtt://[::1",
        "mqtt://b c",
        "mqtt://b\n",
    ],
)
def test_wrong_broker_urls(url: str) -> None:
    with pytest.raises(ConfigError, match=r"expected mqtt.broker as mqtt://host:port or mqtts://host:port, got .*; "):
        parse_broker(url)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="password_file") as raised:
        parse_broker("mqtt://door:hunter2@broker")
    assert "hunter2" not in str(raised.value)


@given(st.text(max_size=40) | st.text("mqts:/[]@.?#019ab%", max_size=40).map("mqtt://".__add__))
def test_any_text_is_an_address_or_one_line_of_explanation(text: str) -> None:
    try:
        address = parse_broker(text)
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert address.host
        assert 0 < address.port < 65536


def test_settings_that_can_never_work_are_refused_at_once(
    certificates: Certificates, make_sink: MakeSink, tmp_path: Path
) -> None:
    password = write(tmp_path / "password", SECRET)
    empty = write(tmp_path / "empty", "\n")
    remote, remote_tls, local = "mqtt://10.0.0.1", "mqtts://10.0.0.1", "mqtt://127.0.0.1"
    refused: list[tuple[dict[str, object], str]] = [
        ({"broker": remote, "username": "u", "password_file": password}, "allow_plaintext_password"),
        ({"broker": local, "password_file": password}, "mqtt.username"),
        ({"broker": local, "username": "u", "password_file": tmp_path / "none"}, "No such file"),
        ({"broker": local, "username": "u", "password_file": empty}, "is empty"),
        ({"broker": local, "username": "u", "password_file": certificates.ca.parent}, "Is a directory"),
        ({"broker": local, "ca_file": certificates.ca}, "expected TLS beside"),
        ({"broker": remote_tls, "ca_file": password}, "mqtt.ca_file"),
        ({"broker": remote_tls, "ca_file": tmp_path / "none"}, "mqtt.ca_file"),
        (
            {"broker": remote_tls, "certificate_file": certificates.client, "key_file": certificates.server_key},
            "key_file",
        ),
    ]
    for changes, said in refused:
        with pytest.raises(ConfigError, match=said) as raised:
            make_sink(str(changes.pop("broker")), **changes)
        assert len(str(raised.value).splitlines()) == 1
        assert "; " in str(raised.value), "how to mend it"
        assert SECRET not in str(raised.value)


def test_a_password_over_plain_text_goes_to_this_machine_or_where_it_is_allowed(tmp_path: Path) -> None:
    password = write(tmp_path / "password", SECRET)
    for broker, allowed in [
        ("mqtt://localhost", False),
        ("mqtt://127.3.4.5", False),
        ("mqtt://[::1]", False),
        ("mqtt://10.0.0.1", True),
        ("mqtts://10.0.0.1", False),
    ]:
        settings = MqttSettings(broker=broker, username="u", password_file=password, allow_plaintext_password=allowed)
        assert load_credentials(settings, parse_broker(broker)).password == SECRET


def test_a_file_that_vanishes_later_is_said_and_waited_for(
    guarded: Mosquitto, make_sink: MakeSink, tmp_path: Path
) -> None:
    password_file = write(tmp_path / "password", SECRET)
    sink = make_sink(guarded.url, username="door", password_file=password_file)
    wait_for(lambda: sink.connected, "the connection")
    password_file.unlink()
    guarded.kill()
    guarded.start()
    wait_for(lambda: "No such file" in (sink.health() or ""), "the reason")
    write(password_file, SECRET)
    wait_for(lambda: sink.connected, "the connection")


@given(st.floats(0.01, 10), st.floats(0.01, 1000))
def test_backoff_stays_between_its_bounds_and_grows(shortest: float, longest: float) -> None:
    backoff = Backoff(shortest, longest)
    delays = [backoff.next_s() for _ in range(30)]
    assert all(shortest / 2 <= delay <= max(shortest, longest) for delay in delays)
    assert delays[0] <= shortest
    assert delays[-1] >= max(shortest, longest) / 2
    backoff.reset()
    assert backoff.next_s() <= shortest


def test_free_ports_are_free() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        pass
