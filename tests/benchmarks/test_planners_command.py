from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.planners import __main__ as command
from benchmarks.planners.answer import Attempt
from benchmarks.planners.instances import chain, from_folder
from benchmarks.planners.lines import Line, Smallest, measure, smallest_bytes
from benchmarks.planners.problem import Problem
from benchmarks.planners.registry import ABOUT, PLANNERS
from benchmarks.planners.report import budget_table, gap
from benchmarks.planners.verdict import verdict
from benchmarks.planners.worker import Run, Worker

INSTANCE = (
    '{"ops": [[5, 10, "forward", []], [7, 20, "forward", [0]], [9, 5, "backward", [1, 1]],'
    ' [9, 40, "backward", [0, 2]]]}'
)


class Here(Worker):
    """Runs planners in this process, and counts."""

    calls = 0

    def run(self, planner: str, problem: Problem, budget_bytes: int, *_: Any) -> Run:
        Here.calls += 1
        return Run(PLANNERS[planner](problem, budget_bytes, 5.0), cpu_seconds=0.1)


class Told(Worker):
    """Gives the answers that it is told to give."""

    def __init__(self, *runs: Run) -> None:
        super().__init__()
        self.runs = list(runs)

    def run(self, *_: Any) -> Run:
        return self.runs.pop(0)


def test_an_instance_is_read_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text(INSTANCE)
    (problem,) = from_folder(tmp_path)
    assert problem.name == "small"
    assert problem.inputs == ((), (0,), (1,), (0, 2))
    assert problem.forward == (True, True, False, False)
    (tmp_path / "none.json").write_text('{"ops": [[1]]}')
    with pytest.raises(ValueError, match="no scheduling instance"):
        list(from_folder(tmp_path))


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small.json").write_text(INSTANCE)
    monkeypatch.setattr(command, "Worker", Here)
    Here.calls = 0
    output, cache = tmp_path / "page.md", tmp_path / "kept" / "lines"
    arguments = f"--instances {tmp_path} --cache {cache} --output {output} --budgets 1,0.9"
    common = [*arguments.split(), "--seconds", "5", "--planners"]
    assert command.main([*common, "chen,checkmate"]) == 0
    first = Here.calls
    assert first > 4  # two planners, two budgets, and probes of the smallest bytes
    assert command.main([*common, "chen,checkmate"]) == 0
    assert Here.calls == first
    assert command.main([*common, "chen,checkmate,chen-greedy"]) == 0
    assert Here.calls > first
    text = output.read_text()
    assert "4 operations, plain peak 55 bytes, time of a step 30\n" in text
    assert "### Smallest bytes" in text
    assert "`chen-greedy`" in text and "--budgets 1,0.9" in text
    calls = Here.calls
    assert command.main([*common, "chen,checkmate", "--networks"]) == 0
    assert Here.calls == calls  # the same lines, in another form
    both = output.read_text()
    assert both.startswith(text.rstrip()) and "| planner   |" in both
    networks = both.removeprefix(text.rstrip())
    assert "### small" in networks and "### Their smallest bytes" in networks
    chosen = [*common, "chen,checkmate", "--networks", "--probe-planners", "chen"]
    assert command.main(chosen) == 0
    table = output.read_text().partition("### Their smallest bytes")[2]
    assert "chen" in table and "checkmate" not in table


def test_every_planner_is_described() -> None:
    assert set(ABOUT) == set(PLANNERS)


def test_an_unknown_planner_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--planners", "chen,nobody"])
    assert "nobody" in capsys.readouterr().err


def test_a_line_is_measured_by_replay_alone() -> None:
    problem = chain(8, 0)
    plain = tuple(range(8))
    worker = Told(
        Run(Attempt(plain, cost_bound=1)),
        Run(Attempt(plain)),
        Run(Attempt(None, infeasible=True)),
        Run(None, "defined for others", applicable=False),
        Run(Attempt(plain, cost_bound=problem.base_cost + 1)),
    )

    def line(fraction: float) -> Line:
        return measure(worker, "chen", problem, fraction, 1.0, "abc")

    fits, over, infeasible, elsewhere = (line(f) for f in (1.0, 0.5, 0.5, 1.0))
    assert fits.outcome == "plan" and fits.peak_bytes == problem.plain_peak_bytes
    # Everything runs once, so what is proved is at least that.
    assert fits.cost_bound == problem.base_cost and gap(fits) == 0
    assert over.outcome == "over" and gap(over) is None
    assert infeasible.outcome == "infeasible" and elsewhere.outcome == "n/a"
    with pytest.raises(ValueError, match="above cost"):
        line(1.0)
    multiplied = fits.model_copy(update={"macs": 150, "base_macs": 100})
    (row,) = budget_table([multiplied]).splitlines()[2:]
    assert [cell.strip() for cell in row.split("|")[7:9]] == ["0.00", "50.00"]
    rows = budget_table([fits, over, infeasible, elsewhere]).splitlines()[2:]
    results = [row.split("|")[3].strip() for row in rows]
    assert results == ["fits", "over", "proved: none", "n/a"]


