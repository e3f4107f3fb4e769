"""The whole appliance with an accelerator that keeps aborting: ``python -m edge run`` as its user starts it."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.devdata import ROOT
from tests.edge.runtimes.conftest import GOLDEN

PYCORAL = """
    import os
    from edge.runtimes.tflite import import_runtime

    class Dying(import_runtime()[1].Interpreter):
        count = 0

        def invoke(self):
            self.count += 1
            if self.count == 30:
                os.abort()  # as libedgetpu does when the stick is pulled out
            super().invoke()

    def make_interpreter(model, device=None, delegate=None):
        return Dying(model_content=model)
"""
CONFIG = """
    [device]
    state_dir = "{state}"
    [classifier]
    bundle = "{bundle}"
    backend = "edgetpu"
    retry_min_s = 0.2
    retry_max_s = 0.2
    [detector]
    kind = "haar"
"""


@pytest.mark.slow
def test_run_survives_an_accelerator_that_aborts_again_and_again(tmp_path: Path) -> None:
    utils = tmp_path / "pycoral" / "utils"
    utils.mkdir(parents=True)
    (utils.parent / "__init__.py").touch()
    (utils / "__init__.py").touch()
    (utils / "edgetpu.py").write_text(textwrap.dedent(PYCORAL))
    config = tmp_path / "config.toml"
    config.write_text(textwrap.dedent(CONFIG).format(state=tmp_path / "state", bundle=GOLDEN / "tiny7"))
    clip = ROOT / "edge" / "demo" / "astronaut.mp4"
    done = subprocess.run(
        [sys.executable, "-m", "edge", "run", "--config", str(config), "--source", str(clip)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    # She enters, leaves, and comes back.
    kinds = [event["event_type"] for event in events if event["event_type"] != "change"]
    assert kinds == ["start", "end", "start", "end"]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert done.stderr.count("inference moved to edgetpu") >= 2, done.stderr
    assert "crashed (SIGABRT); the stick may have been pulled out" in done.stderr
    assert "Traceback" not in done.stderr
