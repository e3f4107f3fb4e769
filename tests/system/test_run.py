"""``run`` from start to SIGTERM with a real broker, and what it answers to bad input."""

import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest

from edge.cameras.video_file import VideoFile
from edge.payloads import load_schema
from tests.broker import Mosquitto, Subscriber, password_option, subscriber, wait_for
from tests.devdata import ROOT
from tests.edge.cameras.mjpeg_server import MjpegServer, Mode
from tests.system.conftest import Edge

CLIP = ROOT / "edge" / "demo" / "astronaut.mp4"
LOADED_S = 10.0
"""In place of the 2 s a stop may take, where the machine is busy with something else."""


def stop_s() -> float:
    """How long a stop may take: 2 s on a machine that has a CPU to spare."""
    return 2.0 if os.getloadavg()[0] < (os.cpu_count() or 1) else LOADED_S


def check_payloads(client: Subscriber) -> None:
    """Every JSON payload against its published schema."""
    for name in ("event", "state", "status", "stats"):
        validator = jsonschema.Draft202012Validator(load_schema(name))
        for message in client.on(f"/{name}"):
            if not message.topic.endswith(("detect/state", "privacy/state", "threshold/state")):
                validator.validate(message.json)


def events(client: Subscriber) -> list[tuple[str, int]]:
    return [(message.json["event_type"], message.json["track_id"]) for message in client.on("/event")]


def test_the_story_from_start_to_sigterm(edge: Edge, tiny: Path, tmp_path: Path) -> None:
    """A day in short: start, faces, commands, SIGHUP, SIGTERM; systemd and a subscriber look on."""
    systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    systemd.bind(str(tmp_path / "notify"))
    heard: list[str] = []

    def listen() -> None:
        while heard[-1:] != ["STOPPING=1"]:
            heard.append(systemd.recv(1000).decode())

    threading.Thread(target=listen, daemon=True).start()
    with Mosquitto(tmp_path) as broker, subscriber(broker.port) as client:
        client.publish("emotion/test/cmd/restart", "PRESS", retain=True)  # left from before: refused
        config = edge.config("[mqtt]\nstats_s = 1\n[judgement]\nconfidence_threshold = 0.2\n[life]\nlog_s = 1\n")
        child = edge.start(
            *("run", "--config", config, "--source", CLIP, "--bundle", tiny, "--broker", broker.url),
            NOTIFY_SOCKET=str(tmp_path / "notify"),
            WATCHDOG_USEC="2000000",
        )
        client.wait_text("test/availability", "online")
        client.wait_text("test/threshold/state", "0.2")
        status = client.wait("test/status")[-1].json
        assert (status["health"], status["detector"], status["camera"]) == ("ok", "haar", "ok")
        client.wait("test/event")
        assert events(client) == [("start", 1)]
        wait_for(lambda: client.on("test/state")[-1].json["faces"] == 1, "a face in the state")

        client.publish("emotion/test/threshold/set", "0.3")
        client.wait_text("test/threshold/state", "0.3")
        client.publish("emotion/test/detect/set", "OFF")
        client.wait_text("test/detect/state", "OFF")
        wait_for(lambda: events(client)[-1] == ("end", 1), "the end of the face when detection went off")
        wait_for(lambda: client.on("test/state")[-1].json["faces"] == 0, "an empty state")
        client.publish("emotion/test/detect/set", "ON")
        wait_for(lambda: events(client)[-1] == ("start", 2), "the face again")

        client.publish("emotion/test/privacy/set", "ON")
        client.wait_text("test/privacy/state", "ON")
        wait_for(lambda: events(client)[-1] == ("end", 2), "the end of the face when privacy came on")
        wait_for(lambda: not holds(child.pid, CLIP), "the source to be closed")
        client.publish("emotion/test/privacy/set", "OFF")
        wait_for(lambda: events(client)[-1] == ("start", 3), "the face again after privacy (a file begins anew)")
        client.publish("emotion/test/nonsense/set", "ON")

        config.write_text(config.read_text() + "status_s = 'often'\n")
        child.send_signal(signal.SIGHUP)
        wait_for(lambda: any(message.startswith("RELOADING=1") for message in heard), "RELOADING")
        wait_for(lambda: heard.count("READY=1") == 2, "READY after the reload")
        client.wait("test/stats")

        asked_s = time.monotonic()
        child.send_signal(signal.SIGTERM)
        finished = edge.finish(child)
        took_s = time.monotonic() - asked_s
        client.wait_text("test/availability", "offline")
        assert finished.code == 0, finished.err
        assert took_s < stop_s()
        assert events(client)[-1] == ("end", 3)
        assert [message.json["seq"] for message in client.on("test/event")] == list(range(6))
        order = [message.topic.rpartition("/")[2] for message in client.messages]
        assert max(i for i, name in enumerate(order) if name == "event") < len(order) - 1 - order[::-1].index(
            "availability"
        ), "the end events come before offline"
        check_payloads(client)
    wait_for(lambda: heard[-1:] == ["STOPPING=1"], "STOPPING")
    assert heard[0] == "READY=1"
    assert "WATCHDOG=1" in heard
    assert any("frames/s" in message for message in heard)
    assert "life.status_s" in finished.err
    assert "command refused: cmd/restart" in finished.err
    assert "Traceback" not in finished.err
    systemd.close()


