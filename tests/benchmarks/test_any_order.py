from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import any_order
from benchmarks.any_order import Bounded, main, measure, table


def test_a_chain_is_bounded_to_its_optimum() -> None:
    found = measure("chain-40-3", 0.7, 20.0)
    assert found is not None
    assert found.plain_ns < found.plan_ns
    assert found.linear_ns < found.any_order_ns == found.plan_ns
    assert measure("chain-20-0", 0.1, 1.0) is None


def test_a_bound_above_the_plan_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(any_order, "linear_time_lower_bound", lambda table: 10**9)
    with pytest.raises(RuntimeError, match="a bound of"):
        measure("chain-20-0", 0.7, 5.0)


def test_gaps_are_of_the_plans_time() -> None:
    row = table([Bounded("one", 0.5, 100, 125, 100, 120, 0.25)]).splitlines()[-1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["one", "0.5", "25.00 %", "20.00 %", "4.00 %", "0.25"]


def test_the_command_writes_its_section(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    asked = ["--instances", "chain-12-1", "--parts", "0.7", "--seconds", "2"]
    assert main([*asked, "--output", str(page)]) == 0
    assert "<!-- any-order: begin -->" in page.read_text()
    assert "chain-12-1" in page.read_text()
