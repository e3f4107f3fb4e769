"""Both embedded brokers carry a message, and leave nothing behind."""

import socket
import threading
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge.embedded_broker import EmbeddedBroker, embedded_broker, find_mosquitto
from edge.errors import BrokerError
from tests.broker import wait_for


def round_trip(broker: EmbeddedBroker) -> None:
    """A retained message and a live one, by MQTT 3.1.1, which both brokers speak."""
    got: list[bytes] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "round-trip", protocol=mqtt.MQTTv311)
    client.on_message = lambda _c, _u, m: got.append(bytes(m.payload))
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        client.publish("a/retained", b"kept", qos=1, retain=True).wait_for_publish(10)
        client.subscribe("a/#", qos=1)
        wait_for(lambda: got, "the retained message")
        client.publish("a/live", b"now", qos=1).wait_for_publish(10)
        wait_for(lambda: len(got) >= 2, "the live message")
    finally:
        client.disconnect()
        client.loop_stop()
    assert got == [b"kept", b"now"]


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
def test_carries_messages_then_is_gone(kind: str) -> None:
    if kind == "mosquitto" and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    with embedded_broker(None if kind == "mosquitto" else "") as broker:
        assert broker.name.startswith(f"{kind} ")
        assert broker.url == f"mqtt://127.0.0.1:{broker.port}"
        round_trip(broker)
    wait_for(lambda: not is_listening(broker.port), "the port to be free again")
    assert not any(thread.name == "amqtt" for thread in threading.enumerate())


def test_two_at_once() -> None:
    with embedded_broker("") as one, embedded_broker("") as two:
        assert one.port != two.port
        round_trip(one)
        round_trip(two)


def test_a_broker_that_ends_at_once_is_named(tmp_path: Path) -> None:
    program = tmp_path / "mosquitto"
    program.write_text("#!/bin/sh\necho 'Error: no licence to broke' >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(BrokerError, match="no licence to broke"), embedded_broker(str(program)):
        pass