def holds(pid: int, file: Path) -> bool:
    """Whether the process has the file open."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if entry.readlink() == file:
                return True
        except OSError:
            continue
    return False


def test_switches_outlive_a_restart(edge: Edge, tiny: Path, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, subscriber(broker.port) as client:
        arguments = ("run", "--config", edge.config(), "--source", CLIP, "--bundle", tiny, "--broker", broker.url)
        child = edge.start(*arguments)
        client.wait_text("test/privacy/state", "OFF")
        client.publish("emotion/test/privacy/set", "ON")
        client.publish("emotion/test/threshold/set", "0.77")
        client.wait_text("test/threshold/state", "0.77")
        client.publish("emotion/test/cmd/restart", "PRESS")
        assert edge.finish(child).code == 1, "systemd restarts on it"
        client.wait_text("test/availability", "offline")
        client.messages.clear()
        child = edge.start(*arguments)
        client.wait_text("test/privacy/state", "ON")
        client.wait_text("test/threshold/state", "0.77")
        assert not holds(child.pid, CLIP)
        child.send_signal(signal.SIGINT)
        assert edge.finish(child).code == 0
        client.wait_text("test/availability", "offline")
        assert not client.on("/event")


def test_a_finite_file_ends_with_end_events_and_offline(edge: Edge, tiny: Path, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, subscriber(broker.port) as client:
        finished = edge(
            *("run", "--config", edge.config(), "--source", CLIP, "--bundle", tiny, "--broker", broker.url, "--fast")
        )
        assert finished.code == 0
        assert finished.out == ""
        client.wait_text("test/availability", "offline")
        assert events(client) == [("start", 1), ("end", 1), ("start", 2), ("end", 2)]
        assert {message.json["camera"] for message in client.on("/event")} == {"astronaut.mp4"}
        check_payloads(client)


def refused_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"mqtt://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("broker", [refused_port(), "mqtt://broker.invalid:1883"])
def test_a_broker_that_is_away_stops_nothing(edge: Edge, tiny: Path, broker: str) -> None:
    arguments = ("run", "--config", edge.config(), "--source", CLIP, "--bundle", tiny, "--broker", broker)
    finished = edge(*arguments, "--fast")
    assert finished.code == 0
    assert broker in finished.err
    assert "the source is at its end" in finished.err


def test_events_of_an_outage_are_delivered_by_the_next_start(edge: Edge, tiny: Path, tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    arguments = ("run", "--config", edge.config(), "--source", CLIP, "--bundle", tiny, "--broker", broker.url)
    outage = edge(*arguments, "--fast")
    assert outage.code == 0
    assert f"4 events wait for the next start in {tmp_path}/state/outbox.sqlite" in outage.err
    with broker, subscriber(broker.port) as client:
        child = edge.start(*arguments)
        client.wait("test/event", 4)
        child.send_signal(signal.SIGTERM)
        assert edge.finish(child).code == 0
        assert events(client)[:4] == [("start", 1), ("end", 1), ("start", 2), ("end", 2)]


def comings_and_goings(folder: Path, times: int) -> Path:
    """Pictures in which the clip's face is there for four of every eight."""
    folder.mkdir()
    source = VideoFile(CLIP, fast=True)
    with_face = [frame.image for frame in iter(source.read, None)][50:54]
    source.close()
    for number in range(8 * times):
        picture = with_face[number % 8] if number % 8 < 4 else np.full_like(with_face[0], 128)
        cv2.imwrite(str(folder / f"{number:04}.png"), picture)
    return folder


