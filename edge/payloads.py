"""What subscribers receive: records in, JSON-ready dictionaries out. Pure functions, no clock.

The shape of each is published as a JSON Schema in ``edge/schemas``. Shares and probabilities keep four digits, times
and durations milliseconds: more is noise and bytes. Never pixels.
"""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.records import EmotionEvent, Identity, State, Stats, Status

Payload = dict[str, Any]

EVENT_SCHEMA = "emotion-edge/event/1"
STATE_SCHEMA = "emotion-edge/state/1"
STATUS_SCHEMA = "emotion-edge/status/1"
STATS_SCHEMA = "emotion-edge/stats/1"

ONLINE = "online"
OFFLINE = "offline"

SCHEMA_DIR = Path(__file__).with_name("schemas")


def load_schema(name: str) -> Payload:
    """The JSON Schema ``edge/schemas/<name>.schema.json``: event, state, status, stats, availability or command."""
    schema: Payload = json.loads((SCHEMA_DIR / f"{name}.schema.json").read_text(encoding="utf-8"))
    return schema


def encode(payload: Payload) -> bytes:
    """Compact JSON in ASCII, so that a file name which is not valid UTF-8 can't stop an event. Raises ValueError on NaN
    or infinity, which JSON does not have."""
    return json.dumps(payload, allow_nan=False, separators=(",", ":")).encode("ascii")


def rfc3339(time: datetime) -> str:
    """``2026-01-31T23:59:59.123Z``. Raises ValueError for a time without a zone: it can't be told to anyone else."""
    if time.tzinfo is None:
        raise ValueError(f"a time with its zone was expected, {time.isoformat()} has none; use datetime.now(UTC)")
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_payload(event: EmotionEvent, identity: Identity) -> Payload:
    """One face's start, change or end. ``time`` is when it happened, however late it is sent."""
    return {
        "schema": EVENT_SCHEMA,
        "event_type": event.event_type.value,
        "id": event.id,
        "track_id": event.track_id,
        "seq": event.seq,
        "time": rfc3339(event.time),
        "emotion": event.emotion,
        "previous": event.previous,
        "confidence": round(float(event.confidence), 4),
        "probabilities": {label: round(float(p), 4) for label, p in event.probabilities.items()},
        "duration_s": round(float(event.duration_s), 3),
        "box": [round(float(edge), 4) for edge in event.box],
        "camera": identity.camera,
        "model": {"name": identity.model_name, "version": identity.model_version},
        "backend": event.backend,
    }


def state_payload(state: State) -> Payload:
    """The foremost face, for a dashboard."""
    return {
        "schema": STATE_SCHEMA,
        "emotion": state.emotion,
        "confidence": round(float(state.confidence), 4),
        "faces": state.faces,
        "track_id": state.track_id,
    }


def status_payload(status: Status, identity: Identity) -> Payload:
    """The appliance's health and what it runs."""
    return {
        "schema": STATUS_SCHEMA,
        "health": status.health,
        "reasons": list(status.reasons),
        "backend": status.backend,
        "detector": status.detector,
        "camera": status.camera,
        "version": identity.software_version,
        "model": {"name": identity.model_name, "version": identity.model_version},
        "uptime_s": round(float(status.uptime_s)),
    }


def stats_payload(stats: Stats) -> Payload:
    """The last minute's figures; null where this machine can't tell or nothing was measured."""
    return {
        "schema": STATS_SCHEMA,
        "fps": _figure(stats.fps, 2),
        "latency_p50_ms": _figure(stats.latency_p50_ms, 1),
        "latency_p95_ms": _figure(stats.latency_p95_ms, 1),
        "dropped_frames": stats.dropped_frames,
        "rss_mb": _figure(stats.rss_mb, 1),
        "reconnects": stats.reconnects,
        "outbox": stats.outbox,
        "events_discarded": stats.events_discarded,
        "changes_withheld": stats.changes_withheld,
        "temperature_c": _figure(stats.temperature_c, 1),
        "throttled": stats.throttled,
    }


def switch_payload(value: bool | float) -> bytes:
    """The retained mirror of a switch: ON, OFF or a plain number."""
    if isinstance(value, bool):
        return b"ON" if value else b"OFF"
    return f"{value:.4f}".rstrip("0").rstrip(".").encode()


def _figure(value: float | None, digits: int) -> float | None:
    """Rounded; None for what was not measured, a percentile of nothing (NaN) included."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), digits)
