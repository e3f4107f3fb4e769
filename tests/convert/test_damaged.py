"""Files that are no TFLite, or no longer: one line each, never a crash, never a hang."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convert.__main__ import main
from convert.edgetpu_check import check_bytes, table
from convert.flatbuffer import parse_tflite
from edge.errors import ConversionError
from tests.convert.conftest import Made

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "tiny7"


def model() -> bytes:
    return next(GOLDEN.glob("*.tflite")).read_bytes()


def refused(content: bytes) -> bool:
    """Whether the bytes are refused as they should be; readable ones are looked at whole."""
    try:
        table(check_bytes(content, "damaged"))
    except ConversionError as error:
        assert "\n" not in str(error)
        return True
    return False


@given(st.binary(max_size=300))
def test_any_bytes(content: bytes) -> None:
    assert refused(content)


@given(st.binary(max_size=300))
def test_any_bytes_with_the_mark(content: bytes) -> None:
    refused(content[:4] + b"TFL3" + content[4:])


def test_truncated_anywhere() -> None:
    whole = model()
    assert not refused(whole)
    for length in [*range(64), *range(64, len(whole), 97)]:
        refused(whole[:length])
    assert refused(whole[:40])


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_bits_flipped(seed: int) -> None:
    chance = random.Random(seed)
    whole = bytearray(model())
    for _ in range(chance.randint(1, 40)):
        whole[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
    refused(bytes(whole))


def test_three_hundred_damaged_headers() -> None:
    """Flips where the tables are: the end of the file holds operators and tensors, the middle only weights."""
    whole = model()
    chance, count = random.Random(0), 0
    for _ in range(300):
        damaged = bytearray(whole)
        place = chance.choice([chance.randrange(8, 200), chance.randrange(len(whole) * 2 // 3, len(whole))])
        damaged[place] ^= 1 << chance.randrange(8)
        count += refused(bytes(damaged))
    assert count > 10


def test_graph_without_operators_is_refused() -> None:
    with pytest.raises(ConversionError, match="TFL3"):
        parse_tflite(b"")


def test_check_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = {"text.tflite": b"not a model", "empty.tflite": b"", "cut.tflite": model()[:100]}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    for name in [*cases, "missing.tflite", "."]:
        assert main(["check", str(tmp_path / name)]) == 1
        said = capsys.readouterr()
        assert said.out == "" and said.err.startswith("python -m convert: ") and said.err.count("\n") == 1


def test_verify_refuses_what_was_changed(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json
    import shutil

    from edge.bundle import file_sha256

    def refuses(change: str) -> str:
        capsys.readouterr()
        assert main(["verify", str(tmp_path / change)]) == 1
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said.startswith("python -m convert: ")
        return said

    def copy(name: str) -> Path:
        return Path(shutil.copytree(made.bundle, tmp_path / name))

    def edit(folder: Path, key: str, value: object) -> None:
        card = json.loads((folder / "card.json").read_text())
        card[key] = value
        (folder / "card.json").write_text(json.dumps(card))

    flipped = bytearray((copy("flip") / "emotion.int8.tflite").read_bytes())
    flipped[1000] ^= 1
    (tmp_path / "flip" / "emotion.int8.tflite").write_bytes(flipped)
    assert "sha256" in refuses("flip")
    (copy("cut") / "emotion.int8.tflite").write_bytes(bytes(flipped[:1000]))
    assert "bytes" in refuses("cut")
    edit(copy("labels"), "labels", ["happy", "sad"])
    assert "labels" in refuses("labels")
    edit(copy("schema"), "scores", [{"file": "x"}])
    assert "scores.0" in refuses("schema")
    card = json.loads((made.bundle / "card.json").read_text())
    edit(copy("quantization"), "output", card["output"] | {"scale": card["output"]["scale"] * 2})
    assert "scale" in refuses("quantization")

    # A golden answer that is not the file's: as it would be on a runtime that computes wrong.
    golden = copy("golden") / "golden.json"
    values = json.loads(golden.read_text())
    values["cases"][0]["output"] = [-v for v in values["cases"][0]["output"]]
    golden.write_text(json.dumps(values))
    entry = {"path": "golden.json", "sha256": file_sha256(golden), "bytes": golden.stat().st_size}
    edit(golden.parent, "files", card["files"] | {"golden": entry})
    assert "steps off on a golden input" in refuses("golden")
    assert refuses("missing")
