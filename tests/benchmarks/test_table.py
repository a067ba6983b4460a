from __future__ import annotations

import pytest

from benchmarks.comparison import Comparison, Figures, verdict
from benchmarks.table import comparison_table, markdown_table, summary


def plan(importance: int, time_ns: int, arena_bytes: int = 2048) -> Figures:
    return Figures(
        fits=True,
        importance=importance,
        importance_ratio=importance / 1000,
        time_ns=time_ns,
        arena_bytes=arena_bytes,
        seconds=1.4,
    )


NO_PLAN = Figures(fits=False, seconds=3.0)


def comparison(joint: Figures, sequential: Figures, factor: float = 1.05) -> Comparison:
    return Comparison(
        example="net",
        factor=factor,
        budget_bytes=4096,
        smallest_sequential_bytes=3900,
        lower_bound_bytes=1000,
        sequential=sequential,
        joint=joint,
        seconds_limit=5.0,
        seed=0,
        workers=2,
        commit="abc",
    )


@pytest.mark.parametrize(
    ("joint", "sequential", "expected"),
    [
        (plan(100, 50), NO_PLAN, "win"),
        (NO_PLAN, plan(100, 50), "loss"),
        (NO_PLAN, NO_PLAN, "tie"),
        # Importance comes first, whatever the time.
        (plan(102, 90), plan(100, 50), "win"),
        (plan(100, 50), plan(102, 90), "loss"),
        # Equal importance: time decides from 1 % on.
        (plan(100, 99), plan(100, 100), "win"),
        (plan(100, 1000), plan(100, 1005), "tie"),
        (plan(100, 100), plan(100, 99), "loss"),
        # A crumb of importance neither wins nor makes up for time.
        (plan(1005, 90), plan(1000, 50), "tie"),
        (plan(1005, 40), plan(1000, 50), "win"),
        (plan(5, 50), plan(0, 50), "win"),
        # Bytes do not decide.
        (plan(100, 50, 1000), plan(100, 50, 2000), "tie"),
    ],
)
def test_a_win_is_a_plan_or_one_percent(joint: Figures, sequential: Figures, expected: str) -> None:
    assert verdict(joint, sequential) == expected
    mirrored = {"win": "loss", "loss": "win", "tie": "tie"}[expected]
    assert verdict(sequential, joint) == mirrored


def test_columns_line_up() -> None:
    lines = markdown_table(("name", "n"), [("a", "1"), ("longer", "12345")]).splitlines()
    assert lines == [
        "| name   |     n |",
        "| ------ | ----: |",
        "| a      |     1 |",
        "| longer | 12345 |",
    ]


def test_a_row_says_what_was_found_and_what_decides() -> None:
    table = comparison_table(
        [
            comparison(plan(200, 3_000_000), plan(100, 2_000_000)),
            comparison(plan(100, 50), NO_PLAN, 1.2),
            comparison(plan(100, 2_000_000), plan(100, 1_000_000)),
        ]
    )
    _, _, importance, fits, time = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
    )
    assert importance[:5] == ["net", "4.0 KB (1.05x)", "10.00 %", "2.00 ms", "2.0 KB"]
    assert importance[5:] == ["20.00 %", "3.00 ms", "2.0 KB", "win (importance +100 %)", "1 / 1"]
    assert fits[1:5] == ["4.0 KB (1.2x)", "does not fit", "-", "-"]
    assert fits[8] == "win (fits)"
    assert time[8] == "loss (time +100 %)"


def test_the_summary_counts_per_budget() -> None:
    better, same = plan(200, 1), plan(100, 1)
    rows = [comparison(better, same), comparison(same, same), comparison(same, better, 1.2)]
    assert summary(rows) == (
        "at 1.05x the joint choice wins 1, ties 1 and loses 0 of 2; "
        "at 1.2x the joint choice wins 0, ties 0 and loses 1 of 1."
    )
