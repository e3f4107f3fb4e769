"""classify, demo, doctor, bench and fetch as a user runs them."""

import json
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.bundle import load_bundle
from edge.cameras.image_file import read_image
from edge.classifiers.emotion import BundleClassifier
from edge.commands.classify import classify_photos, for_photos, judge_photo, text_of
from edge.detectors.haar import HaarDetector
from edge.detectors.yunet import YunetDetector
from edge.fetch import yunet_is_whole
from edge.runtimes.backends import open_model
from edge.settings import ClassifierSettings, JudgementSettings, Settings
from tests import devdata
from tests.devdata import ROOT
from tests.system.conftest import Edge, Finished


def rows(out: str) -> list[dict[str, Any]]:
    document = json.loads(out)
    photos: list[dict[str, Any]] = document["photos"]
    return photos


def test_two_faces_and_none(edge: Edge, bundle: Path, tmp_path: Path) -> None:
    people = devdata.media("obama_and_biden.jpg")
    mountain = devdata.media("free-mountain-vector-01.jpg")
    finished = edge("classify", people, mountain, "--out", tmp_path / "out")
    assert finished.code == 0, finished.err
    assert f"{people}: 2 faces" in finished.out
    assert f"{mountain}: no face" in finished.out
    for photo in (people, mountain):
        copy = read_image(tmp_path / "out" / f"{photo.stem}-emotions.jpg")
        original = read_image(photo)
        assert copy.shape == original.shape
        # A box was drawn where there is a face, and nothing but JPEG noise where there is none.
        changed = (np.abs(copy.astype(int) - original.astype(int)).max(axis=2) > 90).sum()
        assert (changed > 500) == (photo == people)


def test_a_photo_is_summed_up_in_words() -> None:
    face = {"emotion": "happy", "probabilities": {"happy": 0.9, "sad": 0.1}, "box": [1, 2, 3, 4]}
    other = {"reason": "turned", "box": [1, 2, 3, 4]}

    def told(faces: int, others: int) -> str:
        return text_of({"photo": "p", "faces": [face] * faces, "not_judged": [other] * others}).splitlines()[0]

    assert told(0, 0) == "p: no face"
    assert told(1, 0) == "p: 1 face"
    assert told(2, 1) == "p: 2 faces; 1 more not judged: turned"
    assert told(0, 2) == "p: no face that can be judged; 2 not judged: turned, turned"


def test_json_has_probabilities_and_boxes(edge: Edge, bundle: Path) -> None:
    finished = edge("classify", "--json", devdata.media("obama.jpg"))
    assert finished.code == 0
    (row,) = rows(finished.out)
    (face,) = row["faces"]
    assert sum(face["probabilities"].values()) == pytest.approx(1, abs=0.001)
    assert set(face["probabilities"]) == set(load_bundle(bundle).labels)
    left, top, width, height = face["box"]
    assert 0 <= left < left + width <= row["width"]
    assert 0 <= top < top + height <= row["height"]


@pytest.mark.parametrize("name", ["haar", "yunet"])
def test_two_faces_with_either_detector(bundle: Path, name: str) -> None:
    """YuNet also sees the child at the edge, who looks away: found, but not judged."""
    detector = YunetDetector(devdata.yunet(), 0.7, 1280) if name == "yunet" else HaarDetector(1280)
    loaded = load_bundle(bundle)
    classifier = BundleClassifier(open_model(loaded, ClassifierSettings(backend="cpu")), loaded)
    image = read_image(devdata.media("obama_and_biden.jpg"))
    found = judge_photo(image, detector, classifier, loaded, for_photos(Settings()).judgement)
    assert len([judged for judged in found if judged.scores]) == 2
    assert {judged.why_not for judged in found} <= {None, "turned"}


