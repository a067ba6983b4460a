from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.every_order import Solved, main, measure, table
from memplan.solver.relaxation.line_optimum import LineOptimum, LineSearch


def test_another_order_takes_less_time_than_the_best_in_plain_order() -> None:
    found = measure(40, 104, 0.5, 10.0)
    assert found.is_fastest and found.status == "optimal"
    assert found.extra_in_order is not None and 0 < found.extra < found.extra_in_order
    assert measure(12, 100, 0.2, 2.0).status == "infeasible"


def test_a_faster_schedule_in_plain_order_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    none = LineOptimum(None, 0, closed=True)
    monkeypatch.setattr(LineSearch, "by_labels", lambda *arguments: none)
    with pytest.raises(RuntimeError, match="plain order"):
        measure(20, 107, 0.7, 5.0)


def test_rows_are_of_one_size_and_budget() -> None:
    results = [
        Solved(20, 0.5, "optimal", 1.0, 0.10, True, 0.20),
        Solved(20, 0.5, "feasible", 3.0, 0.30, True, None),
        Solved(20, 0.5, "infeasible", 2.0, 0.0, False, None),
        Solved(40, 0.5, "undecided", 4.0, 0.0, False, None),
    ]
    first, second = (
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in table(results).splitlines()[-2:]
    )
    assert first == ["20", "0.5", "2", "1", "2", "1", "10.00 %", "20.00 %", "2.00", "3.0"]
    assert second == ["40", "0.5", "0", "0", "0", "0", "-", "-", "4.00", "4.0"]


def test_the_command_writes_its_section(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    asked = ["--operations", "12", "--parts", "0.7", "--seeds", "2", "--seconds", "2"]
    assert main([*asked, "--output", str(page)]) == 0
    assert "<!-- every-order: begin -->" in page.read_text()
    assert "Random layered graphs, 2 of each size" in page.read_text()
