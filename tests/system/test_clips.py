"""The main job on real clips with the shipped bundle: what a subscriber of each clip learns."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests import devdata
from tests.system.conftest import Edge


def yunet() -> str:
    return f"[detector]\nkind = 'yunet'\nmodel = '{devdata.yunet()}'\n"


APPEARS_S = 3.973
"""noface_face.mov: a drawn sky, then a cut to a face in frame 96 (looked at frame by frame)."""

DETECTORS = {"haar": lambda: "[detector]\nkind = 'haar'\n", "yunet": yunet}


def events(edge: Edge, clip: Path, detector: str) -> list[dict[str, Any]]:
    config = edge.config(detector=DETECTORS[detector]())
    finished = edge("run", "--config", config, "--source", clip, "--fast")
    assert finished.code == 0, finished.err
    return finished.lines


def position_s(event: dict[str, Any], clip: Path) -> float:
    """Seconds into the clip: its frames are dated from the file's modification time."""
    return datetime.fromisoformat(event["time"]).timestamp() - clip.stat().st_mtime


@pytest.mark.parametrize("detector", sorted(DETECTORS))
def test_single_face_is_one_track_that_becomes_happy(edge: Edge, bundle: Path, detector: str) -> None:
    clip = devdata.media("single_face.mp4")
    got = events(edge, clip, detector)
    kinds = [event["event_type"] for event in got]
    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    assert set(kinds[1:-1]) <= {"change"}
    assert {event["track_id"] for event in got} == {1}
    assert [event["seq"] for event in got] == list(range(len(got)))
    emotions = [event["emotion"] for event in got]
    assert emotions[0] != "happy"
    assert "happy" in emotions
    before = set(emotions[: emotions.index("happy")])
    assert before <= {"neutral", "unknown", "sad"}, "it begins with a face at rest"


def test_the_same_clip_gives_the_same_transcript(edge: Edge, bundle: Path) -> None:
    clip = devdata.media("single_face.mp4")
    transcripts = [[{**event, "id": ""} for event in events(edge, clip, "haar")] for _ in range(3)]
    assert transcripts[0]
    assert transcripts[0] == transcripts[1] == transcripts[2]


@pytest.mark.parametrize("detector", sorted(DETECTORS))
def test_a_face_that_appears_late_starts_within_a_second(edge: Edge, bundle: Path, detector: str) -> None:
    clip = devdata.media("noface_face.mov")
    got = events(edge, clip, detector)
    starts = [position_s(event, clip) for event in got if event["event_type"] == "start"]
    assert starts
    assert got[0]["event_type"] == "start"
    assert APPEARS_S - 0.001 <= starts[0] <= APPEARS_S + 1.0


@pytest.mark.parametrize("detector", sorted(DETECTORS))
def test_no_face_no_event(edge: Edge, bundle: Path, detector: str) -> None:
    assert events(edge, devdata.media("no_face.mp4"), detector) == []
