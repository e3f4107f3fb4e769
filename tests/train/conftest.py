"""The real FER-2013 rows, written out and read once a session, where the development data is there."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.devdata import fer2013
from train.data import Dataset, load_dataset, read_dataset


class FerFiles(NamedTuple):
    csv: Path
    """fer2013.csv in its published format; Training and PublicTest rows."""
    ferplus: Path
    """fer2013new.csv, row by row the same."""


@pytest.fixture(scope="session")
def fer_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FerFiles]:
    script = fer2013() / "write_csv.py"
    folder = tmp_path_factory.mktemp("fer2013")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True, timeout=240)
    yield FerFiles(folder / "fer2013.csv", folder / "fer2013new.csv")
    shutil.rmtree(folder)  # 270 MB that pytest would keep


@pytest.fixture(scope="session")
def fer_raw(fer_files: FerFiles) -> Dataset:
    """Every row as it is published, with FER+ votes. Read-only: shared by all tests."""
    return read_dataset(fer_files.csv, ferplus=fer_files.ferplus)


@pytest.fixture(scope="session")
def fer_clean(fer_files: FerFiles) -> Dataset:
    """As ``train fit`` gets it. Read-only: shared by all tests."""
    return load_dataset(fer_files.csv, ferplus=fer_files.ferplus)
