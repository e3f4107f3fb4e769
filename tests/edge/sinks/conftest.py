"""A broker and sinks for one test, closed after it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.records import Identity
from edge.settings import MqttSettings
from edge.sinks.mqtt import MqttSink
from edge.switches import SwitchBoard
from tests.broker import Mosquitto
from tests.edge.sinks.records_made import IDENTITY

MakeSink = Callable[..., MqttSink]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
def make_sink(tmp_path: Path) -> Iterator[MakeSink]:
    """make_sink(url, state_dir=..., identity=..., **settings): an MqttSink in a hurry to reconnect."""
    made: list[MqttSink] = []

    def make(url: str, state_dir: Path | None = None, identity: Identity = IDENTITY, **changes: Any) -> MqttSink:
        folder = state_dir or tmp_path / "state"
        folder.mkdir(exist_ok=True)
        settings = MqttSettings(**{"broker": url, "reconnect_min_s": 0.05, "reconnect_max_s": 0.3, **changes})
        made.append(MqttSink(settings, identity, folder, SwitchBoard(folder, 0.45)))
        return made[-1]

    yield make
    for sink in made:
        sink.close()
