"""The accelerator's child process: real children that work, crash, hang, lie and talk nonsense."""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from edge.bundle import Bundle
from edge.errors import BundleError, RuntimeUnavailableError
from edge.runtimes.edgetpu import WORKER, EdgeTpu, Tensors
from edge.runtimes.edgetpu_device import find_edge_tpus, pycoral_kind, pycoral_warning
from edge.runtimes.tflite import TfliteModel
from tests.devdata import ROOT
from tests.edge.runtimes.conftest import PATIENCE_S, Child, inputs, process_state, wait_for


@contextmanager
def running(bundle: Bundle, command: tuple[str, ...], deadline_s: float = PATIENCE_S) -> Iterator[EdgeTpu]:
    model = EdgeTpu([bundle.read("edgetpu")], deadline_s=deadline_s, start_s=PATIENCE_S, command=command)
    try:
        yield model
    finally:
        model.close()
    assert process_state(model.pid) == "", "the child is still there, or a zombie"


def test_answers_from_another_process_are_the_cpu_s_own(tiny7: Bundle, cpu: TfliteModel, child: Child) -> None:
    with running(tiny7, child.command) as model:
        model.ready()
        assert (model.tensors, model.backend) == ((Tensors(cpu.input, cpu.outputs),), "edgetpu")
        assert child.pids == [model.pid] != [os.getpid()]
        for tensor in inputs(20, cpu):
            np.testing.assert_array_equal(model.invoke(0, tensor)[0], cpu.invoke(tensor)[0])
        with pytest.raises(BundleError, match=r"expected an input tensor \(1, 48, 48, 1\) int8"):
            model.invoke(0, np.zeros((1, 64, 64, 1), np.int8))


def test_one_child_runs_several_models(tiny7: Bundle, cpu: TfliteModel, child: Child) -> None:
    other = (tiny7.folder.parent / "tiny3" / "emotion.int8.tflite").read_bytes()
    other_cpu = TfliteModel(other)
    with closing(EdgeTpu([tiny7.read("edgetpu"), other], start_s=PATIENCE_S, command=child.command)) as model:
        model.ready()
        for tensor, other_tensor in zip(inputs(3, cpu), inputs(3, other_cpu), strict=True):
            np.testing.assert_array_equal(model.invoke(1, other_tensor)[0], other_cpu.invoke(other_tensor)[0])
            np.testing.assert_array_equal(model.invoke(0, tensor)[0], cpu.invoke(tensor)[0])
        assert len(child.pids) == 1


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("segv", r"crashed \(SIGSEGV\); libedgetpu and the TFLite runtime may be built for different"),
        ("abort", r"crashed \(SIGABRT\); the stick may have been pulled out"),
        ("exit", "ended with exit code 3|closed its connection"),  # Python closes files before it ends
        ("hang", r"did not answer within 0.5 s; check its power"),
        ("freeze", r"did not answer within 0.5 s"),
        ("fail", "USB transfer error 2"),
        ("short", "answered 6 bytes, expected 7"),
        ("noise", "answered garbage"),
        ("stale", "answered garbage"),
    ],
)
def test_a_failing_child_is_named_and_killed(
    tiny7: Bundle, cpu: TfliteModel, child: Child, behaviour: str, message: str
) -> None:
    child.behave(f"{behaviour} 3")
    # Only hangs may meet the deadline, whatever the machine's load.
    deadline_s = 0.5 if behaviour in ("hang", "freeze") else PATIENCE_S
    first, second, third = inputs(3, cpu)
    with running(tiny7, child.command, PATIENCE_S) as model:
        model.ready()
        np.testing.assert_array_equal(model.invoke(0, first)[0], cpu.invoke(first)[0])
        model.invoke(0, second)
        model._deadline_s = deadline_s
        with pytest.raises(RuntimeUnavailableError, match=message) as caught:
            model.invoke(0, third)
        assert "\n" not in str(caught.value)
        with pytest.raises(RuntimeUnavailableError):
            model.invoke(0, third)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("segv 0", "SIGSEGV"),
        ("fail 0", "USB transfer error"),
        ("noise 0", "garbage"),
        ("hang 0", "did not start within"),
    ],
)
def test_a_child_that_fails_to_load(tiny7: Bundle, child: Child, behaviour: str, message: str) -> None:
    child.behave(behaviour)
    start_s = 3.0 if behaviour == "hang 0" else PATIENCE_S
    model = EdgeTpu([tiny7.read("edgetpu")], start_s=start_s, command=child.command)
    with pytest.raises(RuntimeUnavailableError, match=message):
        model.ready()
    model.close()
    assert process_state(model.pid) == ""


