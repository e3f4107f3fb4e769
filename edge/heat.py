"""The board's temperature, and a frame rate that sinks before the firmware throttles the whole board."""

from pathlib import Path

SLOWEST = 0.2
"""Share of the frame rate left at ``heat_hard_c`` and above."""

UNDER_VOLTAGE, FREQUENCY_CAPPED, THROTTLED, SOFT_LIMIT = 0x1, 0x2, 0x4, 0x8
"""Bits of the Raspberry Pi firmware's get_throttled that speak of now (those from 0x10000 up: since boot)."""


def rate_share(temperature_c: float | None, soft_c: float, hard_c: float) -> float:
    """The share of the frame rate to keep: 1 up to ``soft_c``, sinking evenly to SLOWEST at ``hard_c``."""
    if temperature_c is None or temperature_c <= soft_c:
        return 1.0
    if temperature_c >= hard_c:
        return SLOWEST
    return 1.0 - (1.0 - SLOWEST) * (temperature_c - soft_c) / (hard_c - soft_c)


class Board:
    """Reads sysfs. ``sysfs`` is a parameter so that a test, or a container, may give another tree."""

    def __init__(self, sysfs: Path = Path("/sys")) -> None:
        self._zones = sorted(sysfs.glob("class/thermal/thermal_zone*/temp"))
        self._throttled = sysfs / "devices/platform/soc/soc:firmware/get_throttled"

    def temperature_c(self) -> float | None:
        """The hottest zone, degrees Celsius; None where there is none that answers sensibly."""
        readings = []
        for zone in self._zones:
            try:
                celsius = int(zone.read_text()) / 1000
            except (OSError, ValueError):
                continue  # a zone may vanish or answer EINVAL while its sensor sleeps
            if -50 < celsius < 200:
                readings.append(celsius)
        return max(readings, default=None)

    def throttle_bits(self) -> int | None:
        """The firmware's get_throttled word; None where this is no Raspberry Pi."""
        try:
            return int(self._throttled.read_text(), 16)
        except (OSError, ValueError):
            return None

    def throttled(self) -> bool | None:
        """True while the firmware holds the clock down for heat or voltage; None where it can't be told."""
        bits = self.throttle_bits()
        return None if bits is None else bool(bits & (UNDER_VOLTAGE | FREQUENCY_CAPPED | THROTTLED | SOFT_LIMIT))


class HeatGovernor:
    """Says which frames to let go by, so that steps keep at least an interval that grows with the heat."""

    def __init__(self, board: Board, soft_c: float, hard_c: float, fps: float, read_every_s: float = 5.0) -> None:
        self._board, self._soft_c, self._hard_c, self._fps = board, soft_c, hard_c, fps
        self._read_every_s = read_every_s
        self._read_s = float("-inf")
        self._next_s = float("-inf")
        self.temperature_c: float | None = None
        self.share = 1.0
        """Of the frame rate, kept at the moment."""

    def limits(self, soft_c: float, hard_c: float) -> None:
        """New limits, from the next reading on."""
        self._soft_c, self._hard_c, self._read_s = soft_c, hard_c, float("-inf")

    def admits(self, now_s: float) -> bool:
        """Whether the frame at hand may be worked on. ``now_s`` is monotonic."""
        if now_s - self._read_s >= self._read_every_s:
            self._read_s = now_s
            self.temperature_c = self._board.temperature_c()
            self.share = rate_share(self.temperature_c, self._soft_c, self._hard_c)
        if self.share >= 1.0:
            return True
        if now_s < self._next_s:
            return False
        # From the moment it was due, not from now, so that frames' own spacing does not lower the rate further.
        interval = 1.0 / (self._fps * self.share)
        self._next_s = max(self._next_s + interval, now_s)
        return True

    @property
    def reason(self) -> str | None:
        """One sentence for the status while the rate is lowered."""
        if self.share >= 1.0 or self.temperature_c is None:
            return None
        # Whole tens, so that the sentence (and the log) does not change with every tenth of a degree.
        return f"hot (over {self._soft_c:g} C): frame rate lowered to about {max(20, round(self.share * 10) * 10)} %"
