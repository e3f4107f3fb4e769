"""The doctor: each check on a machine made to be well, and to be ill."""

import socket
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.checkup import Finding, devices, examine, software, surroundings
from edge.fetch import YUNET_FILE
from edge.heat import Board
from edge.settings import (
    CameraSettings,
    ClassifierSettings,
    DetectorSettings,
    DeviceSettings,
    LifeSettings,
    MqttSettings,
    Settings,
)
from tests import devdata
from tests.broker import Mosquitto, password_option
from tests.devdata import ROOT

CLIP = ROOT / "edge" / "demo" / "astronaut.mp4"
TINY = ROOT / "tests" / "golden" / "tiny7"


def verdicts(findings: Iterable[Finding]) -> list[str]:
    listed = list(findings)
    for finding in listed:
        assert len(finding.found.splitlines()) == 1
        assert bool(finding.mend) == (finding.verdict != "ok"), finding
    return [finding.verdict for finding in listed]


def one(findings: Iterable[Finding]) -> Finding:
    (finding,) = findings
    verdicts([finding])
    return finding


@pytest.mark.parametrize(
    ("version", "verdict"), [((3, 11, 2), "ok"), ((3, 13, 0), "ok"), ((3, 10, 9), "fail"), ((3, 14, 0), "fail")]
)
def test_python(version: tuple[int, ...], verdict: str) -> None:
    assert one(software.python(version)).verdict == verdict


def test_packages_and_runtime_of_this_environment() -> None:
    assert verdicts(software.packages()) == ["ok"] * 3
    assert one(software.runtime()).verdict == "ok"


def test_a_package_that_can_not_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "PACKAGES", {"numpy": "numpy", "no_such_module": "no-such-package"})
    broken = list(software.packages())[1]
    assert broken.verdict == "fail"
    assert "requirements-edge.txt" in broken.mend


def test_opencv_without_haar_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "PACKAGES", {"cv2": "opencv-python-headless"})
    monkeypatch.delattr(cv2, "CascadeClassifier")
    assert one(software.packages()).verdict == "warn"
    monkeypatch.delattr(cv2, "FaceDetectorYN")
    assert one(software.packages()).verdict == "fail"


def test_a_whole_bundle_answers_its_golden_inputs(tmp_path: Path) -> None:
    assert one(software.bundle(ClassifierSettings(bundle=TINY))).verdict == "ok"
    for file in TINY.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    model = next(tmp_path.glob("*int8*.tflite"))
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    damaged = one(software.bundle(ClassifierSettings(bundle=tmp_path)))
    assert damaged.verdict == "fail"
    assert one(software.bundle(ClassifierSettings(bundle=tmp_path / "none"))).verdict == "fail"


def test_the_detectors_file(tmp_path: Path) -> None:
    def found(**detector: Any) -> Finding:
        return one(software.detector(Settings(detector=DetectorSettings(**detector))))

    missing = found(model=tmp_path / "none.onnx")
    assert (missing.verdict, missing.mend) == ("warn", "python -m edge fetch")
    assert found(kind="haar").found == "haar"
    assert found(kind="yunet", model=tmp_path / "none.onnx").verdict == "fail"
    unmade = found(kind="yunet-tflite", model=tmp_path / "face")
    assert unmade.verdict == "fail"
    assert unmade.mend.startswith("python -m convert detector")
    assert found(model=devdata.yunet()).found == "yunet"
    (tmp_path / "damaged.onnx").write_bytes(devdata.yunet().read_bytes()[:-1] + b"!")
    assert "is damaged" in found(model=tmp_path / "damaged.onnx").found
    assert YUNET_FILE.parent.name == "downloads"


def test_the_camera_gives_a_frame(tmp_path: Path) -> None:
    assert one(devices.camera(CameraSettings(source=str(CLIP)))).found.endswith("gives 640x480")
    assert one(devices.camera(CameraSettings(source=str(tmp_path / "none.mp4")))).verdict == "fail"
    assert one(devices.camera(CameraSettings(source="/dev/video77"))).verdict == "fail"
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", np.zeros((10, 20, 3), np.uint8))[1].tobytes())
    assert one(devices.camera(CameraSettings(source=str(tmp_path)))).found.endswith("gives 20x10")


def test_a_camera_that_hangs_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = f"http://127.0.0.1:{server.getsockname()[1]}/video"
        finding = one(devices.camera(CameraSettings(source=source), timeout_s=0.5))
    assert finding.verdict == "fail"
    assert "hangs" in finding.found


def usb_device(root: Path, vendor: str, product: str, speed: str, node: bool = True) -> Path:
    device = root / "sys/bus/usb/devices/2-1"
    device.mkdir(parents=True)
    for name, text in (
        ("idVendor", vendor),
        ("idProduct", product),
        ("speed", speed),
        ("busnum", "2"),
        ("devnum", "7"),
    ):
        (device / name).write_text(text + "\n")
    (root / "dev/bus/usb/002").mkdir(parents=True)
    if node:
        (root / "dev/bus/usb/002/007").touch()
    return root


