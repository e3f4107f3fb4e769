"""open_source: the adapter a text stands for, turned, and nothing else imported."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.cameras.open import open_source
from edge.errors import ConfigError
from edge.settings import CameraSettings


@pytest.mark.parametrize(("degrees", "turns"), [(0, 0), (90, -1), (180, 2), (270, 1)])
def test_pictures_are_turned_clockwise(tmp_path: Path, degrees: int, turns: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    source = open_source(CameraSettings(source=str(tmp_path), rotate_deg=degrees), fast=True)
    frame = source.read()
    assert frame is not None
    assert np.array_equal(frame.image, np.rot90(picture, turns))
    assert (source.live, source.name, source.read()) == (False, str(tmp_path), None)
    source.close()


def test_another_angle_is_a_configuration_error(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ConfigError, match=r"rotate_deg: expected 0, 90, 180 or 270, got 45"):
        open_source(CameraSettings(source=str(tmp_path), rotate_deg=45))


def test_only_the_chosen_adapter_is_imported(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    program = """
import sys
from edge.cameras.open import open_source
from edge.settings import CameraSettings
open_source(CameraSettings(source=sys.argv[1]))
print(*sorted(name for name in sys.modules if name.startswith(("edge.cameras.", "picamera2"))))
"""
    output = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    expected = {"capture", "image_file", "image_folder", "open", "source"}
    assert set(output.split()) == {f"edge.cameras.{name}" for name in expected}
