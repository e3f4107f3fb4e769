"""MqttSink against a real mosquitto: what it says, keeps and survives."""

import contextlib
import random
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge.embedded_broker import embedded_broker
from edge.outbox import Outbox
from edge.records import Identity, State, Stats, Status
from edge.sinks.mqtt_delivery import Delivery
from edge.sinks.mqtt_session import Session, Waker
from tests.broker import WAIT_S, Message, Mosquitto, Subscriber, acl_option, subscriber, wait_for
from tests.devdata import ROOT
from tests.edge.sinks.conftest import MakeSink
from tests.edge.sinks.records_made import a_stream, an_event
from tests.edge.sinks.test_payloads import VALIDATORS

STATUS = Status("ok", (), "cpu:tflite-runtime", "haar", "ok", 12.3)
STATS = Stats(15.0, 20.0, 30.0, 0, 80.0, 0)


def ids(messages: list[Message]) -> list[str]:
    """Of events, repeats dropped as a subscriber would."""
    return list(dict.fromkeys(message.json["id"] for message in messages))


def expect_ids(client: Subscriber, expected: list[str]) -> None:
    """All of them, in order, none but them."""
    with contextlib.suppress(AssertionError):  # the comparison below says more
        wait_for(lambda: len(ids(client.on("/event"))) >= len(expected), f"{len(expected)} events")
    assert ids(client.on("/event")) == expected


def test_everything_is_published_as_specified(broker: Mosquitto, make_sink: MakeSink) -> None:
    sink = make_sink(broker.url, event_expiry_s=3600)
    with subscriber(broker.port) as live:
        sink.state(State("happy", 0.91234, 1, 3))
        sink.status(STATUS)
        wait_for(lambda: sink.connected, "the connection")
        sink.event(an_event(0))
        sink.stats(STATS)
        live.wait("/event")
        live.wait("/stats")
    event, stats = live.on("/event")[0], live.on("/stats")[0]
    assert (event.topic, event.qos, event.retain) == ("emotion/door/event", 1, False)
    assert event.expiry_s is not None
    assert 0 < event.expiry_s <= 3600
    assert (stats.qos, stats.retain) == (0, False)

    with subscriber(broker.port) as late:
        for suffix in ("availability", "state", "status", "detect/state", "privacy/state", "threshold/state"):
            late.wait(f"/{suffix}")
    assert {m.topic: (m.qos, m.retain) for m in late.messages} == {
        f"emotion/door/{suffix}": (1, True)
        for suffix in ("availability", "state", "status", "detect/state", "privacy/state", "threshold/state")
    }
    kept = {m.topic.removeprefix("emotion/door/"): m for m in late.messages}
    assert kept["availability"].text == "online"
    assert [kept[f"{name}/state"].text for name in ("detect", "privacy", "threshold")] == ["ON", "OFF", "0.45"]
    VALIDATORS["event"].validate(event.json)
    VALIDATORS["stats"].validate(stats.json)
    VALIDATORS["state"].validate(kept["state"].json)
    VALIDATORS["status"].validate(kept["status"].json)
    VALIDATORS["availability"].validate(kept["availability"].text)
    assert sink.health() is None


def test_state_and_status_are_published_on_change(broker: Mosquitto, make_sink: MakeSink) -> None:
    sink = make_sink(broker.url)
    with subscriber(broker.port) as client:
        for n in range(20):
            sink.state(State("happy", 0.9, 1, 1))
            sink.status(Status("ok", (), "cpu", "haar", "ok", float(n)))
        client.wait("/state")
        client.wait("door/status")
        sink.state(State("sad", 0.9, 1, 1))
        sink.status(Status("degraded", ("no accelerator",), "cpu", "haar", "ok", 21.0))
        wait_for(lambda: client.on("door/state")[-1].json["emotion"] == "sad", "the new state")
        wait_for(lambda: client.on("door/status")[-1].json["health"] == "degraded", "the new status")
        assert len(client.on("door/state")) <= 3
        assert len(client.on("door/status")) <= 3


def test_a_clean_close_sends_what_waits_then_offline(broker: Mosquitto, make_sink: MakeSink, tmp_path: Path) -> None:
    sink = make_sink(broker.url)
    with subscriber(broker.port) as client:
        wait_for(lambda: sink.connected, "the connection")
        stream = a_stream(20)
        for event in stream:
            sink.event(event)
        sink.close()
        sink.close()
        client.wait_text("/availability", "offline")
        assert [m.json["id"] for m in client.on("/event")] == [event.id for event in stream]
        order = [m.topic for m in client.messages if m.topic.endswith(("/event", "/availability"))]
        assert order[-1].endswith("/availability")
    assert len(Outbox(tmp_path / "state" / "outbox.sqlite", 100)) == 0
    assert not any(thread.name == "mqtt" for thread in threading.enumerate())


