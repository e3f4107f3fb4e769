"""A folder of pictures (or one picture) played as a camera."""

import logging
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edge.cameras.capture import stamp
from edge.cameras.image_file import read_image
from edge.cameras.source import PICTURE_SUFFIXES
from edge.errors import SourceError
from edge.records import Frame

log = logging.getLogger(__name__)


def natural_key(name: str) -> tuple[tuple[bool, int, str], ...]:
    """Orders names as a person would: numbers by value (img2 before img10), letters without case."""
    return tuple(
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part.casefold())
        for part in re.split(r"([0-9]+)", name)
        if part
    )


class ImageFolder:
    """Implements FrameSource over the pictures of a folder, in natural order of their names, ``fps`` of them a second.

    A picture that can't be read is skipped, named in the log and in ``skipped``. With ``fast`` there is no waiting, and
    the same folder gives the same frames: ``monotonic_s`` counts from 0, ``captured_at`` from the first picture's
    modification time. Raises SourceError where the folder is missing or holds no picture that can be read.
    """

    live = False

    def __init__(self, path: Path, fps: float = 15.0, fast: bool = False) -> None:
        self.name = str(path)
        self.skipped: list[str] = []
        """Names of the pictures that could not be read, so far."""
        self._pictures = self._list(path)
        self._period_s, self._fast = 1.0 / fps, fast
        self._next = self._sequence = 0
        self._due_s: float | None = None
        self._epoch = datetime.fromtimestamp(self._pictures[0].stat().st_mtime, UTC)

    @staticmethod
    def _list(path: Path) -> list[Path]:
        if path.is_file():
            return [path]
        try:
            entries = list(path.iterdir())
        except FileNotFoundError:
            raise SourceError(f"{path}: expected a picture or a folder, there is none; check the path") from None
        except OSError as error:
            raise SourceError(f"{path}: can't be listed ({error.strerror}); check its permissions") from None
        pictures = [e for e in entries if e.suffix.lower() in PICTURE_SUFFIXES and e.is_file()]
        if not pictures:
            suffixes = " ".join(sorted(PICTURE_SUFFIXES))
            raise SourceError(
                f"{path}: expected a folder with pictures ({suffixes}), got {len(entries)} other entries; name another"
            )
        return sorted(pictures, key=lambda picture: (natural_key(picture.name), picture.name))

    def read(self) -> Frame | None:
        """The next picture that can be read, or None after the last. Blocks for one frame period at most."""
        while self._next < len(self._pictures):
            picture = self._pictures[self._next]
            self._next += 1
            try:
                image = read_image(picture)
            except SourceError as error:
                self.skipped.append(picture.name)
                log.warning("skipped: %s", error)
                continue
            sequence, self._sequence = self._sequence, self._sequence + 1
            if self._fast:
                position_s = sequence * self._period_s
                return Frame(image, position_s, self._epoch + timedelta(seconds=position_s), sequence)
            now_s = time.monotonic()
            if self._due_s is not None:
                time.sleep(min(self._period_s, max(0.0, self._due_s - now_s)))
            self._due_s = time.monotonic() + self._period_s
            return stamp(image, sequence)
        if not self._sequence:
            raise SourceError(f"{self.name}: none of the {len(self._pictures)} pictures can be read; see the log")
        if self.skipped:
            log.warning("%s: %d of %d pictures skipped", self.name, len(self.skipped), len(self._pictures))
        return None

    def close(self) -> None:
        """Nothing is held open."""
        self._next = len(self._pictures)
