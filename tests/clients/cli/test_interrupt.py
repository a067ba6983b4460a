from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memplan.clients.cli.interrupt import run_interruptible
from tests.support.hand_graphs import chain

_SLOW_PLAN = """
import sys, time
from memplan.clients import pipeline
from memplan.clients.cli import main
def solve(graph, request, progress):
    print("started", flush=True)
    time.sleep(60)
pipeline.solve = solve
sys.exit(main(sys.argv[1:]))
"""


def test_results_and_failures_come_through() -> None:
    assert run_interruptible(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        run_interruptible(lambda: 1 // 0)


def test_control_c_while_the_solver_searches(tmp_path: Path) -> None:
    """The solver has native threads and a signal handler of its own."""
    (tmp_path / "graph.json").write_text(chain(40, 1024).to_json())
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "memplan.clients.cli", str(tmp_path / "graph.json")),
            *("--budget", "24KB", "--time-limit", "60", "-o", str(tmp_path / "plan.json")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "bounds" in line:
            break
    time.sleep(2)
    assert process.poll() is None, "the search ended before it could be interrupted"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert errors.splitlines()[-1] == "error: interrupted; no file was left half-written"
    assert process.returncode == 130
    assert [path.name for path in tmp_path.iterdir()] == ["graph.json"]


def test_control_c_ends_at_once_and_leaves_nothing(graph_file: Path, tmp_path: Path) -> None:
    plan_file = tmp_path / "plan.json"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _SLOW_PLAN,
            str(graph_file),
            "--budget",
            "1MB",
            "-o",
            str(plan_file),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    began = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert time.monotonic() - began < 5
    assert errors.splitlines()[-1] == "error: interrupted; no file was left half-written"
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["graph.json"]
