"""A folder played as a camera: order, skipped pictures, timestamps."""

import logging
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.cameras.image_folder import ImageFolder, natural_key
from edge.errors import SourceError
from edge.records import Frame


def frames(source: ImageFolder) -> list[Frame]:
    return list(iter(source.read, None))


def write(path: Path, level: int) -> None:
    assert cv2.imwrite(str(path), np.full((8, 8, 3), level, np.uint8))


def test_natural_order_and_deterministic_stamps(tmp_path: Path) -> None:
    for name, level in [("img10.png", 30), ("img2.png", 20), ("IMG1.PNG", 10)]:
        write(tmp_path / name, level)
    (tmp_path / "notes.txt").write_text("ignored")
    first, second = (frames(ImageFolder(tmp_path, fps=10, fast=True)) for _ in range(2))
    assert [int(frame.image[0, 0, 0]) for frame in first] == [10, 20, 30]
    assert [frame.sequence for frame in first] == [0, 1, 2]
    assert [frame.monotonic_s for frame in first] == pytest.approx([0, 0.1, 0.2])
    modified = datetime.fromtimestamp((tmp_path / "IMG1.PNG").stat().st_mtime, UTC)
    assert first[2].captured_at == modified + timedelta(seconds=0.2)
    assert [frame.captured_at for frame in first] == [frame.captured_at for frame in second]


def test_unreadable_pictures_are_skipped_named_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "a.png", 1)
    (tmp_path / "b.png").write_bytes(b"damaged")
    (tmp_path / "c.jpg").touch()
    write(tmp_path / "d.png", 2)
    source = ImageFolder(tmp_path, fast=True)
    with caplog.at_level(logging.WARNING):
        assert [frame.sequence for frame in frames(source)] == [0, 1]
    assert source.skipped == ["b.png", "c.jpg"]
    assert "b.png" in caplog.text
    assert "2 of 4 pictures skipped" in caplog.text


def test_one_picture_is_a_source(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 7)
    assert len(frames(ImageFolder(tmp_path / "a.png", fast=True))) == 1


def test_live_play_is_paced_and_stamped_now(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.png", number)
    begin_s, begin = time.monotonic(), datetime.now(UTC)
    played = frames(ImageFolder(tmp_path, fps=50))
    stamps = [frame.monotonic_s for frame in played]
    assert stamps[0] >= begin_s
    assert all(later - earlier >= 0.019 for earlier, later in pairwise(stamps))
    assert all(frame.captured_at >= begin for frame in played)


def test_nothing_to_play_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is none"):
        ImageFolder(tmp_path / "missing")
    with pytest.raises(SourceError, match=r"expected a folder with pictures .* got 0 .*; name"):
        ImageFolder(tmp_path)
    (tmp_path / "a.png").write_bytes(b"damaged")
    with pytest.raises(SourceError, match="none of the 1 pictures"):
        frames(ImageFolder(tmp_path, fast=True))


names = st.lists(st.text(alphabet="aB0129²٣. "), max_size=12)


@given(names.flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))))
def test_any_names_have_a_total_order(shuffled: tuple[list[str], list[str]]) -> None:
    one, other = (sorted(some, key=lambda name: (natural_key(name), name)) for some in shuffled)
    assert one == other


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_numbers_order_by_value(one: int, other: int) -> None:
    assert (natural_key(f"f{one}.png") < natural_key(f"f{other}.png")) == (one < other)