def test_a_run_that_ends_before_the_connection_is_made_still_delivers(broker: Mosquitto, make_sink: MakeSink) -> None:
    with subscriber(broker.port) as client:
        sink = make_sink(broker.url)
        sink.event(an_event(0))
        sink.close()
        assert len(client.wait("/event")) == 1
        client.wait_text("/availability", "offline")


def test_the_same_over_mqtt_311_where_the_broker_rejects_5(make_sink: MakeSink, tmp_path: Path) -> None:
    with embedded_broker("") as amqtt:
        sink = make_sink(amqtt.url)
        got: list[tuple[str, bytes]] = []
        client = mqtt.Client(CallbackAPIVersion.VERSION2, "listener", protocol=mqtt.MQTTv311)
        client.on_message = lambda _c, _u, m: got.append((m.topic, bytes(m.payload)))
        client.connect("127.0.0.1", amqtt.port)
        client.subscribe("emotion/#", 1)
        client.loop_start()
        try:
            wait_for(lambda: sink.connected, "the connection by MQTT 3.1.1")
            wait_for(lambda: ("emotion/door/availability", b"online") in got, "online")
            client.publish("emotion/door/privacy/set", b"ON", qos=1)
            wait_for(lambda: [c for c in sink.commands() if c.name == "privacy"], "the command")
            wait_for(lambda: ("emotion/door/privacy/state", b"ON") in got, "the mirror")
            for event in a_stream(5):
                sink.event(event)
            sink.close()
            wait_for(lambda: got[-1] == ("emotion/door/availability", b"offline"), "offline, last")
            assert len([topic for topic, _ in got if topic.endswith("/event")]) == 15
        finally:
            client.disconnect()
            client.loop_stop()


def test_ten_broker_kills_lose_and_reorder_nothing(broker: Mosquitto, make_sink: MakeSink) -> None:
    sink = make_sink(broker.url)
    stream = a_stream(faces=80, changes=2)
    # QoS 0 on this side: at QoS 1 paho, failing to send its own acknowledgement to a dead broker, throws away what it
    # has received and not read. The device's side, at QoS 1, is what is tested.
    with subscriber(broker.port, qos=0) as client:
        wait_for(lambda: sink.connected, "the connection")
        rounds = [stream[i : i + 32] for i in range(0, len(stream), 32)]
        assert len(rounds) == 10
        for number, part in enumerate(rounds, start=1):
            for index, event in enumerate(part):
                sink.event(event)
                if index == len(part) // 2:
                    broker.kill()
            broker.start()
            wait_for(lambda: sink.reconnects >= number and sink.connected, f"reconnection {number}")  # noqa: B023
        expect_ids(client, [event.id for event in stream])
        seqs = list(dict.fromkeys(m.json["seq"] for m in client.on("/event")))
        assert seqs == list(range(len(stream))), "no gap, in order"
        client.wait_text("/availability", "online")
    assert sink.events_discarded == 0
    assert sink.reconnects == 10


