from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.planners.instances import chain
from benchmarks.planners.ours import as_graph, as_request
from benchmarks.solver_ablation import ONCE_MORE, Outcome, main, measure, table
from benchmarks.solver_ablation_cases import CASES, Case
from memplan.solver import Techniques


def outcome(
    status: str = "feasible",
    importance: int = 0,
    time_ns: int = 1000,
    arena_bytes: int = 100,
    bound: int | None = None,
) -> Outcome:
    return Outcome(status, importance, time_ns, arena_bytes, bound, 50, 2.0)


def cells(text: str, row: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {row} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_what_is_lost_without_a_technique() -> None:
    text = table(
        ["first", "second", "third"],
        {
            "": [outcome(bound=900), outcome(time_ns=2000, bound=2000), outcome("undecided")],
            "hasten": [outcome(time_ns=1100), outcome("undecided"), outcome("infeasible")],
            "greedy": [outcome(importance=5), outcome("optimal", 0, 2000, 99), outcome("feasible")],
        },
    )
    assert cells(text, "nothing")[1:] == ["2 of 3", "0", "", "", "5.00 %", "", "2.0", ""]
    assert cells(text, "hasten")[1:] == [
        "2 of 3", "1", "2 / 0", "+10.00 %", "100.00 %", "+0.0 %", "2.0", "second",
    ]  # fmt: skip
    assert cells(text, "greedy")[1:5] == ["3 of 3", "1", "0 / 3", "+0.00 %"]
    assert cells(text, "first")[1:] == ["feasible", "", "0.001", "100", "10.00 %", "2.0"]
    assert cells(text, "third")[1:] == ["undecided", "", "", "", "", "2.0"]


def test_every_switch_is_left_out_and_plans_are_found() -> None:
    problem = chain(8, 0)
    request = as_request(problem.plain_peak_bytes, 1.0, workers=1)
    case = Case("chain-8", as_graph(problem), request)
    outcomes = measure([case], ["greedy", "joint_model"], 20.0, 0, 1)
    assert list(outcomes) == ["", "greedy", "joint_model", ONCE_MORE]
    assert outcomes[""][0].status == "optimal"
    assert all(row[0].time_ns == problem.base_cost for row in outcomes.values())


def test_the_table_lands_in_its_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names: list[str] = []

    def measured(cases: list[Case], switches: list[str], *_: object) -> dict[str, list[Outcome]]:
        names.extend(switches)
        return {name: [outcome() for _ in cases] for name in ("", *switches)}

    monkeypatch.setattr("benchmarks.solver_ablation.measure", measured)
    page = tmp_path / "solver.md"
    page.write_text(
        "before\n<!-- solver-ablation: begin -->\nold\n<!-- solver-ablation: end -->\nend"
    )
    assert main(["--cases", "chain-20,infeasible", "--output", str(page)]) == 0
    assert names == list(Techniques.names())
    text = page.read_text()
    assert text.startswith("before") and text.endswith("end") and "old" not in text
    assert "layered-40-seed2 below its bound" in text
    assert "looking back" in text
    assert "making 2 questions" in capsys.readouterr().err


def test_cases_have_names_of_their_own() -> None:
    small = [CASES[name]() for name in ("chain-20", "layered-20", "infeasible")]
    assert len({case.name for case in small}) == 3
    assert all(case.request.workers == 1 for case in small)
