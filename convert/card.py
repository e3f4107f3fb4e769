"""The bundle's card: everything a device, or a person, must know about the files beside it.

The layout is edge/schemas/card.schema.json; edge/bundle.py reads it on the device.
"""

import importlib.metadata
import json
import platform
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge.bundle import CARD_SCHEMA, FER_CROPS, file_sha256
from edge.records import TensorSpec

FER_FILES = ("fer2013", "icml_face_data")
LICENCE_FER = (
    "Code and weights: Apache-2.0. The training pictures (FER-2013) were gathered from web image search for the ICML "
    "2013 challenge, for research, and have no open licence: clear the use of a network trained on them yourself. "
    "FER+ labels: MIT."
)
LICENCE_OTHER = "Code: Apache-2.0. The training pictures are the converting user's; their licence was not stated."
LIMITS = (
    "Names the expression a face shows to an annotator, not what a person feels. Labels of such data are noisy (people "
    "agree with FER-2013's on about 65 %), and rare classes are recognised worst: see the recall of each class in "
    "scores. The pictures come without age, gender, skin colour or culture, so how evenly it works across people was "
    "not measured; expect it to be uneven. Small, turned-away, blurred, covered or dark faces are judged worse. Not "
    "for decisions about people: hiring, policing, health, education, credit or access. The EU AI Act (Regulation "
    "2024/1689, article 5) forbids inferring emotions at work and in education, medical and safety reasons excepted."
)
PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "numpy")


def file_entries(folder: Path, names: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Path, hash and size of each file; names: card key -> file name."""
    return {
        key: {"path": name, "sha256": file_sha256(folder / name), "bytes": (folder / name).stat().st_size}
        for key, name in names.items()
    }


def tensor_entry(spec: TensorSpec) -> dict[str, Any]:
    return {"shape": list(spec.shape), "dtype": spec.dtype, "scale": spec.scale, "zero_point": spec.zero_point}


def crop_entries() -> dict[str, dict[str, Any]]:
    """How to cut faces so that they look like the training pictures, by detector."""
    return {name: asdict(geometry) for name, geometry in FER_CROPS.items()}


def licence_of(data: Path) -> str:
    """What can be said about a data file's licence by its name."""
    return LICENCE_FER if data.stem.lower().startswith(FER_FILES) else LICENCE_OTHER


def versions(runtimes: Iterable[str]) -> dict[str, str]:
    """Of everything that made or measured the bundle."""
    found = {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}
    return found | dict(runtime.rsplit(" ", 1) for runtime in runtimes)


def without_paths(value: Any) -> Any:
    """A recipe's values with absolute paths cut to their names: a card tells no one's home folder."""
    if isinstance(value, dict):
        return {key: without_paths(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_paths(each) for each in value]
    if isinstance(value, str) and value.startswith("/"):
        return Path(value).name
    return value


def card_text(card: dict[str, Any]) -> str:
    """The card as it is written: one field a line, diffable."""
    return json.dumps({"schema": CARD_SCHEMA, **card}, indent=2, ensure_ascii=False) + "\n"
