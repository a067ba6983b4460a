from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import chains
from benchmarks.chains import Runs, main, measure, table
from benchmarks.planners.instances import chain
from benchmarks.planners.problem import Problem


def test_all_take_turns_and_prove_the_same_optimum() -> None:
    runs = measure(chain(12, 1), 0.7, 20.0, 2, 60.0)
    assert set(runs) == {"memplan", "checkmate", "checkmate-big-m"}
    assert all(own.proved and len(own.seconds) == 2 for own in runs.values())
    assert len({own.cost for own in runs.values()}) == 1


def test_a_wrong_optimum_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(problem: Problem, budget: int, seconds: float) -> tuple[float, int | None, bool]:
        return 1.0, 1, True

    monkeypatch.setitem(chains.RIVALS, "checkmate", wrong)
    with pytest.raises(RuntimeError, match="two optima"):
        measure(chain(12, 1), 0.7, 20.0, 1, 60.0)


def test_who_has_had_enough_sits_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(problem: Problem, budget: int, seconds: float) -> tuple[float, int | None, bool]:
        return 30.0, None, False

    monkeypatch.setitem(chains.RIVALS, "checkmate", slow)
    runs = measure(chain(12, 1), 0.7, 20.0, 3, 50.0)
    assert runs["checkmate"].seconds == [30.0, 30.0]
    assert len(runs["memplan"].seconds) == 3


def test_the_table_tells_what_is_open() -> None:
    runs = {
        "memplan": Runs([0.1, 0.3, 0.2], 9, proved=True),
        "checkmate": Runs([2.0], 9, proved=True),
        "checkmate-big-m": Runs([60.0], 11),
    }
    (row,) = [
        line for line in table([(chain(12, 1), 0.7, runs)]).splitlines() if "chain-12" in line
    ]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[4:] == ["0.200", "2.00", "10.0", "> 60.00 (11)", "> 300.0"]
    runs["memplan"].proved = False
    assert "9 (open)" in table([(chain(12, 1), 0.7, runs)])


def test_the_section_is_written(tmp_path: Path) -> None:
    target = tmp_path / "page.md"
    target.write_text("# Page\n")
    assert main(["--operations", "12", "--seeds", "2", "--parts", "0.8", "--repetitions", "1",
                 "--seconds", "20", "--output", str(target)]) == 0  # fmt: skip
    page = target.read_text()
    assert "<!-- chains: begin -->" in page
    assert "| chain-12-seed2 |" in page
