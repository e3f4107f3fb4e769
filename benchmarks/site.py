"""A site: many devices' events into one mosquitto on this machine. Is the rate held, is anything lost?

    python -m benchmarks.site [--devices 2000] [--rate 0.5] [--seconds 30]

Every device is a real MQTT 5 connection of its own (``edge.sinks.mqtt_session``) with a client id, a will, a retained
``online`` and its own topic, and sends QoS 1 events that match the published schema. One process publishes, one
subscribes to ``emotion/+/event`` and holds every device's ``seq`` against the last. Loopback only; bounded in count
and time. Exit code 1 when something was lost or the rate was not held.

A site beyond one broker needs no change on the devices, since every topic carries the device id: brokers of buildings
bridge ``emotion/#`` to a central one, or a clustered broker (EMQX, VerneMQ, HiveMQ) takes mosquitto's place.
"""

import argparse
import heapq
import json
import multiprocessing
import os
import resource
import selectors
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge.embedded_broker import HOST, EmbeddedBroker, embedded_broker, find_mosquitto
from edge.payloads import encode, event_payload
from edge.records import EmotionEvent, EventType, Identity
from edge.sinks.mqtt_broker import BrokerAddress, Credentials
from edge.sinks.mqtt_session import MQTT5, Session, Waker

DESCRIPTORS_BESIDE = 200
HELD = 0.95
"""Share of the wanted rate that counts as held."""
OPTIONS = ("max_queued_messages 0", "max_connections -1")
"""mosquitto drops a subscriber's messages beyond 1000 waiting unless told otherwise: a site's broker needs the same."""


@dataclass
class Device:
    """One simulated device."""

    number: int
    session: Session
    identity: Identity
    seq: int = 0

    def publish(self) -> None:
        kinds = (EventType.START, EventType.CHANGE, EventType.END)
        event = EmotionEvent(
            event_type=kinds[self.seq % 3],
            id=f"01{self.number:012d}{self.seq:012d}",
            track_id=self.seq // 3 + 1,
            seq=self.seq,
            time=datetime.now(UTC),
            emotion="happy",
            previous=None if self.seq % 3 == 0 else "neutral",
            confidence=0.8123,
            probabilities=dict.fromkeys(("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"), 1 / 7),
            duration_s=1.0,
            box=(0.1, 0.2, 0.3, 0.4),
            backend="cpu:tflite-runtime",
        )
        payload = encode(event_payload(event, self.identity))
        self.session.publish(f"emotion/{self.identity.device_id}/event", payload, qos=1, retain=False, expiry_s=86400)
        self.seq += 1


def subscribe(port: int, results: Connection, patience_s: float) -> None:
    """The subscriber's process: counts until the parent says how many to expect and they are there, or time is up."""
    last: dict[str, int] = {}
    counts = {"received": 0, "repeats": 0, "gaps": 0}
    delays_ms: list[float] = []

    def take(_client: Client, _data: object, message: MQTTMessage) -> None:
        event = json.loads(message.payload)
        device, seq = message.topic, event["seq"]
        expected = last.get(device, -1) + 1
        if seq < expected:
            counts["repeats"] += 1
            return
        counts["gaps"] += seq - expected
        last[device] = seq
        counts["received"] += 1
        sent = datetime.fromisoformat(event["time"])
        delays_ms.append((datetime.now(UTC) - sent).total_seconds() * 1000)

    client = Client(CallbackAPIVersion.VERSION2, "site-subscriber", protocol=MQTTProtocolVersion.MQTTv5)
    client.on_message = take
    client.on_subscribe = lambda *_: results.send("ready")
    client.connect(HOST, port)
    client.subscribe("emotion/+/event", qos=1)
    wanted, deadline = None, time.monotonic() + patience_s
    while time.monotonic() < deadline and (wanted is None or counts["received"] < wanted):
        client.loop(0.1)
        if wanted is None and results.poll():
            wanted, deadline = results.recv(), time.monotonic() + patience_s
    client.disconnect()
    quantiles = np.percentile(delays_ms, [50, 95, 100]).tolist() if delays_ms else [float("nan")] * 3
    results.send({**counts, "delays_ms": quantiles})


