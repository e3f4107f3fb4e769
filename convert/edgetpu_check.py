"""Will it map? ``python -m convert check FILE.tflite`` reads a model and says op by op what the Edge TPU would run.

An estimate by the compiler's documented rules, for those who can't run the compiler: nothing is compiled here. The
compiler maps one run of operators from the start; after the first that stays on the CPU everything does.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.edgetpu_rules import RECIPE_MEND, activation_bytes, dynamic, first_complaint, open_question
from convert.flatbuffer import Graph, Operator, Tensor, macs, parse_tflite
from edge.errors import EXIT_FAILURE, EXIT_OK, ConversionError

ON_CHIP_BYTES = int(7.7 * 2**20)
"""For parameters; a model of less stays on the chip whole."""
CUSTOM_OP = "edgetpu-custom-op"


@dataclass(frozen=True, slots=True)
class Verdict:
    op: Operator
    maps: bool
    reason: str
    """Empty where it maps."""
    mend: str


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    verdicts: tuple[Verdict, ...]
    refusals: tuple[tuple[str, str], ...]
    """(reason, mend) for which the compiler refuses the whole file."""
    compiled: bool
    """It is already a compiled file, with the custom operator inside."""

    @property
    def ok(self) -> bool:
        return not self.refusals and all(verdict.maps for verdict in self.verdicts)

    @property
    def open_questions(self) -> list[str]:
        """Operators that should map, of which no public source says so."""
        return [question for each in self.verdicts if each.maps and (question := open_question(each.op))]

    @property
    def macs(self) -> int:
        return sum(macs(verdict.op) for verdict in self.verdicts)

    @property
    def mapped_macs(self) -> int:
        return sum(macs(verdict.op) for verdict in self.verdicts if verdict.maps)

    @property
    def parameter_bytes(self) -> int:
        """Weights and biases of what maps, each constant once; a hardware layout adds some padding."""
        tensors = {t.index: t for verdict in self.verdicts if verdict.maps for t in verdict.op.inputs if t is not None}
        return sum(len(tensor.constant) for tensor in tensors.values() if tensor.constant is not None)

    @property
    def working_bytes(self) -> int:
        """The most that one operator's inputs and outputs occupy."""
        return max((activation_bytes(verdict.op) for verdict in self.verdicts if verdict.maps), default=0)

    def facts(self) -> dict[str, Any]:
        """The totals, for a card or --json."""
        return {
            "maps_whole": self.ok,
            "operators": len(self.verdicts),
            "operators_mapped": sum(verdict.maps for verdict in self.verdicts),
            "macs": self.macs,
            "macs_mapped": self.mapped_macs,
            "parameter_bytes_on_chip": self.parameter_bytes,
            "working_bytes": self.working_bytes,
            "fits_on_chip": self.parameter_bytes <= ON_CHIP_BYTES,
            "not_established": self.open_questions,
        }


def check_bytes(content: bytes, name: str) -> Check:
    """Check a model's bytes. Raises ConversionError where they are not readable as TFLite."""
    graphs = parse_tflite(content, name)
    main = graphs[0]
    compiled = any(op.custom and op.name == CUSTOM_OP for op in main.operators)
    refusals = () if compiled else tuple(_refusals(graphs))
    verdicts: list[Verdict] = []
    blocker: Operator | None = None
    for op in main.operators:
        complaint = None if op.custom and op.name == CUSTOM_OP else first_complaint(op)
        if complaint is None and refusals:
            complaint = "the compiler refuses the whole file", "see above"
        elif complaint is None and blocker is not None:
            complaint = f"after {blocker.name} (op {blocker.index}), which stays on the CPU", "mend that one first"
        verdicts.append(Verdict(op, complaint is None, *(complaint or ("", ""))))
        # A float input's own QUANTIZE runs on the CPU and does not end the mapping (compiler reports show it).
        if complaint is not None and blocker is None and not _entry(op, main):
            blocker = op
    return Check(name, tuple(verdicts), refusals, compiled)


