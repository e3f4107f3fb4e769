"""A plain MQTT subscriber, as anyone would write it: what it prints is what the device's users get."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge.errors import BrokerError

WAIT_S = 10.0


class Subscriber:
    """Prints ``topic payload`` for each message, like ``mosquitto_sub -v``."""

    def __init__(self, stream: TextIO) -> None:
        self.events: list[dict[str, Any]] = []
        self.subscribed = threading.Event()
        self.offline = threading.Event()
        """The device has said goodbye, after everything else."""
        self._stream = stream

    def receive(self, message: MQTTMessage) -> None:
        text = message.payload.decode()
        print(message.topic, text, file=self._stream, flush=True)
        if message.topic.endswith("/event"):
            self.events.append(json.loads(text))
        elif message.topic.endswith("/availability") and text == "offline":
            self.offline.set()


@contextmanager
def subscriber(host: str, port: int, topic: str, stream: TextIO) -> Iterator[Subscriber]:
    """Subscribed to ``topic`` for the length of the block. Raises BrokerError where the broker does not answer."""
    listener = Subscriber(stream)
    # 3.1.1, which every broker speaks.
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
    client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
    client.on_subscribe = lambda *_: listener.subscribed.set()
    client.on_message = lambda _client, _data, message: listener.receive(message)
    try:
        client.connect(host, port)
        client.loop_start()
        if not listener.subscribed.wait(WAIT_S):
            raise BrokerError(f"expected the broker on port {port} to take a subscription, got no answer; run it again")
        yield listener
    finally:
        client.disconnect()
        client.loop_stop()