def connect(devices: int, port: int, waker: Waker) -> list[Device]:
    address, nobody = BrokerAddress(HOST, port, tls=False), Credentials(None, None, None)
    made = []
    for n in range(devices):
        name = f"device-{n:05d}"
        will = f"emotion/{name}/availability"
        session = Session(address, nobody, name, MQTT5, 600, (will, "offline"), waker)
        session.publish(will, "online", qos=1, retain=True)
        made.append(Device(n, session, Identity(name, "picamera", "emotion", "1", "0.1.0")))
    return made


def publish(devices: list[Device], rate: float, seconds: float) -> tuple[int, int, float]:
    """Each device sends ``rate`` events a second, evenly spread. Returns sent, acknowledged, seconds taken."""
    selector = selectors.DefaultSelector()
    for device in devices:
        selector.register(device.session, selectors.EVENT_READ, device)
    interval = 1 / rate
    begin = time.monotonic()
    due = [(begin + n * interval / len(devices), n) for n in range(len(devices))]
    heapq.heapify(due)
    total = round(len(devices) * rate * seconds)
    sent = acknowledged = 0
    sending_took = 0.0
    deadline = begin + 3 * seconds + 30
    while acknowledged < total + len(devices) and time.monotonic() < deadline:
        wait = max(0.0, due[0][0] - time.monotonic()) if sent < total else 0.1
        for key, _ in selector.select(wait):
            session: Session = key.data.session
            if not session.step(0):
                raise SystemExit(f"{key.data.identity.device_id} lost its connection: {session.end_reason}")
            acknowledged += len(session.acknowledged)
            session.acknowledged.clear()
        while sent < total and due[0][0] <= time.monotonic():
            at, n = heapq.heappop(due)
            devices[n].publish()
            heapq.heappush(due, (at + interval, n))
            sent += 1
            sending_took = time.monotonic() - begin
    return sent, acknowledged - len(devices), sending_took


def broker_use(broker: EmbeddedBroker) -> tuple[float, float]:
    """The broker's CPU seconds so far and resident megabytes, from /proc."""
    fields = Path(f"/proc/{broker.pid}/stat").read_text().rsplit(")", 1)[1].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return cpu_s, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--devices", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=0.5, help="events a second and device (0.5: thirty a minute)")
    parser.add_argument("--seconds", type=float, default=30.0)
    args = parser.parse_args()
    if find_mosquitto() is None:
        print("mosquitto is not installed: apt install mosquitto", file=sys.stderr)
        return 2
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < args.devices + DESCRIPTORS_BESIDE:
        print(
            f"{args.devices + DESCRIPTORS_BESIDE} file descriptors are needed, {hard} allowed (ulimit -n)",
            file=sys.stderr,
        )
        return 2

    with embedded_broker(options=OPTIONS) as broker:
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=subscribe, args=(broker.port, there, 3 * args.seconds + 120), daemon=True
        )
        process.start()
        if not here.poll(60) or here.recv() != "ready":
            raise SystemExit("the subscriber did not start")
        waker = Waker()
        began = time.monotonic()
        devices = connect(args.devices, broker.port, waker)
        connecting = time.monotonic() - began
        cpu_before, _ = broker_use(broker)
        sent, acknowledged, took = publish(devices, args.rate, args.seconds)
        cpu_after, rss_mb = broker_use(broker)
        here.send(sent)
        got: dict[str, Any] = (
            here.recv()
            if here.poll(3 * args.seconds + 180)
            else {"received": 0, "repeats": 0, "gaps": sent, "delays_ms": []}
        )
        process.join(10)
        for device in devices:
            device.session.disconnect()
        waker.close()

    lost = sent - got["received"]
    wanted, achieved = args.devices * args.rate, sent / took
    rows = {
        "broker": broker.name,
        "devices, one connection each": f"{args.devices}, connected in {connecting:.1f} s",
        "messages a second, wanted": f"{wanted:.0f}",
        "messages a second, achieved": f"{achieved:.0f}",
        "sent / acknowledged / received": f"{sent} / {acknowledged} / {got['received']}",
        "lost, gaps in seq, repeats": f"{lost}, {got['gaps']}, {got['repeats']}",
        "event to subscriber p50 / p95 / max ms": " / ".join(f"{ms:.1f}" for ms in got["delays_ms"]),
        "broker: share of a core, RSS": f"{(cpu_after - cpu_before) / took:.0%}, {rss_mb:.1f} MB",
    }
    for name, value in rows.items():
        print(f"{name:<42}{value}")
    held = achieved >= HELD * wanted and not lost and not got["gaps"] and acknowledged == sent
    print("rate held, nothing lost" if held else "NOT held")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
