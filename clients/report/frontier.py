"""A frontier as rows for people and as one object for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from memplan.clients.report.summary import extra_macs_ratio, importance_ratio, summarize
from memplan.clients.report.wording import format_seconds, gap_text, printable, share_text
from memplan.ir.frontier import Frontier
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.ir.units import format_bytes

__all__ = ["frontier_report", "importance_varies", "summarize_frontier"]

_BAR_CELLS = 16
#: Columns of a terminal from which there is room for bars.
_WIDE = 100


def summarize_frontier(graph: OpGraph, frontier: Frontier) -> dict[str, Any]:
    """Return one object: what ``summarize`` says of each budget, the smallest first."""
    return {
        "model": graph.name,
        "mode": graph.mode,
        "graph_hash": frontier.graph_hash,
        "solve_seconds": frontier.solve_seconds,
        "points": [summarize(graph, point.request, point.answer) for point in frontier.points],
    }


def importance_varies(plans: Sequence[Plan]) -> bool:
    """Tell whether plans differ in how much importance they update."""
    return len({plan.totals.importance for plan in plans}) > 1


def frontier_report(graph: OpGraph, frontier: Frontier, console: Console) -> RenderableType:
    """Return the table of a frontier, drawn for ``console``'s encoding."""
    plans = frontier.plans
    headline = Text.assemble(
        (printable(graph.name, 40), "bold"),
        f" · {len(frontier.points)} budgets, {len(plans)} with a plan, "
        f"solved in {frontier.solve_seconds:.1f} s",
    )
    # A shorter bar for less of what varies: importance that is missing, or time.
    by_importance = importance_varies(plans)
    unicode = console.encoding.lower().startswith("utf")
    most_ns = max((plan.totals.time_ns for plan in plans), default=1)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("budget", "arena", "importance", "time", "MACs", "batch", "gap"):
        table.add_column(name, justify="right", no_wrap=True)
    wide = console.width >= _WIDE
    if wide:
        table.add_column("importance" if by_importance else "time", no_wrap=True)
    for point in frontier.points:
        plan = point.answer.plan
        budget = format_bytes(point.budget_bytes)
        if plan is None:
            style = "red" if point.answer.status == "infeasible" else "yellow"
            table.add_row(budget, Text(point.answer.status, style=style))
            continue
        totals = plan.totals
        ratio = importance_ratio(plan)
        part = (ratio or 0.0) if by_importance else totals.time_ns / most_ns
        cells: list[str | Text] = [
            budget,
            format_bytes(totals.arena_bytes),
            "" if ratio is None else share_text(ratio),
            format_seconds(totals.time_ns),
            f"{100 * extra_macs_ratio(plan):+.1f} %",
            f"{plan.micro_batch} of {plan.batch}",
            _gap(plan),
        ]
        table.add_row(*cells, *([Text(_bar(part, unicode), style="cyan")] if wide else []))
    note = Text(
        "MACs: beyond those of the plain step. batch: samples at a time. gap: of the first level "
        "that is not proved to be the best in the budget.",
        style="dim",
    )
    return Group(headline, Text(""), table, Text(""), note)


def _gap(plan: Plan) -> str:
    """Return the gap of the first level that has one, with the level's name.

    Without any, a plan may still be proved along its own line only.
    """
    names = {"importance": "importance", "time_ns": "time", "arena_bytes": "arena"}
    for level in plan.certificate.levels:
        if level.gap != 0:
            return f"{names[level.name]} {'?' if level.gap is None else gap_text(level.gap)}"
    return "optimal" if plan.certificate.status == "optimal" else "none in its order"


def _bar(part: float, unicode: bool) -> str:
    eighths = round(8 * _BAR_CELLS * min(1.0, max(0.0, part)))
    if not unicode:
        return "#" * max(1, eighths // 8)
    return "█" * (eighths // 8) + ("", *"▏▎▍▌▋▊▉")[eighths % 8] or "▏"
