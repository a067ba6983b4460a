"""The timeline of live bytes in the colours of a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.text import Text

from memplan.clients.report.timeline import draw_timeline
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan

__all__ = ["timeline_text"]

_PHASE_STYLES = {
    "forward": "cyan",
    "backward": "magenta",
    "update": "green",
    "accumulate": "green",
}
_MARGIN = 11
_BUDGET = " budget"


def timeline_text(graph: OpGraph, plan: Plan, console: Console) -> RenderableType:
    """Return live bytes per step of the body, with the budget, drawn for ``console``."""
    phases = [graph.operation[step.operation].phase for step in plan.body]
    unicode = console.encoding.lower().startswith("utf")
    timeline = draw_timeline(
        plan.live_bytes,
        phases,
        plan.request.budget_bytes,
        width=min(console.width, 120) - _MARGIN - 1 - len(_BUDGET),
        unicode=unicode,
    )
    names = {phase[:1]: phase for phase in reversed(phases)}
    styles = [_PHASE_STYLES.get(names[letter], "white") for letter in timeline.phases]
    wall, floor = ("│", "─") if unicode else ("|", "-")
    lines = [Text(f"live bytes over the {len(plan.body)} steps of the body", style="dim")]
    for index, (label, cells) in enumerate(timeline.rows):
        on_budget = index == timeline.budget_row
        line = Text.assemble(
            (f"{label:>{_MARGIN - 1}} ", "yellow" if on_budget else "dim"), (wall, "dim")
        )
        colours = (
            "yellow" if cell in "╌-" else style for cell, style in zip(cells, styles, strict=True)
        )
        _append_runs(line, cells, colours)
        if on_budget:
            line.append(_BUDGET, style="yellow")
        lines.append(line)
    corner = "└" if unicode else "+"
    axis = Text(f"{'0':>{_MARGIN - 1}} {corner}{floor * len(timeline.phases)}", style="dim")
    legend = Text(" " * (_MARGIN + 1))
    _append_runs(legend, timeline.phases, styles)
    key = Text(" " * (_MARGIN + 1))
    key.append(
        ", ".join(f"{letter} {name}" for letter, name in sorted(names.items(), key=_phase_order)),
        style="dim",
    )
    return Group(*lines, axis, legend, key)


def _append_runs(line: Text, cells: str, styles: Iterable[str]) -> None:
    """Append cells, each with its style, in as few spans as there are runs of one style."""
    for style, run in groupby(zip(cells, styles, strict=True), key=lambda pair: pair[1]):
        line.append("".join(cell for cell, _ in run), style=style)


def _phase_order(item: tuple[str, str]) -> int:
    order = ("forward", "backward", "update", "statistics", "accumulate")
    return order.index(item[1]) if item[1] in order else len(order)
