"""A video file: every frame with its own time, or played like a camera; damage is one line."""

import hashlib
import re
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.cameras.video_file import VideoFile
from edge.errors import SourceError
from edge.records import Frame
from tests.devdata import media
from tests.edge.cameras.waiting import descriptors


def frames(source: VideoFile) -> list[Frame]:
    try:
        return list(iter(source.read, None))
    finally:
        source.close()


def make_clip(path: Path, count: int, fps: float = 10.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 48))
    for number in range(count):
        writer.write(np.full((48, 64, 3), 2 * number, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize(
    ("name", "count", "last_s"),
    [
        ("single_face.mp4", 72, 71 / 30),
        ("noface_face.mov", 169, 6.36),  # variable frame rate: OpenCV 4.11 and 4.14 differ by 28 ms
        ("no_face.mp4", 95, 94 / 24),
        ("again.mkv", 77, 2.534),
        ("head-pose-face-detection-female.gif", 23, 1.83),
    ],
)
def test_fast_gives_every_frame_with_the_files_own_time(name: str, count: int, last_s: float) -> None:
    path = media(name)
    played = frames(VideoFile(path, fast=True))
    assert [frame.sequence for frame in played] == list(range(count))
    times = [frame.monotonic_s for frame in played]
    assert times[0] == 0
    assert times[-1] == pytest.approx(last_s, abs=0.02)
    assert all(later > earlier for earlier, later in pairwise(times))
    modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    assert played[-1].captured_at == modified + timedelta(seconds=times[-1])
    assert played[0].image.dtype == np.uint8
    assert played[0].image.shape[2] == 3


def test_fast_is_deterministic() -> None:
    def digest() -> str:
        whole = hashlib.sha256()
        for frame in frames(VideoFile(media("single_face.mp4"), fast=True)):
            whole.update(f"{frame.monotonic_s} {frame.captured_at} {frame.sequence}".encode() + frame.image.tobytes())
        return whole.hexdigest()

    assert digest() == digest()


def test_it_plays_at_its_own_rate_stamped_now(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.avi", 5, fps=25.0)
    begin_s, begin = time.monotonic(), datetime.now(UTC)
    played = frames(VideoFile(path))
    assert played[-1].captured_at >= begin
    # A loaded machine may be late, never early: frame n comes n/25 s after the first at the soonest.
    assert all(frame.monotonic_s >= begin_s + frame.sequence / 25 - 0.001 for frame in played)


def test_a_reader_that_is_too_slow_skips_frames_and_the_gap_shows(tmp_path: Path) -> None:
    source = VideoFile(make_clip(tmp_path / "a.avi", 60, fps=50.0))
    first = source.read()
    time.sleep(0.5)
    second = source.read()
    source.close()
    assert first is not None
    assert second is not None
    assert second.sequence >= 20
    assert int(second.image[0, 0, 0]) == pytest.approx(2 * second.sequence, abs=6)


def test_what_is_no_video_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    contents = {
        "empty.mp4": b"",
        "text.mp4": b"hello\n" * 1000,
        "text.txt": b"hello\n" * 1000,
        "noise.mp4": np.random.default_rng(0).bytes(100_000),
        "zero-size.y4m": b"YUV4MPEG2 W0 H0 F25:1 Ip A1:1 C420\nFRAME\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for path in (*(tmp_path / name for name in contents), tmp_path / "missing.mp4", tmp_path):
        with pytest.raises(SourceError) as caught:
            VideoFile(path, fast=True)
        assert str(path) in str(caught.value)
        assert "expected a video" in str(caught.value)
        assert re.search("; (check the path|copy it again|name another)", str(caught.value)), "how to mend it"
        assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == "", "the decoder's own complaints would be a second message"


@pytest.mark.parametrize("name", ["WolfgangLanger_Pexels.mp4", "again.mkv", "single_face.mp4"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_cut_off_clip_gives_what_it_has_and_then_says_so(tmp_path: Path, name: str, share: float) -> None:
    whole = media(name)
    cut = tmp_path / name
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    with pytest.raises(SourceError, match="cut off"):
        frames(VideoFile(cut, fast=True))


def test_close_is_idempotent_and_frees_the_file(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.avi", 3)
    before = descriptors()
    for _ in range(20):
        source = VideoFile(path, fast=True)
        source.close()
        source.close()
        assert source.read() is None
    assert descriptors() == before