def _measured(planner: str, outcome: str = "plan", cost: int | None = 100) -> Line:
    facts = {"instance": "one", "operations": 4, "plain_peak_bytes": 50, "base_cost": 90}
    question = {"budget_fraction": 0.5, "budget_bytes": 25, "seconds_limit": 1, "commit": "abc"}
    plan = {"outcome": outcome, "cost": cost, "macs": cost, "wall_seconds": 1, "cpu_seconds": 1}
    return Line.model_validate({"planner": planner, **facts, **question, **plan})


def _least(planner: str, peak: int | None, arena: int | None) -> Smallest:
    rest = {"plain_peak_bytes": 50, "seconds_limit": 1, "probes": 3, "commit": "abc"}
    times = {"wall_seconds": 1, "cpu_seconds": 1}
    sizes = {"peak_bytes": peak, "arena_bytes": arena}
    return Smallest.model_validate(
        {"instance": "one", "planner": planner, **sizes, **rest, **times}
    )


def test_the_verdict_names_who_does_better() -> None:
    own, least = _measured("memplan"), _least("memplan", 20, 24)
    text = verdict([own, _measured("chen"), _measured("melon", "over", 10)], [least])
    assert "a plan for 1 of 1 questions and proves 0" in text
    assert text.count("None of the others") == 3
    text = verdict([own, _measured("chen", cost=99)], [least, _least("chen", 20, 23)])
    assert "chen has a plan that takes less time (1 questions)" in text
    assert "chen has a plan of fewer MACs (1 questions)" in text
    assert "chen gets by with fewer bytes" in text
    missing = verdict([_measured("memplan", "none", None), _measured("rotor")], [])
    assert "rotor has a plan that takes less time" in missing and "bytes" not in missing
    assert "proves 1" in verdict([_measured("memplan", "infeasible", None)], [])
    assert verdict([_measured("chen")], []) == ""
    assert "rotor gets by" in verdict([own], [_least("memplan", None, None), _least("rotor", 9, 9)])


def test_bisection_ends_between_what_fits_and_what_is_proved_not_to() -> None:
    problem = chain(12, 0)
    found = smallest_bytes(Here(), "checkmate", problem, 5.0, "abc")
    assert found.peak_bytes is not None and found.infeasible_bytes is not None
    assert found.infeasible_bytes < found.peak_bytes < problem.plain_peak_bytes
    assert found.peak_bytes - found.infeasible_bytes <= 2
    fixed = smallest_bytes(Here(), "chen", problem, 5.0, "abc")
    assert fixed.peak_bytes is not None and fixed.peak_bytes > found.peak_bytes


def test_who_knows_no_limit_is_given_time(monkeypatch: pytest.MonkeyPatch) -> None:
    graces: list[float] = []

    class Asked(Worker):
        def run(self, planner: str, problem: Problem, budget: int, *limits: float) -> Run:
            graces.append(limits[1])
            return Run(Attempt(tuple(range(problem.count))))

    problem = chain(8, 0)
    for planner in ("memplan", "min-cut"):
        measure(Asked(), planner, problem, 1.0, 1.0, "abc")
        smallest_bytes(Asked(), planner, problem, 1.0, "abc")
        graces.append(0.0)
    border = graces.index(0.0)
    assert max(graces[:border]) < min(graces[border + 1 : -1])


def test_a_worker_answers_and_ends_what_overruns() -> None:
    worker = Worker()
    try:
        problem = chain(20, 0)
        run = worker.run("chen", problem, problem.plain_peak_bytes, 60.0)
        assert run.attempt is not None and run.attempt.sequence is not None
        broken = worker.run("nobody", problem, 1, 60.0)
        assert broken.attempt is None and "KeyError" in broken.failure
        late = worker.run("moccasin-3", chain(120, 0), 400, 30.0, grace=-10.0 / 30.0)
        assert late.attempt is None and late.failure == "ended from outside"
        again = worker.run("chen", problem, problem.plain_peak_bytes, 60.0)
        assert again.attempt == run.attempt
    finally:
        worker.close()
