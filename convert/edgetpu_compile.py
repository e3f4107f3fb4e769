"""Run Google's Edge TPU compiler where there is one, and read its report; without it, nothing is compiled.

``python -m convert compile BUNDLE`` compiles a bundle's int8 file and puts the result and the facts into the bundle.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from convert.edgetpu_check import CUSTOM_OP
from convert.flatbuffer import Graph, read_tflite
from edge.errors import ConversionError

COMPILER = "edgetpu_compiler"
TIMEOUT_S = 300.0
ATTEMPTS = 2
"""It is known to abort with an internal error and to succeed when run again (google-coral/edgetpu issue 211)."""
WHERE = (
    "edgetpu_compiler (x86-64 Linux only) is not on PATH; a copy of version 16.0 is at "
    "https://github.com/ultralytics/assets/releases/download/v0.0.0/edgetpu-compiler_16.0_amd64.tar.gz (published "
    "sha256 f9a97adbf2ff621d24a91721191264f2abc3c1db31e63d9a266d988f907269ce); Google's apt repository is gone"
)
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def add_compiler_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--compiler", metavar="FILE", help=f"the Edge TPU compiler; without it, {COMPILER} on PATH")
    parser.add_argument(
        "--compile-timeout-s", type=float, default=TIMEOUT_S, metavar="S", help="time limit of one attempt"
    )


def find_compiler(named: str | None) -> Path | None:
    """The compiler's path; None where none is named and none is on PATH. ConversionError where the named one is not."""
    found = shutil.which(named or COMPILER)
    if named and found is None:
        raise ConversionError(f"expected an executable Edge TPU compiler at {named}, found none; {WHERE}")
    return Path(found) if found else None


def compile_beside(int8: Path, args: argparse.Namespace) -> dict[str, Any] | None:
    """Compile an int8 file into its own folder. The facts for the card; without a compiler None, and a line says so."""
    compiler = find_compiler(args.compiler)
    if compiler is None:
        print(f"nothing was compiled for the Edge TPU: {WHERE}", file=sys.stderr)
        return None
    return compile_model(compiler, int8, int8.parent, args.compile_timeout_s)


def compile_model(compiler: Path, int8: Path, folder: Path, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Run the compiler on ``int8``, verify what it made and move it to ``folder``.

    Returns its report: version, operators, memory. Raises ConversionError where it fails twice, runs out of time, or
    gives a file without the custom operator or with another outside than ``int8``.
    """
    with tempfile.TemporaryDirectory(prefix="edgetpu-") as scratch:
        output = _attempt(compiler, int8, Path(scratch), timeout_s)
        made = Path(scratch) / f"{int8.stem}_edgetpu.tflite"
        if not made.is_file():
            raise ConversionError(f"{compiler} said it succeeded but wrote no {made.name}; run it by hand to see why")
        report = parse_report(output)
        _verify(made, int8)
        shutil.copyfile(made, folder / made.name)
    return {"file": made.name, **report}


def _attempt(compiler: Path, int8: Path, scratch: Path, timeout_s: float) -> str:
    # -s: operators one by one in the report. No -m: with -m 10 or 11 nothing maps.
    command = [str(compiler), "-s", "-o", str(scratch), str(int8)]
    failure = ""
    for _ in range(ATTEMPTS):
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            failure = f"no result within {timeout_s:.0f} s"
            continue
        except OSError as error:
            raise ConversionError(f"{compiler} can't be run ({error.strerror}); {WHERE}") from error
        output = done.stdout + done.stderr
        if done.returncode == 0 and "compiled successfully" in output:
            return output
        failure = _failure_line(output) or f"exit {done.returncode}, nothing said"
    raise ConversionError(
        f"{compiler.name} failed {ATTEMPTS} times on {int8.name}: {failure}; "
        "python -m convert check says which operators it refuses"
    )


def _failure_line(output: str) -> str:
    """What the output says went wrong, else its last line, in one line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|invalid|not quantized", line, re.IGNORECASE)]
    return "; ".join(telling or lines[-1:])[:300]


def parse_report(output: str) -> dict[str, Any]:
    """The compiler's text as values. Raises ConversionError where a figure that must be there is not.

    ``operators``: one entry for each line of its table, with name, count and status.
    """
    operators = [
        {"name": name, "count": int(count), "status": status.strip()}
        for name, count, status in re.findall(
            r"^([A-Za-z][A-Z0-9_a-z-]*)[ \t]+(\d+)[ \t]+(\S.*)$", output, re.MULTILINE
        )
    ]
    mapped = sum(op["count"] for op in operators if op["status"] == "Mapped to Edge TPU")
    return {
        "compiler": _find(output, r"Edge TPU Compiler version (\S+)"),
        "seconds": int(_find(output, r"compiled successfully in (\d+) ms")) / 1000,
        "subgraphs": int(_find(output, r"Number of Edge TPU subgraphs: (\d+)")),
        "operators_total": int(_find(output, r"Total number of operations: (\d+)")),
        "operators_mapped": mapped,
        "on_chip_bytes": _size(output, "On-chip memory used for caching model parameters"),
        "on_chip_remaining_bytes": _size(output, "On-chip memory remaining for caching model parameters"),
        "off_chip_bytes": _size(output, "Off-chip memory used for streaming uncached model parameters"),
        "operators": operators,
    }


def _find(output: str, pattern: str) -> str:
    match = re.search(pattern, output)
    if match is None:
        raise ConversionError(
            f"expected {pattern!r} in the compiler's report, did not find it; use edgetpu_compiler 16.0.384591198"
        )
    return match.group(1)


def _size(output: str, name: str) -> int:
    number, unit = _find(output, re.escape(name) + r": ([\d.]+(?:B|KiB|MiB|GiB))"), ""
    for unit in ("KiB", "MiB", "GiB", "B"):
        if number.endswith(unit):
            break
    return round(float(number.removesuffix(unit)) * _UNITS[unit])


def _verify(made: Path, int8: Path) -> None:
    compiled, source = read_tflite(made)[0], read_tflite(int8)[0]
    if not any(op.custom and op.name == CUSTOM_OP for op in compiled.operators):
        raise ConversionError(
            f"expected {CUSTOM_OP} in {made.name}, it has {', '.join(op.name for op in compiled.operators)[:100]}: "
            "nothing was mapped; python -m convert check says why"
        )
    if _outside(compiled) != _outside(source):
        raise ConversionError(
            f"{made.name} has another input or output than {int8.name}: {_outside(compiled)} and {_outside(source)}; "
            "the compiler is not to be trusted with this model"
        )


def _outside(graph: Graph) -> list[tuple[object, ...]]:
    return [(t.shape, t.dtype, t.scales, t.zero_points) for t in (*graph.inputs, *graph.outputs)]
