"""What a killed run resumes from: one file, replaced whole, so that it is either the old state or the new one."""

import contextlib
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import RunError, TrainingError


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Write beside ``path`` (same suffix), flush to disk, rename over it.

    Raises TrainingError where the disk is full or read-only; the old file is then intact and nothing is left behind.
    """
    part = path.with_name(f".part-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # the folder itself may be what is wrong
            part.unlink(missing_ok=True)
        raise TrainingError(
            f"could not write {path} ({error.strerror or error}); the previous one is intact: free space or permit "
            "writing there, then run the same command to resume"
        ) from error


def write_text(path: Path, text: str) -> None:
    def write(part: Path) -> None:
        part.write_text(text)

    replace_file(path, write)


def value_of(variable: Any) -> NDArray[Any]:
    """A copy of a Keras variable's value that no backend's buffer is shared with."""
    import keras  # a second or more to import: not for those who only write a report

    return np.array(keras.ops.convert_to_numpy(variable))


def save_checkpoint(path: Path, variables: list[Any], state: dict[str, Any]) -> None:
    """variables: Keras variables in a fixed order. state: plain values for JSON (epoch, best so far, history)."""
    arrays: dict[str, Any] = {f"v{index:05d}": value_of(variable) for index, variable in enumerate(variables)}
    # savez knows no bfloat16; every variable is float32 or an integer under our precision policies.
    arrays["state"] = np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez(file, **arrays)

    replace_file(path, write)


def load_checkpoint(path: Path, variables: list[Any]) -> dict[str, Any]:
    """Put a saved state back into ``variables`` and return its plain values. Raises RunError where it doesn't fit."""
    try:
        with np.load(path) as saved:
            state: dict[str, Any] = json.loads(saved["state"].tobytes())
            arrays = [saved[f"v{index:05d}"] for index in range(len(saved.files) - 1)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{path} can't be read as a checkpoint ({error}); delete it to start the run afresh") from error
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [array.shape for array in arrays]:
        raise RunError(
            f"{path} holds {len(arrays)} arrays that don't fit this network's {len(shapes)}: it was written by another "
            "version or recipe; train into a new --run folder"
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return state
