"""TOML file and command-line flags to frozen Settings; everything wrong is refused here, before anything is opened.

A relative path in the file, or a default, starts at the program's folder (where models/ is); one given as a flag
starts at the current folder, as a user at a shell expects.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from edge.cameras.source import parse_source
from edge.errors import ConfigError, UsageError
from edge.settings import Settings
from edge.sinks.mqtt_broker import parse_broker

PROGRAM_FOLDER = Path(__file__).resolve().parent.parent

RANGES: dict[str, tuple[float, float]] = {
    "camera.width": (16, 7680),
    "camera.height": (16, 4320),
    "camera.fps": (0.1, 240),
    "camera.stall_s": (0.2, 600),
    "camera.frozen_s": (0, 3600),
    "camera.reopen_min_s": (0.05, 600),
    "camera.reopen_max_s": (0.05, 3600),
    "detector.score_threshold": (0.01, 0.999),
    "detector.working_width_px": (32, 4096),
    "classifier.threads": (1, 16),
    "classifier.deadline_s": (0.01, 30),
    "classifier.start_s": (0.1, 600),
    "classifier.recheck_s": (0.05, 86400),
    "classifier.retry_min_s": (0.05, 3600),
    "classifier.retry_max_s": (0.05, 86400),
    "tracking.max_age_s": (0.01, 60),
    "tracking.min_hits": (1, 100),
    "tracking.gate": (0.01, 10),
    "judgement.min_face_px": (1, 4096),
    "judgement.min_sharpness": (0, 100000),
    "judgement.min_brightness": (0, 255),
    "judgement.max_yaw": (0, 10),
    "judgement.confidence_threshold": (0, 1),
    "judgement.smoothing_s": (0, 60),
    "judgement.hysteresis": (0, 1),
    "judgement.dwell_s": (0, 60),
    "judgement.max_changes_per_minute": (0, 100000),
    "mqtt.keepalive_s": (5, 65535),
    "mqtt.event_expiry_s": (1, 31536000),
    "mqtt.reconnect_min_s": (0.05, 600),
    "mqtt.reconnect_max_s": (0.05, 3600),
    "mqtt.outbox_events": (10, 10000000),
    "mqtt.status_s": (1, 86400),
    "mqtt.stats_s": (1, 86400),
    "life.rss_limit_mb": (64, 1048576),
    "life.heat_soft_c": (20, 120),
    "life.heat_hard_c": (20, 120),
    "life.log_s": (1, 86400),
}
"""Lowest and highest value of every number, both allowed. A test holds it complete."""

CHOICES: dict[str, tuple[object, ...]] = {
    "camera.rotate_deg": (0, 90, 180, 270),
    "detector.kind": ("auto", "yunet", "haar", "yunet-tflite"),
    "classifier.backend": ("auto", "cpu", "edgetpu"),
}

ORDERED = (
    ("camera.reopen_min_s", "camera.reopen_max_s"),
    ("classifier.retry_min_s", "classifier.retry_max_s"),
    ("mqtt.reconnect_min_s", "mqtt.reconnect_max_s"),
    ("life.heat_soft_c", "life.heat_hard_c"),
)
"""The first may not be larger than the second."""

TYPE_WORDS: dict[object, str] = {
    str: "a text in quotes",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path in quotes",
    Path | None: "a path in quotes",
}


def load_settings(path: Path | None, flags: Mapping[str, str | Path | None] | None = None) -> Settings:
    """Settings from a TOML file (None: the defaults), overridden by flags such as ``{"camera.source": "usb:0"}``.

    A flag that is None was not given. Raises ConfigError (exit 78) for the file, UsageError (exit 2) for a flag.
    """
    settings = settings_from(read_toml(path), str(path)) if path else Settings()
    settings = _anchored(settings)
    for name, value in (flags or {}).items():
        if value is not None:
            section, key = name.split(".")
            text = Path(value).absolute() if isinstance(value, Path) else value
            settings = _with(settings, section, {key: text})
            try:
                check(settings, "the command line")
            except ConfigError as error:
                raise UsageError(str(error)) from error
    return settings


def read_toml(path: Path) -> dict[str, Any]:
    """The file's tables. Raises ConfigError where it is missing, unreadable or not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"expected a configuration file at {path}, got: {error.strerror}; "
            "copy systemd/emotion-edge.toml there or name another with --config"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"expected TOML in {path}, got: {_one_line(error)}; mend that line") from error


def settings_from(table: Mapping[str, Any], origin: str) -> Settings:
    """Checked Settings from TOML's tables; ``origin`` is named in messages. Raises ConfigError."""
    settings = Settings()
    for section, values in table.items():
        known = {field.name for field in fields(Settings)}
        if section not in known:
            raise ConfigError(_unknown(section, None, origin))
        if not isinstance(values, dict):
            raise ConfigError(f"expected a table [{section}] in {origin}, got {section} = {_shown(values)}; mend it")
        hints = get_type_hints(type(getattr(settings, section)))
        for key in values:
            if key not in hints:
                raise ConfigError(_unknown(key, section, origin))
        typed = {key: _typed(f"{section}.{key}", value, hints[key], origin) for key, value in values.items()}
        settings = _with(settings, section, typed)
    check(settings, origin)
    return settings


