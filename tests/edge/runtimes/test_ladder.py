"""The ladder: whatever the accelerator does, every call is answered, rightly, by the best rung that works."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from edge.bundle import Bundle, load_bundle
from edge.errors import RuntimeUnavailableError
from edge.runtimes.backends import emotion_network, open_model, open_networks
from edge.runtimes.edgetpu import EdgeTpu
from edge.runtimes.golden import GoldenCase, check_golden, complaint, load_golden
from edge.runtimes.ladder import Ladder, Rung, wait_after
from edge.runtimes.tflite import TfliteModel
from edge.settings import ClassifierSettings
from tests.edge.runtimes.conftest import PATIENCE_S, Child, inputs, process_state, wait_for

NEVER_S = 3600.0


def settings(
    *, backend: str = "edgetpu", deadline_s: float = PATIENCE_S, retry_s: float = 0.05, recheck_s: float = NEVER_S
) -> ClassifierSettings:
    return ClassifierSettings(
        backend=backend,
        deadline_s=deadline_s,
        start_s=PATIENCE_S,
        recheck_s=recheck_s,
        retry_min_s=retry_s,
        retry_max_s=retry_s,
    )


@contextmanager
def ladder_over(bundle: Bundle, child: Child, chosen: ClassifierSettings) -> Iterator[Rung]:
    ladder = open_model(bundle, chosen, command=child.command)
    assert isinstance(ladder, Rung)
    with closing(ladder):
        yield ladder
    assert [pid for pid in child.pids if process_state(pid)] == [], "children are left"


def test_the_first_calls_are_the_cpu_s_and_then_the_accelerator_takes_over(
    tiny7: Bundle, cpu: TfliteModel, child: Child
) -> None:
    child.behave("hang 0")
    first, second = inputs(2, cpu)
    with ladder_over(tiny7, child, settings()) as ladder:
        np.testing.assert_array_equal(ladder.invoke(first)[0], cpu.invoke(first)[0])
        assert (ladder.backend, ladder.degraded_reason, ladder.accelerated) == (cpu.backend, None, False)
    child.behave("good")
    with ladder_over(tiny7, child, settings()) as ladder:
        wait_for(lambda: ladder.accelerated, "the accelerator")
        np.testing.assert_array_equal(ladder.invoke(second)[0], cpu.invoke(second)[0])
        assert (ladder.backend, ladder.degraded_reason) == ("edgetpu", None)


@pytest.mark.parametrize("fault", ["segv", "abort", "exit", "hang", "freeze", "fail", "short", "noise", "stale"])
def test_the_very_call_that_fails_is_the_cpu_s_and_the_accelerator_is_taken_back(
    tiny7: Bundle, cpu: TfliteModel, child: Child, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    golden = len(load_golden(tiny7, "edgetpu"))
    child.behave(f"{fault} {1 + golden + 2}")  # after the warm-up, the golden cases and two calls
    deadline_s = 2.0 if fault in ("hang", "freeze") else PATIENCE_S
    tensors = inputs(8, cpu)
    right = [cpu.invoke(tensor)[0] for tensor in tensors]
    with ladder_over(tiny7, child, settings(deadline_s=deadline_s)) as ladder:
        wait_for(lambda: ladder.accelerated, "the accelerator")
        child.behave("good")
        served = []
        for tensor, answer in zip(tensors[:3], right, strict=False):
            np.testing.assert_array_equal(ladder.invoke(tensor)[0], answer)
            served.append(ladder.backend)
        assert served == ["edgetpu", "edgetpu", cpu.backend]
        wait_for(lambda: ladder.accelerated, "the accelerator's return")
        assert ladder.degraded_reason is None
        np.testing.assert_array_equal(ladder.invoke(tensors[3])[0], right[3])
        assert ladder.backend == "edgetpu"
        first, second = child.pids
        assert process_state(first) == ""
        assert process_state(second) not in ("", "Z")
    said = [record.getMessage() for record in caplog.records if record.name == "edge.runtimes.ladder"]
    assert [line.split(":")[0] for line in said] == [
        "inference moved to edgetpu", "inference on cpu", "inference moved to edgetpu"
    ]  # fmt: skip


def test_every_call_has_one_answer_while_the_accelerator_comes_and_goes(
    tiny7: Bundle, cpu: TfliteModel, child: Child
) -> None:
    golden = len(load_golden(tiny7, "edgetpu"))
    child.behave(f"segv {1 + golden + 5}")  # every life ends at its sixth call
    backends = []
    with ladder_over(tiny7, child, settings()) as ladder:
        for number, tensor in enumerate(inputs(60, cpu)):
            if number % 10 == 0:
                wait_for(lambda: ladder.accelerated, "the accelerator's return")
            np.testing.assert_array_equal(ladder.invoke(tensor)[0], cpu.invoke(tensor)[0])
            backends.append(ladder.backend)
    assert len(backends) == 60
    assert 30 <= backends.count("edgetpu") < 60
    assert len(child.pids) >= 6


def test_a_liar_never_serves(tiny7: Bundle, cpu: TfliteModel, child: Child) -> None:
    child.behave("lie 1")
    with ladder_over(tiny7, child, settings()) as ladder:
        wait_for(lambda: ladder.degraded_reason, "the lie to be found")
        assert "steps off on a golden input" in str(ladder.degraded_reason)
        (tensor,) = inputs(1, cpu)
        np.testing.assert_array_equal(ladder.invoke(tensor)[0], cpu.invoke(tensor)[0])
        assert ladder.backend == cpu.backend
        child.behave("good")
        wait_for(lambda: ladder.accelerated, "the honest child")
        assert ladder.degraded_reason is None


@pytest.mark.parametrize(("fault", "reason"), [("lie", "steps off on a golden input"), ("abort", "SIGABRT")])
def test_an_accelerator_that_fails_later_is_found_even_where_nobody_asks(
    tiny7: Bundle, child: Child, fault: str, reason: str
) -> None:
    child.behave(f"{fault} 5")
    with ladder_over(tiny7, child, settings(recheck_s=0.05, retry_s=NEVER_S)) as ladder:
        wait_for(lambda: ladder.degraded_reason, "the re-check")
        assert reason in str(ladder.degraded_reason)
        assert not ladder.accelerated


def test_a_child_that_hangs_while_loading_blocks_neither_calls_nor_close(
    tiny7: Bundle, cpu: TfliteModel, child: Child
) -> None:
    child.behave("hang 0")
    with ladder_over(tiny7, child, settings()) as ladder:
        wait_for(lambda: child.pids, "the child")
        for tensor in inputs(10, cpu):
            np.testing.assert_array_equal(ladder.invoke(tensor)[0], cpu.invoke(tensor)[0])
    # ladder_over shows that close() killed it, long before its time to start was over.


def test_a_model_of_another_network_is_not_taken(tiny7: Bundle, cpu: TfliteModel, child: Child) -> None:
    other = Path(tiny7.folder.parent / "tiny3" / "emotion.int8.tflite").read_bytes()

    def make() -> EdgeTpu:
        return EdgeTpu([other], start_s=PATIENCE_S, command=child.command)

    with closing(Ladder([cpu], make, [load_golden(tiny7, "edgetpu")], settings())) as ladder:
        wait_for(lambda: ladder.degraded_reason, "the comparison")
        assert "not those of the int8 file" in str(ladder.degraded_reason)


def test_twenty_crashes_leave_no_zombies_and_no_open_files(tiny7: Bundle, cpu: TfliteModel, child: Child) -> None:
    (tensor,) = inputs(1, cpu)
    with ladder_over(tiny7, child, settings()) as ladder:
        counts = []
        for _ in range(20):
            wait_for(lambda: ladder.accelerated, "the accelerator's return")
            counts.append((len(list(Path("/proc/self/fd").iterdir())), threading.active_count()))
            os.kill(child.pids[-1], 9)
            np.testing.assert_array_equal(ladder.invoke(tensor)[0], cpu.invoke(tensor)[0])
            assert ladder.backend == cpu.backend
        wait_for(lambda: ladder.accelerated, "the accelerator's return")
        assert [process_state(pid) for pid in child.pids[:-1]] == [""] * 20
        assert len(set(counts)) == 1, counts


def test_an_accelerator_that_is_not_there_is_missed_only_where_it_is_asked_for(
    tiny7: Bundle, cpu: TfliteModel, child: Child
) -> None:
    asked = threading.Semaphore(0)
    plugged_in: list[str] = []

    def find() -> list[str]:
        asked.release()
        return plugged_in

    ladder = open_model(tiny7, settings(backend="auto"), find=find, command=child.command)
    with closing(ladder):
        assert isinstance(ladder, Rung)
        for _ in range(3):
            assert asked.acquire(timeout=PATIENCE_S)
        assert ladder.degraded_reason is None
        assert child.pids == []
        plugged_in.append("USB 1a6e:089a")
        wait_for(lambda: ladder.accelerated, "the stick that was plugged in")
        plugged_in.clear()
        os.kill(child.pids[-1], 9)
        (tensor,) = inputs(1, cpu)
        np.testing.assert_array_equal(ladder.invoke(tensor)[0], cpu.invoke(tensor)[0])
        wait_for(lambda: "gone" in str(ladder.degraded_reason), "the loss to be named")


def test_cpu_is_the_plain_model(tiny7: Bundle) -> None:
    assert isinstance(open_model(tiny7, settings(backend="cpu")), TfliteModel)


def test_edgetpu_without_an_edge_tpu_file(tiny7: Bundle, cpu: TfliteModel) -> None:
    del tiny7.files["edgetpu"]
    modest, asked = (open_model(tiny7, settings(backend=backend)) for backend in ("auto", "edgetpu"))
    assert isinstance(modest, TfliteModel)
    assert modest.degraded_reason is None
    assert "tiny7 has no Edge TPU file; compile one" in str(asked.degraded_reason)
    (tensor,) = inputs(1, cpu)
    np.testing.assert_array_equal(asked.invoke(tensor)[0], cpu.invoke(tensor)[0])


def test_two_networks_share_one_accelerator_and_its_fate(tiny7: Bundle, cpu: TfliteModel, child: Child) -> None:
    tiny3 = load_bundle(tiny7.folder.parent / "tiny3")
    chosen = settings(retry_s=NEVER_S)
    networks = [emotion_network(bundle, chosen) for bundle in (tiny7, tiny3)]
    small, large = open_networks(networks, chosen, command=child.command)
    small_tensor, large_tensor = inputs(1, cpu)[0], inputs(1, networks[1].cpu)[0]
    right = cpu.invoke(small_tensor)[0], TfliteModel(tiny3.read("int8")).invoke(large_tensor)[0]
    with closing(small), closing(large):
        for crashed in (False, True):
            assert isinstance(small, Rung)
            wait_for(lambda: small.accelerated, "the accelerator")
            if crashed:
                os.kill(child.pids[-1], 9)
            np.testing.assert_array_equal(small.invoke(small_tensor)[0], right[0])
            np.testing.assert_array_equal(large.invoke(large_tensor)[0], right[1])
            assert {small.backend, large.backend} == ({cpu.backend} if crashed else {"edgetpu"})
        assert len(child.pids) == 1


def test_attempts_back_off_and_start_anew_only_after_long_service() -> None:
    chosen = ClassifierSettings(retry_min_s=5, retry_max_s=300)
    assert wait_after(served_s=2, wait_s=40, settings=chosen) == 40
    assert wait_after(served_s=300, wait_s=40, settings=chosen) == 5


def test_waits_double_up_to_the_largest(cpu: TfliteModel) -> None:
    waits: list[float] = []
    enough = threading.Event()

    class Recorded(threading.Event):
        """An event that notes how long its thread means to wait, and does not."""

        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0)
            if len(waits) == 8:
                enough.set()
                return super().wait()
            return self.is_set()

    def make() -> None:
        raise RuntimeUnavailableError("absent")

    # The ladder's thread reads the event that is there when it starts to wait.
    started = threading.Event()

    def make_first() -> None:
        started.wait(PATIENCE_S)
        make()

    ladder = Ladder([cpu], make_first, [()], ClassifierSettings(retry_min_s=5, retry_max_s=300))
    ladder._closed = Recorded()
    started.set()
    assert enough.wait(PATIENCE_S)
    ladder.close()
    assert waits[:8] == [5, 10, 20, 40, 80, 160, 300, 300]


def test_golden_cases_tell_right_from_wrong(bundle: Bundle) -> None:
    model = TfliteModel(bundle.read("int8"))
    cases = load_golden(bundle, model.backend.partition(":")[2])
    assert check_golden(model, cases) is None
    case = cases[0]
    near, far = (case.outputs[0].astype(np.float64) + steps for steps in (0.5, np.nan))
    exact = GoldenCase(case.tensor, (near.astype(np.float32),), 0.5)
    assert complaint(exact, [near.astype(np.float32)]) is None
    assert "nan steps off" in str(complaint(exact, [far.astype(np.float32)]))
    assert "expected [(1," in str(complaint(case, [case.outputs[0][:, 1:]]))
    assert "expected" in str(complaint(case, []))
    # No constant answer is right for all.
    assert complaint(cases[1], cases[0].outputs) is not None
