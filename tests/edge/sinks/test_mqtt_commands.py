"""Commands: validated, mirrored, kept over restarts; anything else refused without harm."""

import random
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.errors import CommandError
from edge.records import Command
from edge.sinks.mqtt import MqttSink
from edge.sinks.mqtt_commands import TOPICS, parse_command
from edge.switches import SwitchBoard, Switches
from tests.broker import Mosquitto, Subscriber, subscriber, wait_for
from tests.edge.sinks.conftest import MakeSink
from tests.edge.sinks.test_payloads import VALIDATORS

texts = st.text(max_size=20) | st.sampled_from(["ON", "OFF", "PRESS", "0.5"]) | st.text("0.1ONFe-_ \n", max_size=18)


def collect(sink: MqttSink, taken: list[Command]) -> list[Command]:
    """All commands so far."""
    taken += sink.commands()
    return taken


@pytest.mark.parametrize(
    ("suffix", "payload", "command"),
    [
        ("detect/set", b"ON", Command("detect", True)),
        ("detect/set", b"off\n", Command("detect", False)),
        ("privacy/set", b"On", Command("privacy", True)),
        ("threshold/set", b"0.45", Command("threshold", 0.45)),
        ("threshold/set", b"1", Command("threshold", 1.0)),
        ("threshold/set", b".5", Command("threshold", 0.5)),
        ("cmd/restart", b"PRESS", Command("restart")),
    ],
)
def test_commands(suffix: str, payload: bytes, command: Command) -> None:
    assert parse_command(suffix, payload, retained=False) == command


@pytest.mark.parametrize(
    ("suffix", "payload"),
    [
        ("detect/set", b""),
        ("detect/set", b"1"),
        ("detect/set", "o\ufb00".encode()),  # a ligature whose upper case is OFF
        ("privacy/set", b"ON" + b" " * 1000),
        ("threshold/set", b"nan"),
        ("threshold/set", b"1.01"),
        ("threshold/set", b"-0.1"),
        ("threshold/set", b"0_1"),
        ("threshold/set", b"1e-1"),
        ("threshold/set", "٠.٥".encode()),
        ("threshold/set", b"0." + b"0" * 5000),
        ("cmd/restart", b""),
        ("cmd/restart", b"ON"),
        ("cmd/reboot", b"PRESS"),
        ("state", b"ON"),
    ],
)
def test_refusals(suffix: str, payload: bytes) -> None:
    with pytest.raises(CommandError) as raised:
        parse_command(suffix, payload, retained=False)
    assert "expected" in str(raised.value)
    assert len(str(raised.value)) < 300


@given(st.sampled_from(sorted(TOPICS)), st.binary(max_size=40) | texts.map(str.encode), st.booleans())
@example("threshold/set", b"\xff\xfe", False)
def test_any_bytes_are_a_command_or_one_line_of_refusal(suffix: str, payload: bytes, retained: bool) -> None:
    try:
        command = parse_command(suffix, payload, retained)
    except CommandError as error:
        assert str(error).isprintable()
    else:
        assert command.name == TOPICS[suffix]
        assert not (retained and suffix.startswith("cmd/"))
        if command.name == "threshold":
            assert isinstance(command.value, float)
            assert 0 <= command.value <= 1


@given(st.sampled_from(sorted(TOPICS)), texts)
def test_what_the_published_schema_allows_is_accepted(suffix: str, text: str) -> None:
    if VALIDATORS["command"].is_valid({suffix: text}) and not text.endswith("\n"):
        parse_command(suffix, text.encode(), retained=False)


def test_commands_are_in_force_mirrored_and_kept(broker: Mosquitto, make_sink: MakeSink, tmp_path: Path) -> None:
    sink = make_sink(broker.url)
    with subscriber(broker.port) as client:
        client.wait_text("threshold/state", "0.45")
        client.publish("emotion/door/privacy/set", "ON")
        client.publish("emotion/door/threshold/set", "0.6")
        client.publish("emotion/door/detect/set", "OFF")
        client.publish("emotion/door/cmd/restart", "PRESS")
        taken: list[Command] = []
        wait_for(lambda: len(collect(sink, taken)) == 4, "four commands")
        assert taken == [
            Command("privacy", True),
            Command("threshold", 0.6),
            Command("detect", False),
            Command("restart"),
        ]
        client.wait_text("privacy/state", "ON")
        client.wait_text("threshold/state", "0.6")
        client.wait_text("detect/state", "OFF")
    sink.close()
    assert SwitchBoard(tmp_path / "state", 0.45).current == Switches(False, True, 0.6)
    again = make_sink(broker.url)
    with subscriber(broker.port) as client:
        client.wait_text("availability", "online")
        client.wait_text("privacy/state", "ON")
    assert again.commands() == []


def test_a_mirror_changes_only_when_the_main_thread_has_taken_the_command(
    broker: Mosquitto, make_sink: MakeSink
) -> None:
    sink = make_sink(broker.url)
    with subscriber(broker.port) as client:
        client.wait_text("privacy/state", "OFF")
        client.publish("emotion/door/privacy/set", "ON")
        wait_for(lambda: sink._commands.qsize() == 1, "the command")
        assert [m.text for m in client.on("privacy/state")] == ["OFF"]
        sink.commands()
        client.wait_text("privacy/state", "ON")