def test_a_damaged_model_is_reported_by_the_child(child: Child) -> None:
    model = EdgeTpu([b"no model at all"], start_s=PATIENCE_S, command=child.command)
    with pytest.raises(RuntimeUnavailableError, match="not a TFLite model"):
        model.ready()
    model.close()


def test_a_driver_s_chatter_is_not_taken_for_an_answer(tiny7: Bundle, cpu: TfliteModel, child: Child) -> None:
    child.behave("print 1")
    with running(tiny7, child.command) as model:
        model.ready()
        for tensor in inputs(3, cpu):
            np.testing.assert_array_equal(model.invoke(0, tensor)[0], cpu.invoke(tensor)[0])


def test_a_command_that_can_t_be_started() -> None:
    with pytest.raises(RuntimeUnavailableError, match="can't be started"):
        EdgeTpu([b""], command=("/nowhere/python",))


def test_the_child_ends_with_a_parent_that_was_killed(tiny7: Bundle, child: Child) -> None:
    parent = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from edge.bundle import load_bundle
        from edge.runtimes.edgetpu import EdgeTpu
        model = EdgeTpu([load_bundle(Path({str(tiny7.folder)!r})).read("edgetpu")], command={child.command!r})
        model.ready()
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", parent], cwd=ROOT, timeout=PATIENCE_S, check=False)
    assert done.returncode == -9
    (pid,) = child.pids
    # Whoever inherits it may be slow to reap it: dead is enough.
    wait_for(lambda: process_state(pid) in ("", "Z"), "the orphan's end")


def has_libedgetpu() -> bool:
    found = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    return "libedgetpu" in found


@pytest.mark.skipif(has_libedgetpu(), reason="libedgetpu is installed here")
def test_the_real_worker_without_libedgetpu(tiny7: Bundle) -> None:
    with running(tiny7, WORKER) as model, pytest.raises(RuntimeUnavailableError) as caught:
        model.ready()
    assert re.search(r"expected libedgetpu.so.1, it can't be loaded \(.*cannot open shared object", str(caught.value))
    assert "install" in str(caught.value)


DELEGATE = r"""
/* A TFLite delegate that claims no operation, so that the CPU runs them all; or fails as libedgetpu does. */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
typedef struct { void *data; int (*prepare)(void *, void *); void *copies[3]; int64_t flags; void *builder; } Delegate;
static int prepare(void *context, void *delegate) {
#if defined(PREPARE_SEGV)
    raise(SIGSEGV); /* an ABI mismatch shows when the interpreter is built */
#endif
    return 0;
}
void *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
#if defined(NO_DEVICE)
    return NULL; /* as libedgetpu: no message */
#elif defined(ABORT)
    abort();
#elif defined(HANG)
    for (;;) pause(); /* holding Python's lock: nothing in the child can end it but the kernel */
#endif
    Delegate *delegate = calloc(1, 1024);
    delegate->prepare = prepare;
    return delegate;
}
void tflite_plugin_destroy_delegate(void *delegate) { free(delegate); }
"""


@pytest.fixture
def make_library(tmp_path: Path) -> "MakeLibrary":
    return MakeLibrary(tmp_path)


class MakeLibrary:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, fault: str) -> tuple[str, ...]:
        """The real worker's command with a delegate library of that fault, compiled by this machine's C compiler."""
        source, library = self.folder / "delegate.c", self.folder / f"lib{fault}.so"
        source.write_text(DELEGATE)
        try:
            subprocess.run(["cc", "-shared", "-fPIC", f"-D{fault}", "-o", library, source], check=True)
        except FileNotFoundError:
            pytest.skip("a C compiler is needed to make the delegate library")
        return (*WORKER, "--library", str(library))


