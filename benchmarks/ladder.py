"""What the accelerator ladder does at each rung, in seconds.

    python -m benchmarks.ladder [--deadline-s 0.5] [--json]

Real child processes that run the tiny test bundle and then crash, hang, lie or fail. For each fault: how long the call
took that met it (the frame that is served late), and how long until the accelerator served again, of which the back-off
(0.5 s here, 5 s as shipped) is a part. ``usual`` is the median call on the accelerator, child process included.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle, load_bundle
from edge.runtimes.backends import open_model
from edge.runtimes.golden import load_golden
from edge.runtimes.ladder import Rung
from edge.runtimes.tflite import TfliteModel, runtime_name
from edge.settings import ClassifierSettings

ROOT = Path(__file__).resolve().parent.parent
FAULTS = ("segv", "abort", "exit", "hang", "freeze", "fail", "short", "noise", "stale")
CALLS = 200
BACK_OFF_S = 0.5
PATIENCE_S = 60.0


def until(condition: Callable[[], object]) -> float:
    """Seconds until ``condition`` holds."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > PATIENCE_S:
            raise TimeoutError(f"waited {PATIENCE_S:g} s")
        time.sleep(0.001)
    return time.monotonic() - began


def timed(model: TfliteModel | Rung, tensor: NDArray[np.int8]) -> float:
    began = time.perf_counter()
    model.invoke(tensor)
    return time.perf_counter() - began


def measure(bundle: Bundle, fault: str, deadline_s: float, folder: Path) -> dict[str, float | str]:
    """One life that ends by ``fault`` after CALLS calls, and the return."""
    behaviour = folder / fault
    behaviour.write_text(f"{fault} {1 + len(load_golden(bundle, 'edgetpu')) + CALLS}")
    command = (sys.executable, "-m", "tests.edge.runtimes.standin_worker", "--behaviour", str(behaviour))
    settings = ClassifierSettings(
        backend="edgetpu", deadline_s=deadline_s, retry_min_s=BACK_OFF_S, retry_max_s=BACK_OFF_S, recheck_s=PATIENCE_S
    )
    tensor = np.zeros(bundle.input.shape, np.int8)
    with closing(open_model(bundle, settings, command=command)) as ladder:
        assert isinstance(ladder, Rung)
        first_s = timed(ladder, tensor)
        start_s = until(lambda: ladder.accelerated)
        usual_s = statistics.median(timed(ladder, tensor) for _ in range(CALLS))
        behaviour.write_text("good")
        failing_s = timed(ladder, tensor)
        assert ladder.backend.startswith("cpu"), "the fault did not happen"
        reason = str(ladder.degraded_reason)
        back_s = until(lambda: ladder.accelerated)
    return {
        "fault": fault,
        "first_call_s": first_s,
        "start_s": start_s,
        "usual_s": usual_s,
        "failing_call_s": failing_s,
        "back_after_s": back_s,
        "reason": reason,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.ladder", description=__doc__.splitlines()[0])
    parser.add_argument("--deadline-s", type=float, default=ClassifierSettings().deadline_s)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    bundle = load_bundle(ROOT / "tests" / "golden" / "tiny7")
    cpu = TfliteModel(bundle.read("int8"))
    cpu_s = statistics.median(timed(cpu, np.zeros(bundle.input.shape, np.int8)) for _ in range(CALLS))
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(bundle, fault, args.deadline_s, Path(folder)) for fault in FAULTS]
    if args.json:
        print(json.dumps({"runtime": runtime_name(), "deadline_s": args.deadline_s, "cpu_s": cpu_s, "faults": rows}))
        return 0
    print(f"{runtime_name()}, deadline {args.deadline_s:g} s, the same call on the CPU of this process {cpu_s:.5f} s")
    print(f"{'fault':8}{'ready':>8}{'usual':>10}{'the late call':>15}{'back after':>12}  said")
    for row in rows:
        print(
            f"{row['fault']:8}{row['start_s']:7.2f}s{row['usual_s']:9.5f}s{row['failing_call_s']:14.4f}s"
            f"{row['back_after_s']:11.2f}s  {row['reason']}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
