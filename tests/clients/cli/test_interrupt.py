from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import memplan
from benchmarks.planners.instances import chain as chain_of
from benchmarks.planners.instances import layered
from benchmarks.planners.ours import as_graph
from benchmarks.planners.problem import Problem
from memplan.clients.cli.interrupt import run_interruptible

# A test run in the background may have inherited that interrupts are ignored.
_LISTENING = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from memplan.clients.cli import main
"""
_SEARCH = _LISTENING + "sys.exit(main(sys.argv[1:]))"
_SLOW_PLAN = (
    _LISTENING
    + """
from memplan.clients import pipeline
def solve(graph, request, *rest):
    print("started", flush=True)
    time.sleep(60)
pipeline.solve = solve
sys.exit(main(sys.argv[1:]))
"""
)


_EMPTY_HANDED = (
    _LISTENING
    + """
from memplan.clients import pipeline
from memplan.ir.answer import Answer
def solve(graph, request, progress, stop, *rest):
    print("started", flush=True)
    while not stop():
        time.sleep(0.01)
    return Answer(
        status="undecided", plan=None, lower_bound_bytes=0, smallest_found_bytes=None,
        baseline_bytes=0,
    )
pipeline.solve = solve
sys.exit(main(sys.argv[1:]))
"""
)


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_results_and_failures_come_through() -> None:
    assert run_interruptible(lambda stop: 7 + stop(), _silent) == 7
    with pytest.raises(ZeroDivisionError):
        run_interruptible(lambda stop: 1 // 0, _silent)


def _silent() -> None:
    raise AssertionError("nobody interrupted")


@pytest.fixture
def listening() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_until(stop: Callable[[], bool]) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
        if stop():
            return
        time.sleep(0.01)
    raise AssertionError("the interrupt was not heard")


@pytest.mark.usefixtures("listening")
def test_the_first_control_c_asks_and_the_second_insists() -> None:
    told: list[str] = []

    def patient(stop: Callable[[], bool]) -> str:
        interrupt_until(stop)
        return "the best so far"

    assert run_interruptible(patient, lambda: told.append("stopping")) == "the best so far"
    assert told == ["stopping"]
    given_up = threading.Event()

    def deaf(stop: Callable[[], bool]) -> None:
        interrupt_until(stop)
        os.kill(os.getpid(), signal.SIGINT)
        given_up.wait(10)

    with pytest.raises(KeyboardInterrupt):
        run_interruptible(deaf, lambda: told.append("again"))
    given_up.set()
    assert told == ["stopping", "again"]


@pytest.mark.parametrize(
    ("stage", "problem", "part"),
    [
        ("bounds", layered(300, 4), 0.9),  # nothing is found yet: the first starts are
        ("recomputation in order", chain_of(100, 0), 0.8),  # CP-SAT, or a program on HiGHS
        ("schedule", layered(300, 4), 0.6),  # greedy runs, annealing and packing, compiled
        ("bound on recomputation", layered(300, 4), 0.6),  # GLOP stops, HiGHS cannot
        ("joint model", layered(28, 1), 0.6),  # CP-SAT, which has a signal handler of its own
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_control_c_in_every_stage_keeps_the_best_plan_so_far(
    stage: str, problem: Problem, part: float, tmp_path: Path
) -> None:
    (tmp_path / "graph.json").write_text(as_graph(problem).to_json())
    budget = int(part * problem.plain_peak_bytes)
    process = started(
        *("-c", _SEARCH, str(tmp_path / "graph.json"), "--budget", str(budget)),
        *("--compute-limit", "none", "--time-limit", "100", "-o", str(tmp_path / "plan.json")),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if f"s  {stage}" in line:
            break
    assert process.poll() is None, "the search ended before it could be interrupted"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert "stopping with the best plan so far" in errors
    assert "Traceback" not in errors
    if process.returncode == 4 and stage in ("bounds", "recomputation in order"):
        assert "undecided" in output  # nothing had been found
        assert not (tmp_path / "plan.json").exists()
        return
    assert process.returncode == 0
    assert "fits in" in output
    assert {path.name for path in tmp_path.iterdir()} == {"graph.json", "plan.json"}
    assert memplan.verify(tmp_path / "graph.json", tmp_path / "plan.json").accepted


def test_control_c_without_a_plan_is_undecided(graph_file: Path, tmp_path: Path) -> None:
    plan = str(tmp_path / "plan.json")
    process = started("-c", _EMPTY_HANDED, str(graph_file), "--budget", "1MB", "-o", plan)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 4
    assert "undecided" in output
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["graph.json"]


def test_a_second_control_c_ends_at_once_and_leaves_nothing(
    graph_file: Path, tmp_path: Path
) -> None:
    plan = str(tmp_path / "plan.json")
    process = started("-c", _SLOW_PLAN, str(graph_file), "--budget", "1MB", "-o", plan)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "started\n"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    for line in process.stderr:
        if line.startswith("stopping"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert time.monotonic() - began < 5
    assert errors.splitlines()[-1] == "error: interrupted; no file was left half-written"
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["graph.json"]