def test_the_real_worker_with_a_real_delegate(tiny7: Bundle, cpu: TfliteModel, make_library: MakeLibrary) -> None:
    with running(tiny7, make_library("WORKS")) as model:
        model.ready()
        for tensor in inputs(5, cpu):
            np.testing.assert_array_equal(model.invoke(0, tensor)[0], cpu.invoke(tensor)[0])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("NO_DEVICE", r"could not take the Edge TPU \(Failed to load delegate from .*\); check plug, power"),
        ("ABORT", "SIGABRT"),
        ("PREPARE_SEGV", "SIGSEGV.*different TensorFlow versions"),
        ("HANG", "did not start within 5 s"),
    ],
)
def test_the_real_worker_with_a_failing_delegate(
    tiny7: Bundle, make_library: MakeLibrary, fault: str, message: str
) -> None:
    start_s = 5.0 if fault == "HANG" else PATIENCE_S
    model = EdgeTpu([tiny7.read("edgetpu")], start_s=start_s, command=make_library(fault))
    with pytest.raises(RuntimeUnavailableError, match=message):
        model.ready()
    model.close()
    assert process_state(model.pid) == ""


def write_package(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / "pycoral" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_google_s_pycoral_is_used(
    tiny7: Bundle, cpu: TfliteModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = f"""
        from edge.runtimes.tflite import import_runtime
        def make_interpreter(model, device=None, delegate=None):
            open({str(tmp_path / "used")!r}, "w").close()
            return import_runtime()[1].Interpreter(model_content=model)
    """
    write_package(tmp_path, {"__init__.py": "", "utils/__init__.py": "", "utils/edgetpu.py": textwrap.dedent(make)})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    assert (pycoral_kind(), pycoral_warning()) == ("google", None)
    with running(tiny7, WORKER) as model:
        model.ready()
        (tensor,) = inputs(1, cpu)
        np.testing.assert_array_equal(model.invoke(0, tensor)[0], cpu.invoke(tensor)[0])
    assert (tmp_path / "used").exists()
    assert "pycoral" not in sys.modules


@pytest.mark.skipif(has_libedgetpu(), reason="libedgetpu is installed here")
def test_a_pycoral_of_another_python_leaves_the_delegate(
    tiny7: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(
        tmp_path, {"__init__.py": "", "utils/__init__.py": "", "utils/edgetpu.py": "raise ImportError('_pybind')"}
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with running(tiny7, WORKER) as model, pytest.raises(RuntimeUnavailableError, match=r"expected libedgetpu\.so\.1"):
        model.ready()


def test_pypi_s_pycoral_is_warned_about_and_never_imported(
    tiny7: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(tmp_path, {"__init__.py": f"open({str(tmp_path / 'imported')!r}, 'w')", "pycoral.py": ""})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    warning = pycoral_warning()
    assert warning is not None
    assert "pip uninstall pycoral" in warning
    with running(tiny7, WORKER) as model, pytest.raises(RuntimeUnavailableError):
        model.ready()
    assert not (tmp_path / "imported").exists()


def test_edge_tpus_are_found_in_sysfs(tmp_path: Path) -> None:
    assert find_edge_tpus(tmp_path) == []
    for name, vendor, product in (("1-1", "1d6b", "0002"), ("2-1", "18d1", "9302"), ("2-2", "1a6e", "089a")):
        device = tmp_path / "sys/bus/usb/devices" / name
        device.mkdir(parents=True)
        (device / "idVendor").write_text(vendor + "\n")
        (device / "idProduct").write_text(product + "\n")
    (tmp_path / "sys/bus/usb/devices/2-1/speed").write_text("5000\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/apex_0").touch()
    assert find_edge_tpus(tmp_path) == [
        "USB 18d1:9302 (after its first inference) at 5000 Mbit/s",
        "USB 1a6e:089a (before its first inference) at unknown Mbit/s",
        "PCIe /dev/apex_0",
    ]
