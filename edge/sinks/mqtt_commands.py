"""Commands from subscribers: text in, a validated Command or a refusal out."""

import re

from edge.errors import CommandError
from edge.records import Command

TOPICS = {"detect/set": "detect", "privacy/set": "privacy", "threshold/set": "threshold", "cmd/restart": "restart"}
"""Below ``<prefix>/<device>/``: all that is subscribed to."""

_NUMBER = re.compile(r"0(\.[0-9]*)?|\.[0-9]+|1(\.0*)?")
_LONGEST = 16
"""No command has more characters."""


def parse_command(suffix: str, payload: bytes, retained: bool) -> Command:
    """suffix: a key of TOPICS. Raises CommandError, one line, for anything that is not a command.

    A switch may be retained: it is a wish that lasts. ``cmd/`` may not: it would be done again at every connect.
    """
    name = TOPICS.get(suffix)
    if name is None:
        raise CommandError(f"{suffix}: one of {', '.join(TOPICS)} was expected")
    if suffix.startswith("cmd/") and retained:
        raise CommandError(f"{suffix}: a message that is not retained was expected; publish it without the retain flag")
    shown = ascii(payload[: 2 * _LONGEST].decode("utf-8", "replace"))
    text = payload.decode("ascii", "replace").strip() if len(payload) <= 2 * _LONGEST else ""
    if name == "restart":
        if text != "PRESS":
            raise CommandError(f"{suffix}: PRESS was expected, {shown} came")
        return Command(name)
    if name == "threshold":
        if len(text) > _LONGEST or not _NUMBER.fullmatch(text):
            raise CommandError(f"{suffix}: a decimal number from 0 to 1 was expected, {shown} came")
        return Command(name, float(text))
    if text.upper() not in ("ON", "OFF"):
        raise CommandError(f"{suffix}: ON or OFF was expected, {shown} came")
    return Command(name, text.upper() == "ON")
