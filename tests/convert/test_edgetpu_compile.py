"""The compiler's wrapper against a stand-in that says and does what the real one is known to."""

import json
import shutil
import sys
import time
from pathlib import Path

import pytest

from convert.__main__ import main
from convert.edgetpu_compile import compile_model, parse_report
from convert.flatbuffer import read_tflite
from edge.bundle import load_bundle
from edge.errors import ConversionError
from tests.convert import stand_in_compiler
from tests.convert.conftest import Made

MIB = 2**20


def stand_in(folder: Path, *behaviour: str) -> Path:
    """An executable that behaves so, run after run (the last one for ever)."""
    folder.mkdir(exist_ok=True)
    script = folder / "edgetpu_compiler"
    script.write_text(f"#!{sys.executable}\n{Path(stand_in_compiler.__file__).read_text()}")
    script.chmod(0o755)
    (folder / "behaviour.txt").write_text("\n".join(behaviour))
    return script


def bundle_of(made: Made, folder: Path) -> Path:
    return Path(shutil.copytree(made.bundle, folder / "emotion"))


def test_success_is_put_into_the_bundle(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = bundle_of(made, tmp_path)
    compiler = stand_in(tmp_path / "bin", "succeed")
    assert main(["compile", str(bundle), "--compiler", str(compiler)]) == 0
    assert "4 of 4 operators mapped" in capsys.readouterr().out
    loaded = load_bundle(bundle)
    assert loaded.files["edgetpu"].path == "emotion.int8_edgetpu.tflite"
    (op,) = read_tflite(loaded.path("edgetpu"))[0].operators
    assert op.name == "edgetpu-custom-op"
    facts = loaded.card["edgetpu"]["compiled"]
    assert facts["compiler"] == "16.0.384591198" and facts["subgraphs"] == 1
    assert facts["on_chip_bytes"] == round(1.01 * MIB) and facts["off_chip_bytes"] == 0
    assert {"name": "CONV_2D", "count": 2, "status": "Mapped to Edge TPU"} in facts["operators"]
    assert main(["verify", str(bundle)]) == 0
    # Again: the old compiled file is replaced, not compiled itself.
    assert main(["compile", str(bundle), "--compiler", str(compiler)]) == 0
    assert load_bundle(bundle).files["edgetpu"].path == "emotion.int8_edgetpu.tflite"


def test_build_compiles_where_the_compiler_is_on_path(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = stand_in(tmp_path / "bin", "abort", "partly")
    monkeypatch.setenv("PATH", f"{compiler.parent}:/usr/bin:/bin")
    out = tmp_path / "emotion"
    assert main([str(made.run), "--out", str(out), "--data", str(made.data)]) == 0
    facts = json.loads((out / "card.json").read_text())["edgetpu"]["compiled"]
    assert (facts["operators_mapped"], facts["operators_total"]) == (3, 4)
    assert facts["operators"][-1]["status"].startswith("Operation is otherwise supported")
    assert "edgetpu" in load_bundle(out).files


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (["abort", "abort"], "failed 2 times"),
        (["not quantized"], "Model not quantized"),
        (["dynamic"], "static-sized tensors"),
        (["nothing mapped"], "expected edgetpu-custom-op"),
        (["wrong outside"], "another input or output"),
        (["no file"], "wrote no"),
        (["another report"], "in the compiler's report"),
    ],
)
def test_failures_leave_the_bundle_as_it_was(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], behaviour: list[str], said: str
) -> None:
    bundle = bundle_of(made, tmp_path)
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    assert main(["compile", str(bundle), "--compiler", str(stand_in(tmp_path / "bin", *behaviour))]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "emotion"]


def test_it_fails_then_succeeds(made: Made, tmp_path: Path) -> None:
    int8 = made.bundle / "emotion.int8.tflite"
    report = compile_model(stand_in(tmp_path / "bin", "abort", "succeed"), int8, tmp_path)
    assert report["operators_mapped"] == 4 and (tmp_path / report["file"]).is_file()


def test_a_hanging_compiler_is_stopped(made: Made, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(ConversionError, match="no result within 1 s"):
        compile_model(stand_in(tmp_path / "bin", "hang"), made.bundle / "emotion.int8.tflite", tmp_path, timeout_s=1.0)
    assert time.monotonic() - start < 60


def test_without_a_compiler_nothing_is_claimed(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["compile", str(made.bundle)]) == 1
    said = capsys.readouterr().err
    assert "nothing was compiled" in said and "https://" in said and said.count("\n") == 1
    assert main(["compile", str(made.bundle), "--compiler", str(tmp_path / "none")]) == 1
    assert json.loads((made.bundle / "card.json").read_text())["edgetpu"]["compiled"] is None


def test_report_of_a_streamed_model() -> None:
    text = stand_in_compiler.REPORT.format(source="a", made="b", log="c", partly="", mean="Mapped to Edge TPU")
    text = text.replace("parameters: 0.00B", "parameters: 175.00KiB").replace("6.72MiB", "1.00KiB")
    report = parse_report(text)
    assert (report["off_chip_bytes"], report["on_chip_remaining_bytes"]) == (175 * 1024, 1024)
    assert report["seconds"] == 0.557
    with pytest.raises(ConversionError, match="compiler's report"):
        parse_report("Model compiled successfully in 5 ms.")
