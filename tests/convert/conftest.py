"""A small trained run and its bundle, made once a session: seven classes at 48x48 from a CSV in FER-2013's format."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from convert.__main__ import main
from convert.quantize import import_frameworks
from train.data import FER_CLASSES


class Made(NamedTuple):
    run: Path
    data: Path
    bundle: Path


def pictures(labels: list[int], classes: int, size: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Noise with a bright bar whose height says the class: (N, size, size) uint8."""
    noise = np.random.default_rng(seed).integers(0, 120, (len(labels), size, size), dtype=np.uint8)
    for image, label in zip(noise, labels, strict=True):
        top = label * size // classes
        image[top : top + size // classes] += 100
    return noise


def write_csv(path: Path, rows: dict[str, int], classes: int = 7, size: int = 48) -> Path:
    """A CSV of so many rows a class for each Usage."""
    lines = ["emotion,pixels,Usage"]
    for seed, (usage, count) in enumerate(rows.items()):
        labels = [row % classes for row in range(count * classes)]
        for label, image in zip(labels, pictures(labels, classes, size, seed), strict=True):
            lines.append(f"{label},{' '.join(map(str, image.ravel()))},{usage}")
    path.write_text("\n".join(lines) + "\n")
    return path


def small_network(classes: int, size: int) -> Any:
    """Untrained; average pooling over the width only would not tell bars apart, so the dense layer sees positions."""
    _, keras = import_frameworks()
    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input((size, size, 1))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = layers.ReLU()(layers.Conv2D(8, 5, 4, padding="same", name="first")(x))
    x = layers.ReLU(6.0)(layers.Conv2D(8, 3, 2, padding="same", name="second")(x))
    return keras.Model(inputs, layers.Dense(classes, name="logits")(layers.Flatten()(x)))


def write_run(folder: Path, network: Any, classes: tuple[str, ...], size: int) -> Path:
    folder.mkdir(parents=True)
    network.save(folder / "best.keras")
    recipe = {"schema": "emotion-edge/run/1", "classes": list(classes), "size": size, "network": "small"}
    (folder / "recipe.json").write_text(json.dumps(recipe | {"started_from": "/home/someone/other.keras"}))
    return folder


def trained(images: Any, labels: Any, classes: int) -> Any:
    """The small network, fitted until it knows the bars; still with its optimizer."""
    _, keras = import_frameworks()
    network = small_network(classes, images.shape[1])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(3e-3), loss)
    network.fit(images[..., None].astype(np.float32), np.asarray(labels), epochs=8, batch_size=32, verbose=0)
    return network


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    data = write_csv(folder / "fer2013.csv", {"Training": 30, "PublicTest": 12})
    labels = [row % 7 for row in range(210)]
    run = write_run(folder / "run", trained(pictures(labels, 7, 48, 0), labels, 7), FER_CLASSES, 48)
    bundle = folder / "emotion"
    code = main([str(run), "--out", str(bundle), "--data", str(data), "--calibration-rows", "140"])
    assert code == 0
    return Made(run, data, bundle)
