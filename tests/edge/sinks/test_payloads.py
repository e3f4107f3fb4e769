"""Every payload against its published schema, with records of every shape the types allow."""

import json
from datetime import UTC, datetime, timedelta, timezone
from io import StringIO

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator, ValidationError

from edge import payloads
from edge.errors import BrokerError
from edge.records import EmotionEvent, EventType, Identity, State, Stats, Status
from edge.sinks.stdout import JsonLinesSink
from tests.edge.sinks import records_made as made

VALIDATORS = {
    name: Draft202012Validator(payloads.load_schema(name), format_checker=Draft202012Validator.FORMAT_CHECKER)
    for name in ("event", "state", "status", "stats", "availability", "command")
}


def validate(name: str, payload: payloads.Payload) -> None:
    """What a subscriber decodes, not what was put in."""
    VALIDATORS[name].validate(json.loads(payloads.encode(payload)))


@pytest.mark.parametrize("name", VALIDATORS)
def test_each_schema_is_itself_valid(name: str) -> None:
    Draft202012Validator.check_schema(payloads.load_schema(name))


@given(made.events, made.identities)
def test_every_event_matches_its_schema(event: EmotionEvent, identity: Identity) -> None:
    validate("event", payloads.event_payload(event, identity))


@given(made.states)
def test_every_state_matches_its_schema(state: State) -> None:
    validate("state", payloads.state_payload(state))


@given(made.statuses, made.identities)
def test_every_status_matches_its_schema(status: Status, identity: Identity) -> None:
    validate("status", payloads.status_payload(status, identity))


@given(made.stats)
def test_every_stats_matches_its_schema(stats: Stats) -> None:
    validate("stats", payloads.stats_payload(stats))


def test_schemas_refuse_what_they_should() -> None:
    good = payloads.event_payload(made.an_event(0), made.IDENTITY)
    VALIDATORS["event"].validate(good)
    wrong: dict[str, object] = {
        "id": "not a ulid",
        "seq": -1,
        "time": "2026-01-01 00:00:00",
        "confidence": 1.1,
        "box": [0, 0, 1],
        "event_type": "pause",
        "emotion": "",
        "image": "pixels",
    }
    for key, value in wrong.items():
        with pytest.raises(ValidationError):
            VALIDATORS["event"].validate({**good, key: value})
    for missing in good:
        with pytest.raises(ValidationError):
            VALIDATORS["event"].validate({k: v for k, v in good.items() if k != missing})


def test_event_payload_word_for_word() -> None:
    assert payloads.event_payload(made.an_event(7, EventType.START), made.IDENTITY) == {
        "schema": "emotion-edge/event/1",
        "event_type": "start",
        "id": "01000000000000000000000007",
        "track_id": 3,
        "seq": 7,
        "time": "2026-01-01T00:00:07.000Z",
        "emotion": "happy",
        "previous": None,
        "confidence": 0.8123,
        "probabilities": {"happy": 0.8123, "neutral": 0.1877},
        "duration_s": 7.0,
        "box": [0.1, 0.2, 0.3, 0.4],
        "camera": "clip.mp4",
        "model": {"name": "emotion", "version": "1"},
        "backend": "cpu:tflite-runtime",
    }


def test_times_become_utc_and_need_a_zone() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    assert payloads.rfc3339(datetime(2026, 1, 1, 2, 0, 0, 123999, east)) == "2025-12-31T20:30:00.123Z"
    with pytest.raises(ValueError, match="zone"):
        payloads.rfc3339(datetime(2026, 1, 1))


def test_nan_is_not_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        payloads.encode({"confidence": float("nan")})


@pytest.mark.parametrize(("value", "text"), [(True, "ON"), (False, "OFF"), (0.45, "0.45"), (1.0, "1"), (0.0, "0")])
def test_switch_payloads_are_what_the_set_topic_takes(value: bool | float, text: str) -> None:
    assert payloads.switch_payload(value).decode() == text


def test_json_lines_are_the_events_and_nothing_else() -> None:
    stream = StringIO()
    sink = JsonLinesSink(stream, made.IDENTITY)
    events = made.a_stream(2)
    sink.state(State("happy", 0.5, 1, 1))
    sink.status(Status("ok", (), "cpu", "haar", "ok", 1.0))
    for event in events:
        sink.event(event)
    assert list(sink.commands()) == []
    sink.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines == [payloads.event_payload(event, made.IDENTITY) for event in events]


def test_a_reader_that_has_gone_is_said_once() -> None:
    class Pipe(StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    sink = JsonLinesSink(Pipe(), made.IDENTITY)
    with pytest.raises(BrokerError, match="its reader has gone"):
        sink.event(made.an_event(0))
    sink.event(made.an_event(1))
    sink.close()


def test_a_source_name_that_is_not_utf8_does_not_stop_an_event() -> None:
    identity = Identity("door", "clip\udcff.mp4", "emotion", "1", "0.1.0")
    assert json.loads(payloads.encode(payloads.event_payload(made.an_event(0), identity)))["camera"] == "clip\udcff.mp4"


def test_an_event_of_now_is_utc() -> None:
    assert payloads.rfc3339(datetime.now(UTC)).endswith("Z")