def items(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Every setting as (``section.key``, value)."""
    for section in fields(Settings):
        values = getattr(settings, section.name)
        for field in fields(values):
            yield f"{section.name}.{field.name}", getattr(values, field.name)


def check(settings: Settings, origin: str) -> None:
    """Ranges, choices and what must fit together. Raises ConfigError naming the first that does not."""
    values = dict(items(settings))
    for name, value in values.items():
        if name in CHOICES and value not in CHOICES[name]:
            wanted = ", ".join(str(choice) for choice in CHOICES[name])
            raise ConfigError(f"expected {name} to be one of {wanted} in {origin}, got {_shown(value)}; choose one")
        low, high = RANGES.get(name, (None, None))
        if low is not None and high is not None and not low <= value <= high:
            raise ConfigError(f"expected {name} from {low:g} to {high:g} in {origin}, got {_shown(value)}; change it")
        if isinstance(value, str | Path) and not str(value).isprintable():
            raise ConfigError(f"expected printable text for {name} in {origin}, got {_shown(value)}; retype it")
    for low_name, high_name in ORDERED:
        if values[low_name] > values[high_name]:
            raise ConfigError(
                f"expected {low_name} to be at most {high_name} in {origin}, "
                f"got {values[low_name]:g} and {values[high_name]:g}; change one"
            )
    if not settings.camera.source:
        raise ConfigError(
            f"expected camera.source such as picamera, usb:0 or a file in {origin}, got nothing; name one"
        )
    parse_source(settings.camera.source)
    if not re.fullmatch(r"[a-zA-Z0-9_-]{0,64}", settings.device.id):
        raise ConfigError(
            f"expected device.id of at most 64 letters, digits, _ and - in {origin}, "
            f"got {_shown(settings.device.id)}; rename it"
        )
    if not re.fullmatch(r"[a-zA-Z0-9_-]+(/[a-zA-Z0-9_-]+)*", settings.mqtt.topic_prefix):
        raise ConfigError(
            f"expected mqtt.topic_prefix of letters, digits, _ and -, with / between levels, in {origin}, "
            f"got {_shown(settings.mqtt.topic_prefix)}; rename it"
        )
    if settings.mqtt.broker:
        parse_broker(settings.mqtt.broker)
    if bool(settings.mqtt.certificate_file) != bool(settings.mqtt.key_file):
        raise ConfigError(
            f"expected mqtt.certificate_file and mqtt.key_file together in {origin}, got one of them; name both"
        )


def _typed(name: str, value: object, hint: object, origin: str) -> object:
    """``value`` as the field's type, or ConfigError. TOML has no null: an empty path is None where that is allowed."""
    if hint is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1e15:
        return float(value)
    if hint in (Path, Path | None) and isinstance(value, str):
        if value:
            return Path(value)
        if hint == Path | None:
            return None
        raise ConfigError(f"expected {name} to be a path in quotes in {origin}, got nothing; name one")
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise ConfigError(f"expected {name} to be {TYPE_WORDS[hint]} in {origin}, got {_shown(value)}; mend it")


def _unknown(key: str, section: str | None, origin: str) -> str:
    """The message about a key nobody knows, with the nearest one that is known."""
    names = [name for name, _ in items(Settings())]
    if section == "mqtt" and "pass" in key.lower() and key != "password_file":
        return f"mqtt.{key} in {origin}: a password never stands in the configuration; use mqtt.password_file instead"
    shown = _shown(f"{section}.{key}" if section else key)
    here = [name for name in names if section is None or name.startswith(f"{section}.")]
    bare = {name.split(".")[1]: name for name in names} | {name.split(".")[1]: name for name in here}
    sections = {} if section else {field.name: f"[{field.name}]" for field in fields(Settings)}
    candidates = bare | sections
    match = difflib.get_close_matches(key, candidates, n=1, cutoff=0.0)[0]
    return f"unknown key {shown} in {origin}; the nearest known one is {candidates[match]}; rename or remove it"


def _with(settings: Settings, section: str, values: Mapping[str, Any]) -> Settings:
    changed = replace(getattr(settings, section), **values)
    return replace(settings, **{section: changed})


def _anchored(settings: Settings) -> Settings:
    """Relative paths made absolute, from the program's folder."""
    for name, value in items(settings):
        if isinstance(value, Path):
            section, key = name.split(".")
            settings = _with(settings, section, {key: PROGRAM_FOLDER / value})
    return settings


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _shown(value: object) -> str:
    """A value as a message may carry it: short, on one line."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