def lively(edge: Edge, fps: int) -> Path:
    """A configuration in which every coming and going is believed at once and a broker tried again at once."""
    return edge.config(
        f"[camera]\nfps = {fps}\n[tracking]\nmin_hits = 1\nmax_age_s = 0.1\n"
        "[mqtt]\nreconnect_min_s = 0.05\nreconnect_max_s = 0.2\n"
    )


def test_a_broker_killed_ten_times_while_running_loses_and_reorders_nothing(
    edge: Edge, tiny: Path, tmp_path: Path
) -> None:
    pictures = comings_and_goings(tmp_path / "pictures", 40)
    with Mosquitto(tmp_path) as broker, subscriber(broker.port, qos=0) as client:
        child = edge.start(
            *("run", "--config", lively(edge, fps=16), "--source", pictures, "--bundle", tiny, "--broker", broker.url)
        )
        for number in range(1, 11):
            wait_for(lambda: len(client.on("/event")) >= 4 * number, f"events before kill {number}")  # noqa: B023
            broker.kill()
            time.sleep(0.5)  # the outage, in which events happen
            broker.start()
        finished = edge.finish(child)
        assert finished.code == 0, finished.err
        client.wait_text("test/availability", "offline")
        assert finished.err.count("connected to ") == 11, finished.err
        first = {message.json["id"]: message.json for message in client.on("/event")}  # at least once: repeats go by id
        received = list(first.values())
        assert [event["seq"] for event in received] == list(range(len(received)))
        faces = [(event["event_type"], event["track_id"]) for event in received if event["event_type"] != "change"]
        assert len(faces) >= 2 * 30  # a busy machine may miss a short absence
        assert faces == [(kind, face) for face in range(1, len(faces) // 2 + 1) for kind in ("start", "end")]


def test_a_kill_in_mid_outage_loses_nothing(edge: Edge, tiny: Path, tmp_path: Path) -> None:
    pictures = comings_and_goings(tmp_path / "pictures", 30)
    broker = Mosquitto(tmp_path)
    arguments = ("run", "--config", lively(edge, fps=16), "--bundle", tiny, "--broker", broker.url)
    child = edge.start(*arguments, "--source", pictures)
    outbox = tmp_path / "state" / "outbox.sqlite-wal"
    wait_for(lambda: outbox.exists() and outbox.stat().st_size > 100_000, "events on the disk")
    child.kill()
    edge.finish(child)
    with broker, subscriber(broker.port) as client:
        assert edge(*arguments, "--source", pictures, "--fast").code == 0
        client.wait_text("test/availability", "offline")
        received = [message.json for message in client.on("/event")]
    anew = [number for number, event in enumerate(received) if event["seq"] == 0]
    assert len(anew) == 2, "the events of both runs"
    for run in (received[: anew[1]], received[anew[1] :]):
        assert len(run) > 8
        assert [event["seq"] for event in run] == list(range(len(run)))
    assert len({event["id"] for event in received}) == len(received)


@pytest.mark.parametrize(
    ("fault", "condition", "word"), [("stall", "stalled", "no frame"), ("close", "lost", ""), ("frozen", "stalled", "")]
)
def test_a_camera_that_fails_is_published_and_taken_back(
    edge: Edge, tiny: Path, tmp_path: Path, fault: Mode, condition: str, word: str
) -> None:
    with Mosquitto(tmp_path) as broker, subscriber(broker.port) as client, MjpegServer() as camera:
        child = edge.start(
            *("run", "--config", edge.config(), "--bundle", tiny, "--source", camera.url, "--broker", broker.url),
            http_proxy="",  # FFmpeg would go through it
        )

        def is_now(wanted: str) -> bool:
            told = client.on("test/status")
            return bool(told) and told[-1].json["camera"] == wanted

        wait_for(lambda: camera.open_connections and is_now("ok"), "the camera")
        camera.mode = fault
        wait_for(lambda: is_now(condition), condition)
        status = client.on("test/status")[-1].json
        assert status["health"] == "fault"
        assert any(reason.startswith("camera: ") and word in reason for reason in status["reasons"])
        camera.mode = "ok"
        wait_for(lambda: is_now("ok"), "the camera again")
        child.send_signal(signal.SIGTERM)
        assert edge.finish(child).code == 0
        check_payloads(client)


def test_a_wrong_password_is_said_and_stops_nothing(edge: Edge, tiny: Path, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    with Mosquitto(tmp_path, password_option(tmp_path, "camera", "right"), anonymous=False) as broker:
        config = edge.config(f"[mqtt]\nusername = 'camera'\npassword_file = '{secret}'\n")
        finished = edge("run", "--config", config, "--source", CLIP, "--bundle", tiny, "--broker", broker.url, "--fast")
    assert finished.code == 0
    assert "mqtt.username" in finished.err
    assert "hunter2" not in finished.err


def damaged(bundle: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of the bundle whose card was changed."""
    target.mkdir()
    for file in bundle.iterdir():
        if file.is_file():
            (target / file.name).write_bytes(file.read_bytes())
    card = json.loads((bundle / "card.json").read_text())
    change(card)
    (target / "card.json").write_text(json.dumps(card))
    return target


def make_bad(kind: str, folder: Path, tiny: Path) -> tuple[list[object], int, list[str]]:
    """Arguments, the exit code and words of the message."""
    file = folder / f"{kind}.mp4"
    match kind:
        case "missing source":
            return ["--source", file], 1, [str(file), "expected a video", "No such file", "check the path"]
        case "empty source":
            file.write_bytes(b"")
            return ["--source", file], 1, [str(file), "expected a video", "empty", "copy it again"]
        case "truncated source":
            file.write_bytes(CLIP.read_bytes()[:100_000])
            return ["--source", file], 1, [str(file), "cut off"]
        case "no video":
            file.write_text("this is text\n" * 1000)
            return ["--source", file], 1, [str(file), "expected a video", "name another"]
        case "empty folder":
            return ["--source", folder / "none"], 1, [str(folder / "none"), "expected", "check the path"]
        case "no such device":
            return ["--source", "usb:x"], 2, ["usb:x", "expected", "usb:0"]
        case "no bundle":
            return ["--bundle", folder / "none"], 1, ["card.json", "--bundle"]
        case "damaged bundle":
            bad = damaged(tiny, folder / "bundle", lambda card: None)
            model = next(bad.glob("*.tflite"))
            model.write_bytes(model.read_bytes()[:-1] + b"!")
            return ["--bundle", bad], 1, ["sha256"]
        case "other classes":
            bad = damaged(tiny, folder / "bundle", lambda card: card["labels"].pop())
            return ["--bundle", bad], 1, ["labels"]
        case "other shape":
            bad = damaged(tiny, folder / "bundle", lambda card: card["input"].update(shape=[1, 64, 64, 1]))
            return ["--bundle", bad], 1, ["48"]
        case "unknown key":
            config = folder / "bad.toml"
            config.write_text("[camera]\nsorce = 'x'\n")
            return ["--config", config], 78, ["camera.sorce", "camera.source", str(config)]
        case "no configuration":
            return ["--config", folder / "none.toml"], 78, ["none.toml"]
        case "plaintext password":
            (folder / "secret").write_text("hunter2")
            config = folder / "plain.toml"
            config.write_text(f"[mqtt]\nusername = 'a'\npassword_file = '{folder / 'secret'}'\n")
            return ["--config", config, "--broker", "mqtt://example.org:1883"], 78, ["mqtts://"]
        case "broker without scheme":
            return ["--broker", "localhost:1883"], 2, ["mqtt://"]
        case "device id":
            return ["--device-id", "front door"], 2, ["device.id"]
    raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind",
    [
        "missing source",
        "empty source",
        "truncated source",
        "no video",
        "empty folder",
        "no such device",
        "no bundle",
        "damaged bundle",
        "other classes",
        "other shape",
        "unknown key",
        "no configuration",
        "plaintext password",
        "broker without scheme",
        "device id",
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(edge: Edge, tiny: Path, tmp_path: Path, kind: str) -> None:
    arguments, code, words = make_bad(kind, tmp_path, tiny)
    given = [str(argument) for argument in arguments]
    defaults: dict[str, object] = {"--config": edge.config(), "--source": CLIP, "--bundle": tiny}
    filled = [part for flag, value in defaults.items() if flag not in given for part in (flag, value)]
    finished = edge("run", "--fast", *filled, *arguments)
    assert finished.code == code, finished.err
    errors = [line for line in finished.err.splitlines() if " ERROR edge: " in line]
    assert len(errors) == 1, finished.err
    for word in words:
        assert word in errors[0]
    assert "hunter2" not in finished.err


def test_an_unknown_flag_is_a_usage_error(edge: Edge) -> None:
    finished = edge("run", "--sauce", "x")
    assert finished.code == 2
    assert "--sauce" in finished.err


def test_a_reader_that_goes_away_is_no_traceback(edge: Edge, tiny: Path) -> None:
    child = edge.start("run", "--config", edge.config(), "--source", CLIP, "--bundle", tiny, "--fast")
    assert child.stdout is not None
    child.stdout.close()
    assert child.stderr is not None
    err = child.stderr.read()
    assert child.wait(60) == 1
    assert "Traceback" not in err
    assert "standard output" in err


def mutated_command(rng: random.Random) -> tuple[str, bytes]:
    """A topic and payload near the real ones."""
    topic = rng.choice(["detect/set", "privacy/set", "threshold/set", "cmd/restart", "cmd/reboot", "detect", "event"])
    sound = {"detect/set": b"ON", "privacy/set": b"OFF", "threshold/set": b"0.5"}.get(topic, b"")
    match rng.randrange(6):
        case 0:
            return topic, bytes(rng.randrange(256) for _ in range(rng.randrange(40)))
        case 1:
            return topic, rng.choice([b"nan", b"-1", b"1e9", b"on", b"true", b"{}", b"\x00", b"0.5 ", b"9" * 5000])
        case 2:
            return topic, sound.lower() * rng.randint(0, 3)
        case 3:
            return topic, b'{"value": ' + sound + b"}"
        case 4:
            at = rng.randrange(len(sound) + 1)
            return topic, sound[:at] + bytes([rng.randrange(256)]) + sound[at:]
        case _:
            return ("detect/set", rng.choice([b"ON", b"OFF"])) if topic.startswith("cmd") else (topic, sound)


def test_five_hundred_mutated_commands(edge: Edge, tiny: Path, tmp_path: Path) -> None:
    """A clean refusal or the right action: afterwards the program runs on and the mirrors tell the truth."""
    rng = random.Random(5)
    with Mosquitto(tmp_path) as broker, subscriber(broker.port) as client:
        pictures = tmp_path / "pictures"
        pictures.mkdir()
        for index in range(400):
            cv2.imwrite(str(pictures / f"{index:03}.png"), np.full((60, 80, 3), index % 200, np.uint8))
        config = edge.config("[camera]\nfps = 5\n")
        child = edge.start("run", "--config", config, "--source", pictures, "--bundle", tiny, "--broker", broker.url)
        client.wait_text("test/availability", "online")
        for _ in range(500):
            topic, payload = mutated_command(rng)
            client.publish(f"emotion/test/{topic}", payload, retain=rng.random() < 0.05 and topic == "cmd/restart")
        client.publish("emotion/test/detect/set", "OFF")
        client.publish("emotion/test/privacy/set", "ON")
        client.publish("emotion/test/threshold/set", "0.125")
        for topic, text in (("detect", "OFF"), ("privacy", "ON"), ("threshold", "0.125")):
            client.wait_text(f"test/{topic}/state", text)
        for message in client.on("threshold/state"):
            assert 0 <= float(message.text) <= 1
        assert {message.text for message in client.on("detect/state")} <= {"ON", "OFF"}
        assert child.poll() is None
        child.send_signal(signal.SIGTERM)
        finished = edge.finish(child)
        assert finished.code == 0
        assert "Traceback" not in finished.err
        assert "refused" in finished.err


def test_sigterm_before_anything_is_open_is_clean(edge: Edge, tiny: Path) -> None:
    """As early as a service manager may send it: at any moment of the start."""
    for delay_s in (0.05, 0.3, 0.6):
        child = edge.start("run", "--config", edge.config(), "--source", CLIP, "--bundle", tiny)
        try:
            child.wait(delay_s)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGTERM)
        finished = edge.finish(child)
        assert finished.code in (0, -signal.SIGTERM)
        assert "Traceback" not in finished.err


def test_a_threshold_changed_by_sighup_is_mirrored(edge: Edge, tiny: Path, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, subscriber(broker.port) as client:
        config = edge.config()
        child = edge.start("run", "--config", config, "--source", CLIP, "--bundle", tiny, "--broker", broker.url)
        client.wait("test/status")
        config.write_text(config.read_text() + "[judgement]\nconfidence_threshold = 0.66\n")
        child.send_signal(signal.SIGHUP)
        client.wait_text("test/threshold/state", "0.66")
        child.send_signal(signal.SIGTERM)
        assert edge.finish(child).code == 0