def variants(photo: np.ndarray[Any, Any], folder: Path) -> dict[str, Path]:
    """The same photo in every form a camera or program may give it."""
    grey = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)
    alpha = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    big = cv2.resize(photo, (3840, round(3840 * photo.shape[0] / photo.shape[1])))
    pictures = {"grey.png": grey, "rgba.png": alpha, "16-bit.png": photo.astype(np.uint16) * 257, "4k.jpg": big}
    paths = {}
    for name, picture in pictures.items():
        paths[name] = folder / name
        cv2.imwrite(str(paths[name]), picture)
    # On its side, with EXIF saying so (orientation 6: turn a quarter clockwise).
    lying = cv2.imencode(".jpg", cv2.rotate(photo, cv2.ROTATE_90_COUNTERCLOCKWISE))[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    paths["exif.jpg"] = folder / "exif.jpg"
    paths["exif.jpg"].write_bytes(lying[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + lying[2:])
    return paths


def test_every_kind_of_picture_is_accepted(edge: Edge, bundle: Path, tmp_path: Path) -> None:
    photo = read_image(devdata.media("obama.jpg"))
    paths = variants(photo, tmp_path)
    finished = edge("classify", "--json", *paths.values())
    assert finished.code == 0, finished.err
    for row in rows(finished.out):
        assert len(row["faces"]) == 1, row["photo"]
        assert (row["height"] > row["width"]) == (photo.shape[0] > photo.shape[1])


def test_an_unreadable_photo_is_named_and_the_others_are_done(edge: Edge, bundle: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8 no picture")
    empty = tmp_path / "empty.png"
    empty.touch()
    good = tmp_path / "good.png"
    cv2.imwrite(str(good), np.full((100, 100, 3), 128, np.uint8))
    finished = edge("classify", bad, tmp_path / "none.png", good, empty, tmp_path)
    assert finished.code == 1
    assert f"{good}: no face" in finished.out
    for path in (bad, tmp_path / "none.png", empty, tmp_path):
        assert any(str(path) in line for line in finished.err.splitlines())


def test_two_photos_of_one_name_and_an_unwritable_folder(
    tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photos = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        photos.append(tmp_path / folder / "x.png")
        cv2.imwrite(str(photos[-1]), np.full((64, 64, 3), 128, np.uint8))
    loaded = load_bundle(tiny)
    classifier = BundleClassifier(open_model(loaded, ClassifierSettings(backend="cpu")), loaded)
    arguments = (True, read_image, HaarDetector(), classifier, loaded, JudgementSettings())
    assert classify_photos(photos, tmp_path / "out", *arguments) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["x-emotions-2.png", "x-emotions.png"]
    (tmp_path / "file").touch()
    capfd.readouterr()
    assert classify_photos(photos, tmp_path / "file" / "out", *arguments) == 1
    out, err = capfd.readouterr()
    for row in rows(out):
        assert row["faces"] == [], "what was found is told all the same"
        assert "--out" in row["error"]
        assert "annotated" not in row
    assert err.count("error: expected to write") == 2


@pytest.mark.parametrize("broker", ["mosquitto", "amqtt"])
def test_the_demo_shows_what_a_subscriber_receives(edge: Edge, bundle: Path, broker: str) -> None:
    """Without a network: the one that is there in a test is a proxy nobody answers at."""
    if broker == "mosquitto":
        finished = edge("demo")
    else:
        code = "from edge.commands.demo import demo; raise SystemExit(demo(fast=True, mosquitto='', fetch=False))"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
        )
        finished = Finished(done.returncode, done.stdout, done.stderr)
    assert finished.code == 0, finished.err
    received = [line for line in finished.out.splitlines() if line.startswith("emotion/demo/event ")]
    kinds = [json.loads(line.split(" ", 1)[1])["event_type"] for line in received]
    assert kinds.count("start") == kinds.count("end") == 2
    assert "happy" in {json.loads(line.split(" ", 1)[1])["emotion"] for line in received}
    assert finished.out.index("availability offline") > finished.out.index(received[-1])
    for word in ("frames", "faces       2", "events", "latency", "detector", "runtime", f"broker      {broker}"):
        assert word in finished.out
    if not yunet_is_whole() and broker == "mosquitto":
        assert "YuNet could not be fetched, so Haar finds the faces" in finished.err
        assert "detector    haar" in finished.out


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return


def test_the_demo_fetches_yunet_once_and_then_uses_it(edge: Edge, bundle: Path, tmp_path: Path) -> None:
    """A copy of the program whose download address is a server on this machine; two runs, the second without it."""
    program = tmp_path / "program"
    shutil.copytree(ROOT / "edge", program / "edge", ignore=shutil.ignore_patterns("__pycache__"))
    (program / "models").mkdir()
    (program / "models" / "emotion").symlink_to(bundle)
    fetch = program / "edge" / "fetch.py"
    handler = partial(QuietHandler, directory=str(devdata.yunet().parent))
    code = "import edge.__main__ as m; m.set_up_logging(); from edge.commands.demo import demo; exit(demo(fast=True))"
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        moved = re.sub(r'"https://.*/([^/]*)"', rf'"http://127.0.0.1:{server.server_port}/\1"', fetch.read_text())
        fetch.write_text(moved)
        without_proxy = edge.environ | {"http_proxy": "", "PYTHONPATH": str(program)}
        for run in range(2):
            done = subprocess.run(
                [sys.executable, "-c", code],
                cwd=program,
                env=without_proxy,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert ("fetching the face detector YuNet" in done.stderr) == (run == 0)
            assert "detector yunet" in done.stderr
            assert "detector    yunet" in done.stdout
            status = [line for line in done.stdout.splitlines() if line.startswith("emotion/demo/status ")][-1]
            told = json.loads(status.split(" ", 1)[1])
            assert (told["health"], told["reasons"], told["detector"]) == ("ok", [], "yunet")
            server.shutdown()


def test_bench_times_every_stage(edge: Edge, bundle: Path) -> None:
    finished = edge("bench", "--seconds", "3", "--json")
    assert finished.code == 0, finished.err
    figures = json.loads(finished.out)
    stages = figures["stages"]
    assert set(stages) >= {"decode", "detect", "crop", "classify", "track", "publish"}
    assert sum(stage["share"] for stage in stages.values()) == pytest.approx(1, abs=0.01)
    for stage in stages.values():
        assert 0 <= stage["p50_ms"] <= stage["p95_ms"]
    assert figures["frames"] > 10
    assert figures["fps"] > 0
    assert figures["cpu_s_per_frame"] > 0
    assert figures["rss_mb"] > 20
    assert 0 <= figures["overhead_share"] < 1
    table = edge("bench", "--seconds", "1")
    assert table.code == 0
    for name in stages:
        assert name in table.out
    assert edge("bench", "--seconds", "0").code == 2
    assert edge("bench", "--source", "no-such-file.mp4").code == 1


def test_doctor_tells_and_its_exit_code_too(edge: Edge, bundle: Path) -> None:
    config = edge.config(f"[camera]\nsource = '{ROOT / 'edge/demo/astronaut.mp4'}'\n")
    finished = edge("doctor", "--config", config, "--json")
    assert finished.code == 0, finished.out
    findings = {finding["name"]: finding for finding in json.loads(finished.out)["findings"]}
    assert {"configuration", "python", "runtime", "bundle", "detector", "camera", "edge tpu", "broker"} <= set(findings)
    config.write_text(config.read_text().replace("astronaut.mp4", "none.mp4"))
    finished = edge("doctor", "--config", config)
    assert finished.code == 1
    assert "fail  camera" in finished.out
    assert "mend:" in finished.out
    config.write_text("[camera]\nsorce = 'x'\n")
    finished = edge("doctor", "--config", config)
    assert finished.code == 1
    assert "fail  configuration" in finished.out
    assert "camera.source" in finished.out


def test_fetch_without_a_network_says_what_to_do(edge: Edge) -> None:
    finished = edge("fetch")
    if yunet_is_whole():
        assert finished.code == 0
        assert finished.out.strip().endswith(".onnx")
    else:
        assert finished.code == 1
        assert "by hand" in finished.err


def test_help_and_version_name_the_commands(edge: Edge) -> None:
    finished = edge("--help")
    assert finished.code == 0
    for command in ("run", "demo", "classify", "doctor", "bench"):
        assert command in finished.out
        assert edge(command, "--help").code == 0
    assert edge("--version").out.startswith("emotion-edge ")
    assert edge().code == 2
    assert edge("fly").code == 2