def _entry(op: Operator, graph: Graph) -> bool:
    return op.name == "QUANTIZE" and op.inputs[:1] == graph.inputs[:1]


def _refusals(graphs: list[Graph]) -> list[tuple[str, str]]:
    found = []
    if len(graphs) > 1:
        found.append(
            (f"{len(graphs)} subgraphs, only one is supported", "convert one function without branches or loops")
        )
    activations = [tensor for graph in graphs for tensor in graph.tensors if tensor.constant is None]
    if any(dynamic(tensor) for tensor in activations):
        found.append(
            (
                "dynamic shapes, only static ones are supported",
                "convert with a fixed batch: keras.Input(batch_shape=(1, H, W, C))",
            )
        )
    if not any(tensor.dtype in ("INT8", "UINT8") and tensor.scales for tensor in activations):
        found.append(("the model is not quantized", RECIPE_MEND))
    return found


def table(check: Check) -> str:
    """Op by op: number, name, version, shapes, verdict."""
    lines = [f"{'op':>3}  {'name':<24} {'ver':>3}  {'inputs -> outputs':<46} maps"]
    for verdict in check.verdicts:
        op = verdict.op
        shapes = f"{_shapes(op.inputs)} -> {_shapes(op.outputs)}"
        said = "yes" if verdict.maps else f"NO: {verdict.reason}; {verdict.mend}"
        lines.append(f"{op.index:>3}  {op.name:<24} {op.version:>3}  {shapes:<46} {said}")
    return "\n".join(lines)


def summary(check: Check) -> str:
    """The totals in a few lines."""
    facts = check.facts()
    share = 100 * facts["macs_mapped"] / facts["macs"] if facts["macs"] else 0.0
    if check.compiled:
        head = "already compiled: it holds the Edge TPU's custom operator"
    else:
        head = "every operator will map" if check.ok else "not every operator will map"
    lines = [f"Edge TPU check of {check.name}: {head} (by the documented rules; nothing was compiled)"]
    lines += [f"  refused as a whole: {reason}; {mend}" for reason, mend in check.refusals]
    lines += [f"  not established: {question}" for question in check.open_questions]
    lines += [
        f"  operators mapped     {facts['operators_mapped']} of {facts['operators']}",
        f"  multiply-adds mapped {facts['macs_mapped']:,} of {facts['macs']:,} ({share:.1f} %)",
        f"  on-chip parameters   about {facts['parameter_bytes_on_chip'] / 1024:.0f} of {ON_CHIP_BYTES / 1024:.0f} KiB"
        + ("" if facts["fits_on_chip"] else ": the rest is streamed for every inference"),
        f"  largest activations  {facts['working_bytes'] / 1024:.0f} KiB for one operator",
    ]
    return "\n".join(lines)


def _shapes(tensors: tuple[Tensor | None, ...]) -> str:
    return " ".join("x".join(map(str, t.signature)) or "scalar" for t in tensors if t is not None)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.tflite")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the verdicts; exit 1 when something will not map."""
    try:
        content = args.file.read_bytes()
    except OSError as error:
        raise ConversionError(f"{args.file} can't be read ({error.strerror}); name a .tflite file") from error
    check = check_bytes(content, args.file.name)
    print(json.dumps(_as_json(check), indent=2) if args.json else f"{table(check)}\n\n{summary(check)}")
    return EXIT_OK if check.ok else EXIT_FAILURE


def _as_json(check: Check) -> dict[str, Any]:
    return {
        "file": check.name,
        "compiled": check.compiled,
        **check.facts(),
        "refusals": [{"reason": reason, "mend": mend} for reason, mend in check.refusals],
        "ops": [
            {
                "index": verdict.op.index,
                "name": verdict.op.name,
                "version": verdict.op.version,
                "inputs": [list(t.signature) for t in verdict.op.inputs if t is not None],
                "outputs": [list(t.signature) for t in verdict.op.outputs],
                "macs": macs(verdict.op),
                "maps": verdict.maps,
                "reason": verdict.reason,
                "mend": verdict.mend,
            }
            for verdict in check.verdicts
        ],
    }
