from __future__ import annotations

import pytest

from memplan.clients.report.timeline import draw_timeline


def test_one_column_per_step_and_heights_in_proportion() -> None:
    timeline = draw_timeline([0, 50, 100], ["forward"] * 3, 1000, width=3, height=2)
    assert [cells for _, cells in timeline.rows] == ["  █", " ██"]
    assert timeline.budget_row is None  # ten times the peak: off the chart


def test_steps_share_columns_by_their_largest() -> None:
    timeline = draw_timeline([1, 9, 1, 1, 1, 1], ["forward"] * 6, 10**6, width=3, height=1)
    assert timeline.rows[0][1][0] == "█"
    assert timeline.rows[0][1][1] == "▁"
    assert timeline.steps_per_column == 2


def test_few_steps_are_widened() -> None:
    timeline = draw_timeline([1, 2], ["forward", "backward"], 2, width=60)
    assert timeline.phases == "ffffbbbb"


def test_budget_line_runs_above_a_plan_that_keeps_it() -> None:
    timeline = draw_timeline([10, 20], ["forward"] * 2, 40, width=2, height=4)
    assert timeline.budget_row == 0
    assert set(timeline.rows[0][1]) == {"╌"}
    assert timeline.rows[0][0] == "40 B"


@pytest.mark.parametrize("budget_bytes", [1, 99, 100, 101, 249, 250])
def test_every_row_is_as_wide_as_the_columns(budget_bytes: int) -> None:
    timeline = draw_timeline(list(range(100)), ["forward"] * 100, budget_bytes, width=40)
    assert {len(cells) for _, cells in timeline.rows} == {40}
    assert len(timeline.phases) == 40


def test_ascii_only_where_asked() -> None:
    timeline = draw_timeline([1, 2, 3], ["forward"] * 3, 4, width=3, unicode=False)
    assert "".join(label + cells for label, cells in timeline.rows).isascii()


def test_no_steps_no_picture() -> None:
    assert draw_timeline([], [], 10, width=10).rows == ()