class CuttingProxy:
    """Between a client and a broker: each connection is cut after a random number of bytes, in either direction, so
    in the middle of packets, and with acknowledgements lost on the way."""

    def __init__(self, to_port: int, cuts: int, seed: int) -> None:
        self._rng = random.Random(seed)
        self._to_port = to_port
        self.cuts_left = cuts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port: int = self._listener.getsockname()[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                with client, socket.create_connection(("127.0.0.1", self._to_port)) as broker:
                    self._carry(client, broker)

    def _carry(self, client: socket.socket, broker: socket.socket) -> None:
        budget = self._rng.choice([self._rng.randrange(400), self._rng.randrange(20000)]) if self.cuts_left else 10**9
        other = {client: broker, broker: client}
        while not self._stop.is_set():
            for source in select.select([client, broker], [], [], 0.05)[0]:
                try:
                    data = source.recv(min(4096, budget))
                    other[source].sendall(data)
                except OSError:
                    return
                budget -= len(data)
                if budget <= 0:
                    self.cuts_left -= 1
                if not data or budget <= 0:
                    return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_connections_cut_in_the_middle_of_packets_lose_and_reorder_nothing(
    broker: Mosquitto, make_sink: MakeSink, seed: int
) -> None:
    stream = a_stream(faces=50)
    with subscriber(broker.port) as client, CuttingProxy(broker.port, cuts=25, seed=seed) as proxy:
        sink = make_sink(f"mqtt://127.0.0.1:{proxy.port}")
        for event in stream:
            sink.event(event)
            wait_for(lambda: sink.outbox < 40, "the backlog to shrink")
        expect_ids(client, [event.id for event in stream])
        wait_for(lambda: sink.outbox == 0, "every acknowledgement")
        sink.close()
    assert proxy.cuts_left < 25


def test_events_from_before_a_kill_in_mid_outage_are_delivered_after_the_restart(
    broker: Mosquitto, make_sink: MakeSink, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    broker.kill()
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.edge.sinks.publisher", broker.url, str(state), "50"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGKILL)
    child.wait(WAIT_S)
    child.stdout.close()

    broker.start()
    with subscriber(broker.port) as client:
        sink = make_sink(broker.url, state_dir=state)
        later = an_event(7777)
        sink.event(later)
        expected = [*a_stream(50), later]
        expect_ids(client, [event.id for event in expected])
        assert client.on("/event")[0].json["time"] == "2026-01-01T00:00:00.000Z", (
            "when it happened, not when it was sent"
        )


def test_a_killed_process_is_offline_by_its_will(broker: Mosquitto, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.edge.sinks.publisher", broker.url, str(tmp_path), "1", "connected"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    assert child.stdout is not None
    try:
        with subscriber(broker.port) as client:
            assert child.stdout.readline() == "ready\n"
            client.wait_text("/availability", "online")
            child.send_signal(signal.SIGKILL)
            client.wait_text("/availability", "offline")
    finally:
        child.kill()
        child.wait(WAIT_S)
        child.stdout.close()


def test_a_frozen_broker_counts_as_away_and_gets_everything_when_it_thaws(
    broker: Mosquitto, make_sink: MakeSink, tmp_path: Path
) -> None:
    sink = make_sink(broker.url)
    with subscriber(broker.port) as client:
        wait_for(lambda: sink.connected, "the connection")
        sink.event(an_event(0))
        expect_ids(client, [an_event(0).id])
        broker.freeze()
        for n in range(1, 40):
            sink.event(an_event(n))
        wait_for(lambda: sink._outbox.durable, "the events to go to disk")
        broker.thaw()
        expect_ids(client, [an_event(n).id for n in range(40)])
        wait_for(lambda: sink.outbox == 0 and not sink._outbox.durable, "the disk to be left alone again")


def test_an_event_that_nobody_received_just_after_a_restart_waits_for_subscribers(
    broker: Mosquitto, make_sink: MakeSink
) -> None:
    """MQTT alone would lose it: the broker takes it, and no subscriber has come back yet."""
    sink = make_sink(broker.url)
    wait_for(lambda: sink.connected, "the connection")
    for event in a_stream(3):
        sink.event(event)
    with subscriber(broker.port) as client:
        expect_ids(client, [event.id for event in a_stream(3)])


def test_the_broker_forgets_and_is_told_everything_again(broker: Mosquitto, make_sink: MakeSink) -> None:
    sink = make_sink(broker.url)
    sink.state(State("happy", 0.9, 1, 1))
    sink.status(STATUS)
    wait_for(lambda: sink.connected, "the connection")
    broker.kill()
    broker.start()
    with subscriber(broker.port) as client:
        for suffix in ("/availability", "/state", "door/status", "detect/state", "privacy/state", "threshold/state"):
            client.wait(suffix)
        client.publish("emotion/door/detect/set", "OFF")
        wait_for(lambda: [c for c in sink.commands() if c.value is False], "a command after the restart")


def test_only_its_own_topics_are_subscribed(broker: Mosquitto, make_sink: MakeSink) -> None:
    sink = make_sink(broker.url)
    wait_for(lambda: sink.connected, "the connection")
    wait_for(lambda: "Sending SUBACK" in broker.log.read_text(), "the subscription")
    subscribed = [line.split("\t")[-1] for line in broker.log.read_text().splitlines() if "(QoS" in line]
    assert subscribed == [
        f"emotion/door/{suffix} (QoS 1)" for suffix in ("detect/set", "privacy/set", "threshold/set", "cmd/restart")
    ]


def test_what_an_access_list_refuses_is_said_and_kept_until_it_is_mended(
    make_sink: MakeSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.sinks.mqtt_delivery.REFUSED_S", 0.2)
    option = acl_option(tmp_path, "topic read #")
    with Mosquitto(tmp_path, option) as broker, subscriber(broker.port) as client:
        sink = make_sink(broker.url)
        for event in a_stream(10):
            sink.event(event)
        wait_for(lambda: "refuses what is published" in (sink.health() or ""), "the refusal to be said")
        acl_option(tmp_path, "topic readwrite #")
        assert broker._process is not None
        broker._process.send_signal(signal.SIGHUP)
        expect_ids(client, [event.id for event in a_stream(10)])
        wait_for(lambda: sink.outbox == 0, "the outbox to empty")


def test_a_broker_that_takes_one_message_at_a_time_gets_them_one_at_a_time(make_sink: MakeSink, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, "max_inflight_messages 1") as broker, subscriber(broker.port) as client:
        sink = make_sink(broker.url)
        sink.state(State("happy", 0.9, 1, 1))
        sink.status(STATUS)
        for event in a_stream(20):
            sink.event(event)
        expect_ids(client, [event.id for event in a_stream(20)])
        client.wait_text("/availability", "online")
        assert sink.reconnects == 0


def test_two_devices_with_one_id_are_told_so(broker: Mosquitto, make_sink: MakeSink, tmp_path: Path) -> None:
    one = make_sink(broker.url)
    wait_for(lambda: one.connected, "the first")
    two = make_sink(broker.url, state_dir=tmp_path / "other")
    said: set[str] = set()

    def both_said() -> bool:
        said.update(filter(None, (one.health(), two.health())))
        return any("device.id" in text for text in said)

    wait_for(both_said, "the reason")


def test_a_full_outbox_gives_up_changes_and_counts_them(broker: Mosquitto, make_sink: MakeSink) -> None:
    broker.kill()
    sink = make_sink(broker.url, outbox_events=30)
    stream = a_stream(10, changes=2)
    for event in stream:
        sink.event(event)
    assert (sink.outbox, sink.events_discarded) == (30, 10)
    broker.start()
    with subscriber(broker.port) as client:
        changes = [e.id for e in stream if e.event_type == "change"]
        expect_ids(client, [e.id for e in stream if e.id not in changes[:10]])


def test_other_threads_never_wait_for_the_network(make_sink: MakeSink, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name that is never resolved, for one."""
    never = threading.Event()

    class Stuck(Session):
        def __init__(self, *_: object) -> None:
            never.wait(60)
            raise AssertionError("the test took longer than the network")

    monkeypatch.setattr("edge.sinks.mqtt.Session", Stuck)
    monkeypatch.setattr("edge.sinks.mqtt.CLOSE_S", 0.2)
    sink = make_sink("mqtt://127.0.0.1:1")
    for event in a_stream(10):
        sink.event(event)
    sink.state(State("none", 0.0, 0, None))
    sink.status(STATUS)
    sink.stats(STATS)
    assert sink.commands() == []
    sink.close()
    assert not never.is_set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_thread_reaches_the_main_thread(
    broker: Mosquitto, make_sink: MakeSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(self: Delivery) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Delivery, "send", bug)
    sink = make_sink(broker.url)
    sink._outbox.append("kept", False, b"kept")
    wait_for(lambda: sink._link.crash, "the end of the thread")
    with pytest.raises(RuntimeError, match="a bug"):
        sink.event(an_event(0))
    assert "the thread that publishes ended" in (sink.health() or "")
    sink.close()
    assert len(Outbox(tmp_path / "state" / "outbox.sqlite", 10)) == 1


def test_nothing_leaks_over_many_reconnects(broker: Mosquitto, make_sink: MakeSink) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    sink = make_sink(broker.url)
    wait_for(lambda: sink.connected, "the connection")
    before, threads = descriptors(), threading.active_count()
    for number in range(1, 6):
        broker.kill()
        broker.start()
        wait_for(lambda: sink.reconnects >= number and sink.connected, "the reconnection")  # noqa: B023
    assert threading.active_count() == threads
    assert descriptors() <= before + 1


def test_waker_never_blocks() -> None:
    waker = Waker()
    for _ in range(100_000):
        waker.wake()
    waker.close()
    waker.wake()


def test_two_devices_do_not_disturb_each_other(broker: Mosquitto, make_sink: MakeSink, tmp_path: Path) -> None:
    door = make_sink(broker.url)
    hall = make_sink(broker.url, tmp_path / "hall", Identity("hall", "usb:0", "emotion", "1", "0.1.0"))
    with subscriber(broker.port) as client:
        client.publish("emotion/hall/privacy/set", "ON")
        wait_for(lambda: [c.name for c in hall.commands()] == ["privacy"], "the command")
        assert list(door.commands()) == []
        client.wait_text("hall/privacy/state", "ON")
        client.wait_text("door/privacy/state", "OFF")
