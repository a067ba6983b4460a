from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import warm_start
from benchmarks.solver_ablation_cases import Case
from benchmarks.warm_start import Attempt, Replanning, Settings, main, replan
from benchmarks.warm_start_table import as_good, section, summary
from tests.solver.problems import request
from tests.support.hand_graphs import chain


def attempt(importance: int | None, time_ns: int | None, seconds: float = 3.0) -> Attempt:
    return Attempt(
        status="undecided" if importance is None else "feasible",
        importance=importance,
        time_ns=time_ns,
        arena_bytes=None if importance is None else 100,
        cpu_seconds=seconds,
        seconds=seconds,
    )


def row(cold: Attempt, warm: Attempt, change: float = 0.05, case: str = "net") -> Replanning:
    return Replanning(
        case=case,
        change=change,
        budget_bytes=1_000,
        stored=attempt(1_000, 600),
        cold=cold,
        warm=warm,
        settings=Settings(),
        commit="abc",
    )


@pytest.mark.parametrize(
    ("warm", "good"),
    [
        ((1_000, 500), True),
        ((1_000, 502_000), True),
        ((1_000, 503_000), False),
        ((995, 500_000), True),
        ((994, 1), False),
        ((1_001, 900_000), True),
        ((None, None), False),
    ],
)
def test_importance_comes_first_and_half_a_percent_is_nothing(
    warm: tuple[int | None, int | None], good: bool
) -> None:
    assert as_good(attempt(*warm), attempt(1_000, 500_000)) is good
    assert as_good(attempt(*warm), attempt(None, None))


def test_a_line_per_change() -> None:
    graph = chain(4)
    asked = request(graph, update="full")
    rows = replan("chain", graph, asked, Settings(seconds=0.5, deterministic=True))
    assert [round(row.change, 2) for row in rows] == [-0.1, -0.05, -0.02, 0.02, 0.05, 0.1]
    assert all(row.warm.importance is not None for row in rows if row.cold.importance is not None)
    assert "never worse than the stored plan in 3 of 3" in summary(rows)


def test_the_section_counts() -> None:
    cold = attempt(1_000, 500, 10.0)
    rows = [
        row(cold, attempt(1_000, 500, 1.0), -0.05),
        row(cold, attempt(1_000, 900, 1.0)),
        row(cold, attempt(999, 500, 5.0), case="other"),
        row(attempt(1_000, 500, 0.5), attempt(1_000, 500, 0.5), 0.1, case="other"),
        row(attempt(None, None), attempt(None, None), -0.1, case="other"),
    ]
    text = section(rows, "command")
    assert "as good in 4 of 5 cases" in text
    assert "CPU time in 2 of 4" in text
    assert "never worse than the stored plan in 1 of 3" in text
    lines = {line.split()[1]: line for line in text.splitlines() if line.startswith("| ")}
    assert "= (10 %)" in lines["net"] and "+80.00 % (10 %)" in lines["net"]
    assert "i -0.10 % (50 %)" in lines["other"] and "does not fit (100 %)" in lines["other"]


def test_what_is_measured_already_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_start, "commit", lambda: "abc")
    monkeypatch.setattr(warm_start, "CASES", {"net": _no_case})
    cache, output = tmp_path / "lines.jsonl", tmp_path / "benchmarks.md"
    cold = attempt(1_000, 500, 10.0)
    lines = [row(cold, attempt(1_000, 500), change) for change in warm_start.CHANGES]
    cut_off = lines[0].model_dump_json()[:40]
    cache.write_text("\n".join([*(line.model_dump_json() for line in lines), cut_off]))
    output.write_text("# Benchmarks\n\nbefore\n")
    assert main(["--cache", str(cache), "--output", str(output)]) == 0
    text = output.read_text()
    assert text.startswith("# Benchmarks\n\nbefore\n") and "as good in 6 of 6 cases" in text


def _no_case() -> Case:
    raise AssertionError("it was measured before")
