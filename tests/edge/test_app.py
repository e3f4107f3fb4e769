"""The composition root's own decisions: detector, state folder, identity."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.app import Models, identity_of, open_models, state_dir_of
from edge.bundle import load_bundle
from edge.errors import BundleError, ConfigError
from edge.settings import CameraSettings, DetectorSettings, DeviceSettings, Settings
from tests import devdata
from tests.devdata import ROOT

TINY = ROOT / "tests" / "golden" / "tiny7"


def settings(state_dir: Path) -> Settings:
    return replace(Settings(), device=DeviceSettings(state_dir=state_dir))


def test_the_configured_folder_is_made_and_used(tmp_path: Path) -> None:
    assert state_dir_of(settings(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_folder_of_the_users_own_serves_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    assert state_dir_of(settings(tmp_path / "file" / "x")) == tmp_path / "home" / "emotion-edge"


def test_a_service_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd's DynamicUser: no HOME, and a user that the password file does not know."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 61234)
    assert state_dir_of(settings(tmp_path)) == tmp_path
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"device\.state_dir"):
        state_dir_of(settings(tmp_path / "file" / "x"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_auto_takes_yunet_where_its_file_is_whole(tmp_path: Path) -> None:
    bundle = load_bundle(TINY)

    def opened(**detector: Any) -> Models:
        return open_models(replace(Settings(), detector=DetectorSettings(**detector)), bundle)

    models = opened(model=devdata.yunet())
    assert (models.detector.name, models.second_best) == ("yunet", None)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(devdata.yunet().read_bytes()[:1000])
    for file in (damaged, tmp_path / "none.onnx"):
        models = opened(model=file)
        assert models.detector.name == "haar"
        assert models.second_best is not None
        assert "python -m edge fetch" in models.second_best
        for kind in ("yunet", "yunet-tflite"):
            with pytest.raises(BundleError):
                opened(kind=kind, model=file)


@pytest.mark.parametrize(
    ("source", "camera"),
    [
        ("/home/ann/clips/door.mp4", "door.mp4"),
        ("rtsp://ann:secret@10.0.0.7:554/live", "rtsp://10.0.0.7:554/live"),
        ("usb:0", "usb:0"),
    ],
)
def test_who_speaks(source: str, camera: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "front door.local")
    wanted = replace(Settings(), camera=CameraSettings(source=source))
    identity = identity_of(wanted, load_bundle(TINY))
    assert (identity.camera, identity.device_id) == (camera, "front-door-local")
    named = identity_of(replace(wanted, device=DeviceSettings(id="door")), load_bundle(TINY))
    assert named.device_id == "door"
