"""A frontier as a picture: what a model does in more and more bytes.  SVG, no other file needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from memplan.clients.report.frontier import importance_varies
from memplan.clients.report.wording import format_seconds, printable, share_text
from memplan.ir.frontier import Frontier
from memplan.ir.graph import OpGraph
from memplan.ir.units import format_bytes

__all__ = ["frontier_svg"]

_WIDTH, _PANEL_HEIGHT = 720, 240
_LEFT, _RIGHT, _TOP, _BOTTOM, _BETWEEN = 96, 24, 56, 52, 28
_TICKS = 5
_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #333 }
.title { font-size: 16px; font-weight: 600 }
.axis, .grid { stroke: #bbb; fill: none } .grid { stroke-dasharray: 2 4 }
.curve { stroke: #0a6c74; stroke-width: 2; fill: none }
.point { fill: #0a6c74 } .none { fill: #b3261e }
.impossible { fill: #b3261e; opacity: 0.08 }
.dark-safe { fill: #fff }
@media (prefers-color-scheme: dark) {
  text { fill: #ddd } .dark-safe { fill: #16181c } .axis, .grid { stroke: #555 }
  .curve { stroke: #5cc8d0 } .point { fill: #5cc8d0 } .none { fill: #ff8a80 }
}"""


@dataclass(frozen=True)
class _Panel:
    """One curve: what stands at the left, and a value with its text for each budget with a plan."""

    name: str
    values: Sequence[tuple[int, float, str]]
    #: Text of a tick.
    label: dict[float, str]
    low: float
    high: float


def frontier_svg(graph: OpGraph, frontier: Frontier) -> str:
    """Return the picture: importance (where it varies) and time of the step over bytes.

    Between two budgets the plan of the smaller one holds, so curves are steps.  Where nothing fits,
    by proof, the ground is tinted; budgets without a plan are marked on the axis.
    """
    panels = list(_panels(frontier))
    first, last = frontier.points[0].budget_bytes, frontier.points[-1].budget_bytes
    proven = max(point.answer.lower_bound_bytes for point in frontier.points)
    low = max(0, first - (last - first) // 20 - 1)
    height = _TOP + _BOTTOM + len(panels) * _PANEL_HEIGHT + (len(panels) - 1) * _BETWEEN

    def x(size_bytes: float) -> float:
        part = (size_bytes - low) / max(1, last - low)
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)

    name = escape(printable(graph.name, 60))
    what = ("importance and time" if len(panels) > 1 else "time") if panels else "budgets"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img">',
        f"<title>{name}: {what} over bytes</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="dark-safe" width="{_WIDTH}" height="{height}"/>',
        f'<text class="title" x="{_LEFT}" y="28">{name}: {what} over bytes</text>',
    ]
    bottom = height - _BOTTOM
    if proven > low:
        width = min(x(proven), x(last)) - _LEFT
        parts.append(
            f'<rect class="impossible" x="{_LEFT}" y="{_TOP}" width="{width:.1f}" '
            f'height="{bottom - _TOP}"><title>proved: nothing fits below '
            f"{format_bytes(proven)}</title></rect>"
        )
    for number, panel in enumerate(panels):
        top = _TOP + number * (_PANEL_HEIGHT + _BETWEEN)
        parts += _drawn(panel, top, x, x(last))
    for size_bytes in _byte_ticks(low, last):
        parts.append(
            f'<text x="{x(size_bytes):.1f}" y="{bottom + 22}" text-anchor="middle">'
            f"{format_bytes(size_bytes)}</text>"
        )
    for point in frontier.points:
        if point.answer.plan is None:
            parts.append(
                f'<circle class="none" cx="{x(point.budget_bytes):.1f}" cy="{bottom}" r="4">'
                f"<title>{format_bytes(point.budget_bytes)}: {point.answer.status}</title></circle>"
            )
    parts += [
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{height - 10}" text-anchor="middle">'
        "budget</text>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panels(frontier: Frontier) -> Sequence[_Panel]:
    plans = [
        (point.budget_bytes, point.answer.plan)
        for point in frontier.points
        if point.answer.plan is not None
    ]
    if not plans:
        return []
    panels = []
    if importance_varies([plan for _, plan in plans]):
        shares = [
            (budget, plan.totals.importance / max(1, plan.totals.importance_total))
            for budget, plan in plans
        ]
        panels.append(
            _Panel(
                "importance",
                [(budget, share, share_text(share)) for budget, share in shares],
                {part / 4: f"{25 * part} %" for part in range(5)},
                0.0,
                1.0,
            )
        )
    times = [(budget, plan.totals.time_ns) for budget, plan in plans]
    ticks = _ticks(max(time_ns for _, time_ns in times))
    panels.append(
        _Panel(
            # Of more importance, that is: it may rise where importance does.
            "time of a step with that importance" if panels else "time of a step",
            [(budget, time_ns, format_seconds(time_ns)) for budget, time_ns in times],
            {tick: format_seconds(tick) for tick in ticks},
            0.0,
            float(ticks[-1]),
        )
    )
    return panels


def _ticks(highest: int) -> list[int]:
    """Return round numbers from 0 up to the first that is not below ``highest``."""
    least = -(-max(1, highest) // (_TICKS - 1))
    magnitude = 10 ** (len(str(least)) - 1)
    step = next(part * magnitude for part in (1, 2, 5, 10) if part * magnitude >= least)
    return [step * number for number in range(-(-max(1, highest) // step) + 1)]


def _byte_ticks(low: int, high: int) -> list[int]:
    """Return the multiples of a power of two from ``low`` to ``high``, as many as there is room."""
    step = 1 << max(1, (high - low) // 3).bit_length() - 1
    return list(range(-(-low // step) * step, high + 1, step))


def _drawn(panel: _Panel, top: int, x: Callable[[float], float], right: float) -> list[str]:
    def y(value: float) -> float:
        part = (value - panel.low) / (panel.high - panel.low)
        return top + _PANEL_HEIGHT * (1 - part)

    parts = [
        f'<path class="axis" d="M{_LEFT} {top}V{top + _PANEL_HEIGHT}H{_WIDTH - _RIGHT}"/>',
        f'<text x="{_LEFT}" y="{top - 8}">{panel.name}</text>',
    ]
    for value, label in panel.label.items():
        parts += [
            f'<path class="grid" d="M{_LEFT} {y(value):.1f}H{_WIDTH - _RIGHT}"/>',
            f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{label}</text>',
        ]
    steps = "".join(
        f"{'M' if number == 0 else 'H'}{x(budget):.1f}"
        + (f" {y(value):.1f}" if number == 0 else f"V{y(value):.1f}")
        for number, (budget, value, _) in enumerate(panel.values)
    )
    parts.append(f'<path class="curve" d="{steps}H{right:.1f}"/>')
    parts += [
        f'<circle class="point" cx="{x(budget):.1f}" cy="{y(value):.1f}" r="3.5">'
        f"<title>{format_bytes(budget)}: {text}</title></circle>"
        for budget, value, text in panel.values
    ]
    return parts
