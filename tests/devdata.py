"""Where the development data is: faces, clips and detector weights that are not committed.

They lie in the folder named by ``EMOTION_EDGE_SHARED``, else in ``shared`` beside the checkout. A test that needs
something that is not there is skipped, and says what was missing.
"""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("EMOTION_EDGE_SHARED", ROOT.parent / "shared"))


def shared(relative: str) -> Path:
    """The path of a development file, or a skip that names it."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"development data {relative} is not in {SHARED}; set EMOTION_EDGE_SHARED to its folder")
    return path


def media(name: str) -> Path:
    return shared(f"media/{name}")


def yunet() -> Path:
    return shared("models/face_detection_yunet_2023mar.onnx")


def fer2013() -> Path:
    """The packed FER-2013 folder (faces.png, rows.csv, write_csv.py)."""
    return shared("data/fer2013")
