from __future__ import annotations

import pytest

from benchmarks.warm_start import Attempt, Replanning, as_good, replan, section
from tests.solver.problems import request
from tests.support.hand_graphs import chain


def attempt(importance: int | None, time_ns: int | None, cpu_seconds: float = 1.0) -> Attempt:
    return Attempt(
        importance=importance,
        time_ns=time_ns,
        arena_bytes=None if importance is None else 100,
        cpu_seconds=cpu_seconds,
        seconds=cpu_seconds,
    )


@pytest.mark.parametrize(
    ("warm", "good"),
    [
        ((1_000, 500), True),
        ((1_000, 500_400), True),
        ((1_000, 501_000), False),
        ((999, 500_000), True),
        ((998, 1), False),
        ((1_001, 900_000), True),
        ((None, None), False),
    ],
)
def test_importance_comes_first_and_a_thousandth_is_nothing(
    warm: tuple[int | None, int | None], good: bool
) -> None:
    assert as_good(attempt(*warm), attempt(1_000, 500_000)) is good
    assert as_good(attempt(*warm), attempt(None, None))


def test_a_line_per_change() -> None:
    graph = chain(4)
    asked = request(graph, update="full", time_limit_seconds=0.5, deterministic=True)
    rows = replan("chain", "full", graph, 1.0, asked)
    assert [round(row.change, 2) for row in rows] == [-0.1, -0.05, -0.02, 0.02, 0.05, 0.1]
    assert all(row.warm.importance is not None for row in rows if row.cold.importance is not None)


def test_the_section_counts() -> None:
    rows = [
        Replanning(
            example="net",
            update="full",
            change=0.05,
            budget_bytes=1_000,
            cold=attempt(1_000, 500, 10.0),
            warm=warm,
            seconds_limit=10.0,
            seed=0,
            workers=1,
            commit="abc",
        )
        for warm in (attempt(1_000, 500, 1.0), attempt(1_000, 900, 1.0), attempt(1_000, 500, 5.0))
    ]
    text = section(rows, "command")
    assert "as good in 2 of 3 cases" in text
    assert "cold CPU time in 2, both in 1; the median is 10 %" in text
    assert text.count("| net ") == 3
