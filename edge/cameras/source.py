"""What ``--source`` means: text in, a Source out. Opens nothing.

| text | kind |
|---|---|
| ``picamera``, ``picamera:1`` | picamera |
| ``0``, ``usb``, ``usb:0``, ``usb:/dev/v4l/by-id/...``, ``/dev/video0`` | usb |
| ``rtsp://``, ``rtsps://``, ``http://``, ``https://`` | network |
| a folder, or one picture | pictures |
| any other path | video |
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from edge.errors import ConfigError

Kind = Literal["picamera", "usb", "network", "video", "pictures"]

NETWORK_SCHEMES = ("rtsp", "rtsps", "http", "https")
PICTURE_SUFFIXES = frozenset(
    (".bmp", ".jpeg", ".jpg", ".jp2", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
EXPECTED = (
    "expected picamera, usb:0, /dev/video0, rtsp://host/path, http://host/path, a video file or a folder of images"
)


@dataclass(frozen=True, slots=True)
class Source:
    """A frame source, parsed. Its repr, like its name, holds no password."""

    kind: Kind
    name: str
    """The text with any user, password and query taken out: safe to log and publish."""
    address: str = field(repr=False)
    """What the adapter opens: a camera number, a device node, a URL with its password, or a path."""

    @property
    def live(self) -> bool:
        """True for a camera (reopened for ever), False for a file or folder (the end is the end)."""
        return self.kind in ("picamera", "usb", "network")


def parse_source(text: str) -> Source:
    """The Source that ``--source TEXT`` or ``camera.source`` names. Raises ConfigError, never showing a password."""
    text = text.strip()
    if not text or not text.isprintable():
        raise ConfigError(f"camera source is empty or has control characters: {EXPECTED}")
    if camera := re.fullmatch(r"picamera(?::([0-9]{1,3}))?", text):
        number = int(camera[1] or 0)
        return Source("picamera", f"picamera:{number}" if number else "picamera", str(number))
    if usb := re.fullmatch(r"(?:usb:)?([0-9]{1,3})|usb", text):
        number = int(usb[1] or 0)
        return Source("usb", f"usb:{number}", f"/dev/video{number}")
    if device := re.fullmatch(r"(?:usb:)?(/dev/.+)", text):
        return Source("usb", device[1], device[1])
    if "://" in text:
        return _parse_url(text)
    if re.match(r"(usb|picamera):", text):
        raise ConfigError(f"camera source {text!r} names no device: {EXPECTED}")
    path = Path(text).expanduser() if text.startswith("~/") else Path(text)
    if re.match(r"(?:rtsps?|https?):|[^/]*:[^/]*@", text, re.IGNORECASE) and not path.exists():
        raise ConfigError(
            f"camera source looks like a URL without its scheme:// (not shown, it may hold a password): {EXPECTED}"
        )
    pictures = path.is_dir() or path.suffix.lower() in PICTURE_SUFFIXES
    return Source("pictures" if pictures else "video", text, str(path))


def _parse_url(text: str) -> Source:
    scheme = text.partition("://")[0].lower()
    if scheme not in NETWORK_SCHEMES:
        # Only a scheme is repeated: whatever else stands before "://" may hold a password.
        shown = f"{scheme}://" if re.fullmatch(r"[a-z][a-z0-9+.-]{0,15}", scheme) else "a URL"
        raise ConfigError(f"camera source {shown} can't be opened: expected one of {', '.join(NETWORK_SCHEMES)}")
    hint = f"expected {scheme}://[user:password@]host[:port]/path, special characters in a password as %40, %2F ..."
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(f"camera source is not a {scheme} URL that can be read: {hint}") from None
    # An @ further on is most likely the rest of a password with an unescaped / ? or #, which no name may show.
    if not host or "@" in parts.path + parts.query + parts.fragment:
        raise ConfigError(f"camera source is not a {scheme} URL that can be read: {hint}")
    if ":" in host:
        host = f"[{host}]"
    name = f"{scheme}://{host}{f':{port}' if port is not None else ''}{parts.path}"
    return Source("network", name, text)
