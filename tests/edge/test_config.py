"""Configuration: every mistake is named in one line with its mend; nothing wrong gets through."""

import random
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from edge.config import CHOICES, PROGRAM_FOLDER, RANGES, items, load_settings
from edge.errors import ConfigError, UsageError
from edge.settings import Settings

EXAMPLE = PROGRAM_FOLDER / "systemd" / "emotion-edge.toml"


def load(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "emotion-edge.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def message(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert caught.value.exit_code == 78
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_example_file_is_the_defaults_and_names_every_key() -> None:
    import tomllib

    assert load_settings(EXAMPLE) == load_settings(None)
    table = tomllib.loads(EXAMPLE.read_text())
    assert {f"{section}.{key}" for section, values in table.items() for key in values} == set(dict(items(Settings())))


def test_every_number_has_a_range_and_every_default_lies_in_it() -> None:
    numbers = {name for name, value in items(Settings()) if type(value) in (int, float)} - set(CHOICES)
    assert numbers == set(RANGES)
    load_settings(None)


def test_a_file_overrides_defaults_and_a_flag_overrides_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[camera]\nsource = "usb:1"\nfps = 5\n[detector]\nmodel = "models/x.onnx"\n')
    settings = load_settings(path, {"camera.source": "clip.mp4", "mqtt.broker": None})
    assert settings.camera.source == "clip.mp4"
    assert settings.camera.fps == 5.0
    assert isinstance(settings.camera.fps, float)
    assert settings.detector.model == PROGRAM_FOLDER / "models/x.onnx"
    assert settings.classifier.bundle == PROGRAM_FOLDER / "models/emotion"
    assert load_settings(path, {"classifier.bundle": Path("b")}).classifier.bundle == Path.cwd() / "b"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[camera]\nsorce = 'x'", ["camera.sorce", "camera.source"]),
        ("[cammera]\n", ["cammera", "[camera]"]),
        ("fps = 3", ["fps", "camera.fps"]),
        ("[mqtt]\nmin_hits = 3", ["mqtt.min_hits", "tracking.min_hits"]),
        ("camera = 3", ["table [camera]", "3"]),
        ("[camera]\nfps = '15'", ["camera.fps", "a number", "'15'"]),
        ("[camera]\nwidth = 640.5", ["camera.width", "whole number", "640.5"]),
        ("[camera]\nwidth = true", ["camera.width", "whole number", "True"]),
        ("[camera]\nfps = 0", ["camera.fps", "0.1", "240"]),
        ("[camera]\nfps = nan", ["camera.fps", "nan"]),
        ("[camera]\nrotate_deg = 45", ["camera.rotate_deg", "0, 90, 180, 270", "45"]),
        ("[camera]\nsource = ''", ["camera.source", "nothing"]),
        ('[camera]\nsource = "a\\nb"', ["camera.source", "printable"]),
        ("[detector]\nkind = 'hog'", ["detector.kind", "auto, yunet, haar", "hog"]),
        ("[device]\nid = 'a/b'", ["device.id", "a/b"]),
        ("[device]\nstate_dir = ''", ["device.state_dir", "path"]),
        ("[life]\nheat_soft_c = 90", ["heat_soft_c", "heat_hard_c", "90", "80"]),
        ("[mqtt]\nbroker = 'localhost'", ["mqtt.broker", "mqtt://host:port", "localhost"]),
        ("[mqtt]\nbroker = 'http://localhost'", ["mqtt.broker", "http://localhost"]),
        ("[mqtt]\nbroker = 'mqtt://h:99999'", ["mqtt.broker", "port"]),
        ("[mqtt]\nbroker = 'mqtt://u:secret@h:1'", ["mqtt.broker", "password_file"]),
        ("[mqtt]\nbroker = 'u:secret@h'", ["mqtt.broker", "password_file"]),
        ("[mqtt]\npassword = 'secret'", ["mqtt.password", "password_file"]),
        ("[mqtt]\ntopic_prefix = 'a/#'", ["mqtt.topic_prefix", "a/#"]),
        ("[mqtt]\ncertificate_file = 'c.pem'", ["certificate_file", "key_file"]),
        ("[mqtt]\nallow_plaintext_password = 1", ["allow_plaintext_password", "true or false", "1"]),
        ("[camera\n", ["TOML", "line 1"]),
        ("a = " + "[" * 5000, ["TOML"]),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    line = message(tmp_path, text)
    for word in words:
        assert word in line
    assert "secret" not in line


def test_files_that_are_no_files(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(ConfigError, match="expected a configuration file"):
            load_settings(path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(bytes(range(256)))
    with pytest.raises(ConfigError, match="expected TOML"):
        load_settings(binary)


def test_a_wrong_flag_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"mqtt\.broker"):
        load_settings(None, {"mqtt.broker": "localhost:1883"})
    with pytest.raises(UsageError, match=r"device\.id"):
        load_settings(None, {"device.id": "kitchen camera"})
    with pytest.raises(UsageError, match="names no device"):
        load_settings(None, {"camera.source": "usb:x"})


def accepted_or_refused(path: Path) -> Settings | None:
    """Settings whose every value has its type and range, or a one-line ConfigError."""
    try:
        settings = load_settings(path)
    except ConfigError as error:
        assert str(error)
        assert len(str(error).splitlines()) == 1
        return None
    for section in fields(Settings):
        values = getattr(settings, section.name)
        for name, hint in get_type_hints(type(values)).items():
            assert isinstance(getattr(values, name), hint), name
    for name, value in items(settings):
        if name in RANGES:
            assert RANGES[name][0] <= value <= RANGES[name][1]
        if name in CHOICES:
            assert value in CHOICES[name]
    return settings


def mutated(text: str, rng: random.Random) -> bytes:
    """The example with one to four things gone wrong: characters, lines, values, whole sections."""
    values = [
        "-1",
        "0",
        "1e400",
        "nan",
        "true",
        '""',
        "[]",
        "{}",
        "''",
        "99999999999999999999",
        '"\\u0000"',
        "2026-01-01",
    ]
    for _ in range(rng.randint(1, 4)):
        lines = text.split("\n")
        where = rng.randrange(len(lines))
        match rng.randrange(6):
            case 0:
                at = rng.randrange(len(text))
                text = text[:at] + chr(rng.choice([0, 10, 34, 39, 61, 91, 92, 93, 233, 0x1F600])) + text[at + 1 :]
            case 1:
                text = "\n".join(lines[:where] + lines[where + 1 :])
            case 2:
                text = "\n".join([*lines[:where], lines[rng.randrange(len(lines))], *lines[where:]])
            case 3:
                key = lines[where].partition("=")[0]
                text = "\n".join([*lines[:where], f"{key}= {rng.choice(values)}", *lines[where + 1 :]])
            case 4:
                at = rng.randrange(len(text))
                text = text[:at] + text[at + rng.randint(1, 30) :]
            case _:
                at = rng.randrange(len(text) - 1)
                text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    data = text.encode("utf-8")
    return data if rng.random() < 0.9 else data[: rng.randrange(len(data))] + b"\xff\xfe"


def test_five_hundred_mutated_configurations(tmp_path: Path) -> None:
    rng = random.Random(20130)
    path = tmp_path / "m.toml"
    outcomes = []
    for _ in range(500):
        path.write_bytes(mutated(EXAMPLE.read_text(), rng))
        outcomes.append(accepted_or_refused(path) is not None)
    # Mutations of comments and in-range numbers are harmless; most others must have been noticed.
    assert 20 < sum(outcomes) < 400


toml_values: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=3)
)


@hypothesis_settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(sorted(dict(items(Settings())))), value=toml_values)
def test_any_value_at_any_key_is_taken_whole_or_refused(name: str, value: Any) -> None:
    from edge.config import settings_from

    section, key = name.split(".")
    try:
        settings = settings_from({section: {key: value}}, "test")
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1
    else:
        got = dict(items(settings))[name]
        assert got == value or str(got) == value or (got is None and value == "")