def test_a_retained_restart_is_refused_and_a_retained_switch_is_taken(broker: Mosquitto, make_sink: MakeSink) -> None:
    with subscriber(broker.port) as client:
        client.publish("emotion/door/cmd/restart", "PRESS", retain=True)
        client.publish("emotion/door/privacy/set", "ON", retain=True)
        sink = make_sink(broker.url)
        taken: list[Command] = []
        wait_for(lambda: collect(sink, taken) and sink.commands_refused, "both to be handled")
        assert taken == [Command("privacy", True)]
        assert sink.commands_refused == 1


def test_a_restart_that_is_retained_while_connected_is_refused_too(broker: Mosquitto, make_sink: MakeSink) -> None:
    """It would be done again at the next connect; with MQTT 5 the flag reaches a subscriber that is there as well."""
    sink = make_sink(broker.url)
    wait_for(lambda: broker.log.exists() and "Sending SUBACK to door" in broker.log.read_text(), "the subscription")
    with subscriber(broker.port) as client:
        client.publish("emotion/door/cmd/restart", "PRESS", retain=True)
        client.publish("emotion/door/privacy/set", "ON")
        taken: list[Command] = []
        wait_for(lambda: collect(sink, taken), "the command after it")
        assert taken == [Command("privacy", True)]
        assert sink.commands_refused == 1


def test_a_flood_is_bounded(broker: Mosquitto, make_sink: MakeSink) -> None:
    sink = make_sink(broker.url)
    wait_for(lambda: sink.connected, "the connection")
    with subscriber(broker.port) as client:
        wait_for(lambda: "Sending SUBACK to door" in broker.log.read_text(), "the subscription")
        for n in range(300):
            client._client.publish("emotion/door/threshold/set", f"0.{n:03d}", qos=1)
        wait_for(lambda: sink.commands_refused == 200, "the rest to be refused")
        assert len(sink.commands()) == 100


def mutate(rng: random.Random, text: bytes) -> bytes:
    """Bytes dropped, doubled, flipped, swapped; now and then something else altogether."""
    data = bytearray(text)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[at:at] = bytes([rng.randrange(256)])
            case 1:
                del data[at : at + 1]
            case 2:
                data[at:at] = data[at : at + 3]
            case 3:
                data[at : at + 1] = bytes(byte ^ 1 << rng.randrange(8) for byte in data[at : at + 1])
            case _:
                data = data.swapcase()
    return bytes(data) if rng.random() > 0.05 else rng.randbytes(rng.choice([0, 1, 100, 20000]))


def plainly_meant(suffix: str, payload: bytes, retained: bool) -> Command | None:
    """What a person would say the message asks for: an oracle that shares nothing with the parser."""
    text = payload.decode("latin-1").strip(" \t\n\r\x0b\x0c")
    if len(payload) > 32:
        return None
    switch = {"on": True, "off": False}.get(text.lower()) if text.isascii() else None
    if suffix in ("detect/set", "privacy/set"):
        return None if switch is None else Command(suffix.split("/")[0], switch)
    if suffix == "threshold/set":
        digits = text.replace(".", "", 1)
        number = (
            digits.isascii() and digits.isdigit() and len(text) <= 16 and not (len(digits) > 1 and text[:2].isdigit())
        )
        return Command("threshold", float(text)) if number and float(text) <= 1 else None
    return Command("restart") if suffix == "cmd/restart" and text == "PRESS" and not retained else None


def test_five_hundred_mutated_commands(broker: Mosquitto, make_sink: MakeSink) -> None:
    """A right action or a clean refusal, never another; the sink works on as if nothing had been."""
    rng = random.Random(20260131)
    good = [
        ("detect/set", b"ON"),
        ("detect/set", b"OFF"),
        ("privacy/set", b"ON"),
        ("threshold/set", b"0.45"),
        ("threshold/set", b"1"),
        ("cmd/restart", b"PRESS"),
    ]
    sink = make_sink(broker.url)
    wait_for(lambda: "Sending SUBACK to door" in broker.log.read_text(), "the subscription")
    taken: list[Command] = []
    expected: list[Command] = []
    refused = 0
    with subscriber(broker.port, topic="emotion/door/+/state") as client:
        for _ in range(500):
            suffix, payload = rng.choice(good)
            payload = mutate(rng, payload)
            if rng.random() < 0.1:  # somewhere else: not subscribed, so not even seen
                client.publish(f"emotion/{rng.choice(['hall', 'door/x', 'door'])}/{suffix}/x", payload)
                continue
            client.publish(f"emotion/door/{suffix}", payload, retain=False, qos=rng.choice([0, 1]))
            command = plainly_meant(suffix, payload, retained=False)
            if command is not None:
                expected.append(command)
            elif len(payload) < 16000:  # longer ones the broker keeps back, as the sink asked
                refused += 1
            collect(sink, taken)
        client.publish("emotion/door/threshold/set", "0.125")
        expected.append(Command("threshold", 0.125))
        wait_for(lambda: collect(sink, taken)[-1:] == expected[-1:], "the last command")
        assert taken == expected
        assert len(expected) > 50, "the mutations leave enough good ones"
        assert refused > 200
        assert sink.commands_refused == refused
        client.wait_text("threshold/state", "0.125")
    assert sink.connected
    assert sink.reconnects == 0
    last = {command.name: command.value for command in expected}
    assert sink._switches.current == Switches(bool(last["detect"]), bool(last["privacy"]), 0.125)


def test_helpers_agree(broker: Mosquitto) -> None:
    client = Subscriber(broker.port).wait_subscribed()
    client.publish("a", b"b")
    assert client.wait("a")[0].text == "b"
    client.close()
