"""Records of every shape the types allow, made by hypothesis; and plain ones for tests of delivery."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st

from edge.records import EmotionEvent, EventType, Identity, State, Stats, Status

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
IDENTITY = Identity("door", "clip.mp4", "emotion", "1", "0.1.0")

words = st.text(min_size=1, max_size=20)
shares = st.floats(0, 1, width=32)
seconds = st.floats(0, 1e9)
counts = st.integers(0, 2**53)
figures = st.floats(0, 1e9) | st.just(float("nan")) | st.just(float("inf"))

identities = st.builds(Identity, st.just("door"), words, words, words, words)
ulids = st.builds(
    lambda head, tail: head + tail, st.sampled_from("01234567"), st.text(CROCKFORD, min_size=25, max_size=25)
)
times = st.datetimes(min_value=datetime(1000, 1, 2), max_value=datetime(9999, 12, 30)).flatmap(
    lambda naive: st.integers(-23, 23).map(lambda hours: naive.replace(tzinfo=timezone(timedelta(hours=hours))))
)
events = st.builds(
    EmotionEvent,
    event_type=st.sampled_from(EventType),
    id=ulids,
    track_id=st.integers(1, 2**31),
    seq=counts,
    time=times,
    emotion=words,
    previous=st.none() | words,
    confidence=shares,
    probabilities=st.dictionaries(words, shares, max_size=8),
    duration_s=seconds,
    box=st.tuples(shares, shares, shares, shares),
    backend=words,
)
states = st.builds(State, words, shares, counts, st.none() | st.integers(1, 2**31))
statuses = st.builds(
    Status,
    health=st.sampled_from(["ok", "degraded", "fault"]),
    reasons=st.lists(words, max_size=4).map(tuple),
    backend=words,
    detector=words,
    camera=st.sampled_from(["ok", "stalled", "lost"]),
    uptime_s=seconds,
)
stats = st.builds(
    Stats,
    figures,
    figures,
    figures,
    counts,
    figures,
    counts,
    counts,
    counts,
    counts,
    st.none() | st.floats(-50, 150),
    st.none() | st.booleans(),
)


def an_event(seq: int, kind: EventType = EventType.CHANGE) -> EmotionEvent:
    """A plain event whose id, time and track follow from its number."""
    return EmotionEvent(
        event_type=kind,
        id=f"01{seq:024d}",
        track_id=seq // 3 + 1,
        seq=seq,
        time=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seq),
        emotion="happy",
        previous=None if kind == EventType.START else "neutral",
        confidence=0.81234567,
        probabilities={"happy": 0.81234567, "neutral": 0.18765433},
        duration_s=float(seq),
        box=(0.1, 0.2, 0.3, 0.4),
        backend="cpu:tflite-runtime",
    )


def a_stream(faces: int, changes: int = 1) -> list[EmotionEvent]:
    """So many faces one after the other: a start, its changes, an end; seq without a gap."""
    kinds = [EventType.START, *[EventType.CHANGE] * changes, EventType.END]
    return [an_event(n, kind) for n, kind in enumerate(kinds * faces)]
