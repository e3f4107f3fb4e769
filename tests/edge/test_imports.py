"""A fresh interpreter imports no more than it needs: each adapter's library only when the adapter is chosen."""

import subprocess
import sys

import pytest

from tests.devdata import ROOT

HEAVY = {
    "tensorflow",
    "keras",
    "paho",
    "picamera2",
    "tflite_runtime",
    "ai_edge_litert",
    "pycoral",
    "amqtt",
    "train",
    "convert",
    "matplotlib",
    "pytest",
}


def imported(statements: str) -> set[str]:
    """Top-level names in sys.modules, and this project's modules, after the statements, in a new interpreter."""
    code = f"{statements}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    modules = done.stdout.split()
    return {module.partition(".")[0] for module in modules} | {m for m in modules if m.startswith("edge.")}


@pytest.mark.parametrize("statements", ["import edge", "import edge.__main__", "import edge.config"])
def test_the_command_line_needs_only_the_standard_library(statements: str) -> None:
    assert not imported(statements) & (HEAVY | {"numpy", "cv2"})


def test_the_application_pulls_in_no_adapters_library() -> None:
    modules = imported("import edge.app")
    assert {"numpy", "cv2"} <= modules
    assert not modules & HEAVY
    adapters = {"detectors.haar", "sinks.mqtt", "sinks.stdout", "cameras.picamera", "cameras.usb", "cameras.network"}
    assert not modules & {f"edge.{name}" for name in adapters}


@pytest.mark.parametrize(
    ("choose", "chosen", "left_out"),
    [
        ("MAKERS['detector']['haar'](DetectorSettings(), None)", "edge.detectors.haar", "paho"),
        ("MAKERS['sink']['stdout'](MqttSettings(), None, None, None)", "edge.sinks.stdout", "paho"),
        (
            "ThreadedCamera(CameraSettings(source='edge/demo/astronaut.mp4'), True)._thread._open_source().close()",
            "edge.cameras.video_file",
            "picamera2",
        ),
    ],
)
def test_a_choice_imports_its_adapter_and_no_other(choose: str, chosen: str, left_out: str) -> None:
    statements = f"from edge.app import *\nfrom edge.settings import *\n{choose}"
    modules = imported(statements)
    assert chosen in modules
    assert not modules & (HEAVY - {"pytest"})
    assert left_out not in modules


def test_mqtt_is_imported_for_mqtt() -> None:
    assert "paho" in imported("import edge.sinks.mqtt")


def test_the_whole_run_of_a_file_needs_neither_tensorflow_nor_picamera2() -> None:
    statements = (
        "import sys, tempfile\n"
        "from edge.__main__ import main\n"
        "from pathlib import Path\n"
        "folder = tempfile.mkdtemp()\n"
        "Path(folder, 'c.toml').write_text(f'[device]\\nstate_dir = \"{folder}\"\\n[detector]\\nkind = \"haar\"\\n')\n"
        "stdout, sys.stdout = sys.stdout, sys.stderr\n"
        "arguments = ['--source', 'edge/demo/astronaut.mp4', '--bundle', 'tests/golden/tiny7', '--fast']\n"
        "assert main(['run', '--config', folder + '/c.toml', *arguments]) == 0\n"
        "sys.stdout = stdout"
    )
    modules = imported(statements)
    assert "edge.pipeline" in modules
    assert not modules & (HEAVY - {"tflite_runtime", "ai_edge_litert"})
