"""Black and frozen pictures, in numbers only."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.cameras.picture_watch import PictureWatch

BLACK = np.zeros((48, 64, 3), np.uint8)


def live(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(30, 200, (48, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize(("picture", "word"), [(BLACK, "black"), (live(0), "frozen")])
def test_noticed_at_the_limit_and_not_before(picture: NDArray[np.uint8], word: str) -> None:
    watch = PictureWatch(4.0)
    watch.feed(live(1), 0.0)
    watch.feed(picture, 1.0)
    faults = []
    for tick in range(11, 60):
        assert not watch.feed(picture.copy(), tick / 10)
        faults.append((tick / 10, watch.fault(tick / 10)))
    # The last living picture: at 0 s before black, at 1 s (its first showing) before frozen.
    limit_s = 4.0 if word == "black" else 5.0
    assert all(bool(fault) == (at_s >= limit_s) for at_s, fault in faults)
    assert word in faults[-1][1]


def test_one_changed_pixel_is_life() -> None:
    watch, picture = PictureWatch(1.0), live(0)
    for tick in range(100):
        changed = picture.copy()
        changed[5, 7, 1] = tick
        assert watch.feed(changed, tick / 10)
        assert watch.fault(tick / 10) == ""


def test_a_dark_room_with_sensor_noise_is_life() -> None:
    watch = PictureWatch(1.0)
    for tick in range(50):
        dark = np.random.default_rng(tick).normal(6, 4, (48, 64, 3)).clip(0, 255).astype(np.uint8)
        watch.feed(dark, tick / 10)
        assert watch.fault(tick / 10) == ""


def test_after_reopening_the_camera_has_its_time_anew_but_the_old_picture_is_known() -> None:
    watch, picture = PictureWatch(2.0), live(0)
    for tick in range(40):
        watch.feed(picture, tick / 10)
    assert watch.fault(4.0)
    watch.restart()
    assert not watch.feed(picture, 10.0)
    assert watch.fault(10.0) == ""
    assert not watch.feed(picture, 12.1)
    assert watch.fault(12.1)
    assert watch.feed(live(1), 12.2)
    assert watch.fault(12.2) == ""


def test_a_new_resolution_is_life_and_zero_switches_off() -> None:
    watch = PictureWatch(1.0)
    watch.feed(live(0), 0.0)
    assert watch.feed(live(0)[::2], 5.0)
    off = PictureWatch(0)
    for tick in range(100):
        assert off.feed(BLACK, float(tick))
        assert off.fault(float(tick)) == ""
