"""Memory over time as lines of text: one column per group of steps, a line for the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from memplan.ir.units import format_bytes

__all__ = ["Timeline", "draw_timeline"]

_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = "     ####"
#: Where the budget is this many times the peak, its line would flatten the picture.
_OFF_THE_CHART = 2.5


@dataclass(frozen=True, slots=True)
class Timeline:
    """A drawn timeline.

    ``rows`` from the top, each with a label for the left margin; ``phases`` names, per column,
    what runs there (the first letter of a phase, or a space).
    """

    rows: tuple[tuple[str, str], ...]
    phases: str
    #: Index of the row that the budget's line runs through; None where it is off the chart.
    budget_row: int | None
    steps_per_column: float


def draw_timeline(
    live_bytes: Sequence[int],
    phases: Sequence[str],
    budget_bytes: int,
    *,
    width: int,
    height: int = 8,
    unicode: bool = True,
) -> Timeline:
    """Draw live bytes per step.

    Args:
        live_bytes: at each step; a column shows the largest of its steps.
        phases: phase of each step; a column shows the phase of its first step.
        budget_bytes: where the dashed line runs, if it is near enough to the peak.
        width: columns of the picture without its margin.
        height: rows.
        unicode: draw with block elements and not with ASCII.
    """
    if not live_bytes:
        return Timeline((), "", None, 0.0)
    groups = _groups(len(live_bytes), width)
    columns = [max(live_bytes[start:end]) for start, end in groups]
    peak = max(columns)
    budget_fits = budget_bytes <= peak * _OFF_THE_CHART
    top = max(peak, budget_bytes if budget_fits else 0, 1)
    eighths = [round(8 * height * value / top) for value in columns]
    # The row whose lower edge is nearest below the budget.
    budget_row = height - 1 - min(height - 1, height * budget_bytes // top) if budget_fits else None
    blocks, dash = (_BLOCKS, "╌") if unicode else (_ASCII_BLOCKS, "-")
    rows = []
    for row in range(height):
        floor = 8 * (height - 1 - row)
        cells = "".join(blocks[min(8, max(0, eighth - floor))] for eighth in eighths)
        if row == budget_row:
            cells = cells.replace(" ", dash)
        rows.append((_label(row, budget_row, top, budget_bytes), cells))
    return Timeline(
        rows=tuple(rows),
        phases="".join(phases[start][:1] for start, _ in groups),
        budget_row=budget_row,
        steps_per_column=len(live_bytes) / len(groups),
    )


def _groups(steps: int, width: int) -> list[tuple[int, int]]:
    """Split steps into at most ``width`` groups, or give each step several equal columns."""
    if steps <= width:
        repeat = max(1, min(4, width // steps))
        return [(step, step + 1) for step in range(steps) for _ in range(repeat)]
    edges = [steps * column // width for column in range(width + 1)]
    return list(pairwise(edges))


def _label(row: int, budget_row: int | None, top: int, budget_bytes: int) -> str:
    if row == budget_row:
        return format_bytes(budget_bytes)
    return format_bytes(top) if row == 0 else ""
