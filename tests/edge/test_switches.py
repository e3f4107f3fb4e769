"""Switches survive restarts and damage."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.records import Command
from edge.switches import FILE_NAME, SwitchBoard, Switches

json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["detect", "privacy", "threshold", "x"]), inner)
    ),
)


def test_defaults_then_commands_then_a_restart(tmp_path: Path) -> None:
    board = SwitchBoard(tmp_path, threshold=0.5)
    assert board.current == Switches(detect=True, privacy=False, threshold=0.5)
    board.apply(Command("privacy", True))
    assert board.apply(Command("threshold", 0.7)) == Switches(True, True, 0.7)
    board.apply(Command("detect", False))
    again = SwitchBoard(tmp_path, threshold=0.5)
    assert again.current == Switches(False, True, 0.7)
    assert again.problem is None
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_configured_threshold_counts_until_a_command_sets_one(tmp_path: Path) -> None:
    SwitchBoard(tmp_path, threshold=0.5).apply(Command("privacy", True))
    assert SwitchBoard(tmp_path, threshold=0.6).current.threshold == 0.6


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"privacy": 1}',
        b'{"threshold": 2}',
        b'{"threshold": NaN}',
        b'{"other": true}',
        b"\xff\x00",
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_gives_the_defaults_and_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    board = SwitchBoard(tmp_path, threshold=0.5)
    assert board.current == Switches(threshold=0.5)
    assert board.problem is not None
    assert "defaults" in board.problem
    board.apply(Command("privacy", True))
    assert board.problem is None
    assert SwitchBoard(tmp_path, threshold=0.5).current.privacy


@given(json_values)
def test_any_json_gives_switches_of_the_right_types(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    folder = tmp_path_factory.mktemp("switches")
    (folder / FILE_NAME).write_text(json.dumps(value))
    current = SwitchBoard(folder, threshold=0.5).current
    assert (type(current.detect), type(current.privacy), type(current.threshold)) == (bool, bool, float)
    assert 0 <= current.threshold <= 1


def test_a_folder_that_can_not_be_written_is_said_and_the_switch_is_in_force(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    board = SwitchBoard(tmp_path / "file", threshold=0.5)
    assert board.apply(Command("privacy", True)).privacy
    assert board.problem is not None
    assert "could not be written" in board.problem


@pytest.mark.parametrize(
    "command", [Command("restart"), Command("threshold", 1.5), Command("detect", 0.5), Command("threshold", True)]
)
def test_other_commands_are_refused(tmp_path: Path, command: Command) -> None:
    board = SwitchBoard(tmp_path, threshold=0.5)
    with pytest.raises(ValueError, match="was expected"):
        board.apply(command)
    assert board.current == Switches(threshold=0.5)
    assert not list(tmp_path.iterdir())
