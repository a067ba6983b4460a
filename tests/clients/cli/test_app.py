from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from memplan.clients.cli import main
from memplan.ir.request import PlanRequest


def test_a_model_without_a_command_is_planned(graph_file: Path, asked: list[PlanRequest]) -> None:
    assert main([str(graph_file), "--budget", "1MB"]) == 0
    assert main(["--budget", "1MB", str(graph_file)]) == 0
    assert main(["solve", str(graph_file), "--budget", "1MB"]) == 0
    assert [request.budget_bytes for request in asked] == [2**20] * 3


def test_solve_reaches_a_model_that_is_named_like_a_command(
    graph_file: Path, asked: list[PlanRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph_file.rename(graph_file.parent / "verify")
    monkeypatch.chdir(graph_file.parent)
    assert main(["solve", "verify", "--budget", "1MB"]) == 0
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["graph.json"], "--budget"),
        (["--budget", "1MB"], "MODEL"),
        (["graph.json", "--budget"], "--budget"),
        (["graph.json", "--budget", "many"], "'many'"),
        (["graph.json", "--budget", "1MB", "--nonsense"], "--nonsense"),
        (["graph.json", "--budget", "1MB", "--mode", "dream"], "'--mode': 'dream' is not one of"),
        (["graph.json", "--budget", "1MB", "--criterion", "each"], "'tinytrain', 'fisher'"),
        (["graph.json", "--budget", "1MB", "--batch", "0"], "--batch"),
        (["graph.json", "--budget", "1MB", "--time-limit", "0"], "--time-limit 0.0"),
        (["graph.json", "--budget", "1MB", "--compute-limit", "nan"], "--compute-limit nan"),
        (["graph.json", "--budget", "1MB", "--seed", str(2**70)], "--seed"),
        (["verify", "graph.json"], "PLAN"),
        (["verfiy"], "no command (solve, frontier, trace, verify, run, export, pack, serve)"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert named in lines[0]


def test_no_arguments_is_a_usage_error_that_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Examples:" in capsys.readouterr().err


def test_help_shows_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "plan run graph.json plan.json" in text
    assert "4 undecided" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("command", ["solve", "trace", "verify", "run", "serve"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"plan {command}" in capsys.readouterr().out


def test_faults_of_ours_are_one_line(
    graph_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("deep inside")

    monkeypatch.setattr("memplan.clients.pipeline.solve", fail)
    assert main([str(graph_file), "--budget", "1MB"]) == 70
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: internal: KeyError")
    monkeypatch.setenv("MEMPLAN_TRACEBACK", "1")
    with pytest.raises(KeyError):
        main([str(graph_file), "--budget", "1MB"])


def test_help_and_usage_errors_import_nothing_heavy() -> None:
    script = (
        "import sys; from memplan.clients.cli import main; "
        "codes = [main(['--help']), main(['x.pt2', '--budget', 'y']), main(['--version'])]; "
        "heavy = {'torch', 'ortools', 'numpy', 'fastapi'}; "
        "print(list(map(int, codes)), sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[0, 2, 0] []"


_NOISY = """
import os
from memplan.clients import pipeline
from memplan.clients.cli import console
from memplan.ir.answer import Answer
def solve(graph, request, *rest):
    os.write(1, b"printed by a solver\\n")
    return Answer(
        status="undecided", plan=None, lower_bound_bytes=0, smallest_found_bytes=None,
        baseline_bytes=0,
    )
pipeline.solve = solve
console()
"""


def test_what_solvers_print_is_not_among_the_results(graph_file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _NOISY, str(graph_file), "--budget", "1MB", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4
    assert json.loads(done.stdout)["status"] == "undecided"
    assert "printed by a solver" in done.stderr