def test_no_edge_tpu_is_fine_unless_one_is_wanted(tmp_path: Path) -> None:
    assert verdicts(devices.edge_tpu("auto", tmp_path)) == ["ok"]
    assert verdicts(devices.edge_tpu("cpu", tmp_path)) == ["ok"]
    assert verdicts(devices.edge_tpu("edgetpu", tmp_path)) == ["fail"]


@pytest.mark.parametrize(("vendor", "product"), [("1a6e", "089a"), ("18d1", "9302")])
def test_an_edge_tpu_before_and_after_its_first_inference(tmp_path: Path, vendor: str, product: str) -> None:
    root = usb_device(tmp_path, vendor, product, "5000")
    assert verdicts(devices.edge_tpu("auto", root, lambda _: "libedgetpu.so.1")) == ["ok", "ok"]
    assert verdicts(devices.edge_tpu("auto", root, lambda _: None)) == ["ok", "warn"]
    assert verdicts(devices.edge_tpu("edgetpu", root, lambda _: None)) == ["ok", "fail"]


def test_a_slow_port_and_a_closed_device(tmp_path: Path) -> None:
    root = usb_device(tmp_path, "18d1", "9302", "480", node=False)
    found = list(devices.edge_tpu("auto", root, lambda _: "libedgetpu.so.1"))
    assert verdicts(found) == ["warn", "ok", "fail"]
    assert "USB 2" in found[0].found
    assert "plugdev" in found[2].mend


def test_the_unrelated_pycoral_is_warned_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pycoral").mkdir()
    (tmp_path / "pycoral" / "__init__.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = list(devices.edge_tpu("auto", tmp_path))
    assert found[0].name == "pycoral"
    assert "uninstall" in found[0].mend


@pytest.mark.parametrize(
    ("word", "temperature", "wanted"),
    [
        (None, None, ["ok"]),
        (None, "45000", ["ok"]),
        (None, "78000", ["warn"]),
        ("0", "45000", ["ok", "ok"]),
        ("50000", "45000", ["ok", "warn"]),
        ("50005", "81000", ["warn", "warn", "warn"]),
    ],
)
def test_heat_and_power(tmp_path: Path, word: str | None, temperature: str | None, wanted: list[str]) -> None:
    if temperature:
        zone = tmp_path / "class/thermal/thermal_zone0"
        zone.mkdir(parents=True)
        (zone / "temp").write_text(temperature)
    if word:
        firmware = tmp_path / "devices/platform/soc/soc:firmware"
        firmware.mkdir(parents=True)
        (firmware / "get_throttled").write_text(word)
    assert verdicts(devices.heat(LifeSettings(), Board(tmp_path))) == wanted


def test_the_broker_lets_the_device_in_or_says_why_not(tmp_path: Path) -> None:
    device = DeviceSettings(id="door")
    assert one(surroundings.broker(MqttSettings(), device)).verdict == "ok"
    with Mosquitto(tmp_path, password_option(tmp_path, "camera", "right"), anonymous=False) as broker:
        refused = one(surroundings.broker(MqttSettings(broker=broker.url), device))
        assert refused.verdict == "fail"
        secret = tmp_path / "secret"
        secret.write_text("right")
        settings = MqttSettings(broker=broker.url, username="camera", password_file=secret)
        assert one(surroundings.broker(settings, device)).found.endswith("with MQTT 5")
    assert one(surroundings.broker(MqttSettings(broker=broker.url), device)).verdict == "fail"


def test_a_broker_that_is_no_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        settings = MqttSettings(broker=f"mqtt://127.0.0.1:{port}")
        assert one(surroundings.broker(settings, DeviceSettings())).verdict == "fail"


def test_the_state_folder(tmp_path: Path) -> None:
    assert one(surroundings.state_dir(DeviceSettings(state_dir=tmp_path / "a" / "b"))).verdict == "ok"
    assert not (tmp_path / "a").exists(), "the doctor changes nothing"
    (tmp_path / "file").write_text("")
    assert one(surroundings.state_dir(DeviceSettings(state_dir=tmp_path / "file"))).verdict == "warn"


def test_the_clock() -> None:
    def unknown() -> int:
        raise OSError("not permitted")

    assert one(surroundings.clock(lambda: 0.0)).verdict == "fail"
    assert one(surroundings.clock(lambda: 1.8e9, lambda: 0)).verdict == "ok"
    assert one(surroundings.clock(lambda: 1.8e9, lambda: 5)).verdict == "warn"
    assert one(surroundings.clock(lambda: 1.8e9, unknown)).verdict == "ok"
    assert surroundings.kernel_clock_state() in range(6)


def test_memory(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 1000000 kB\nMemAvailable:  900000 kB\n")
    assert one(surroundings.memory(LifeSettings(), meminfo)).verdict == "ok"
    meminfo.write_text("MemTotal: 1000000 kB\nMemAvailable:  90000 kB\n")
    assert one(surroundings.memory(LifeSettings(), meminfo)).verdict == "warn"
    assert one(surroundings.memory(LifeSettings(), tmp_path / "none")).verdict == "ok"


def test_a_check_that_breaks_is_a_finding() -> None:
    def broken() -> Iterator[Finding]:
        yield Finding("x", "ok", "fine")
        raise ZeroDivisionError("two\nlines")

    assert verdicts(examine("x", broken())) == ["fail"]
