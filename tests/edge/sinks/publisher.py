"""A process to be killed: publishes so many faces' events, says so, then waits for its end.

python -m tests.edge.sinks.publisher BROKER_URL STATE_DIR FACES [connected]
"""

import sys
import time
from pathlib import Path

from edge.settings import MqttSettings
from edge.sinks.mqtt import MqttSink
from edge.switches import SwitchBoard
from tests.edge.sinks.records_made import IDENTITY, a_stream


def main() -> None:
    url, folder, faces = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    settings = MqttSettings(broker=url, reconnect_min_s=0.05, reconnect_max_s=0.3)
    sink = MqttSink(settings, IDENTITY, folder, SwitchBoard(folder, 0.45))
    while "connected" in sys.argv and not sink.connected:
        time.sleep(0.01)
    for event in a_stream(faces):
        sink.event(event)
    print("ready", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main()
