"""A packing for people: what was found, and a small map of time and addresses."""

from __future__ import annotations

from collections.abc import Sequence

from memplan.clients.report.wording import printable
from memplan.ir.packing import PackingAnswer, PackingBuffer
from memplan.ir.units import format_bytes

__all__ = ["packing_map", "packing_report"]

_COLUMNS, _ROWS = 64, 16
_SHADES = "#%=+*o:-"
_SHOWN = 200


def packing_report(buffers: Sequence[PackingBuffer], answer: PackingAnswer) -> str:
    """Return the verdict, the map and the offsets."""
    capacity = f"{answer.capacity:,} B ({format_bytes(answer.capacity)})"
    bound = f"{answer.lower_bound:,} B"
    lines = {
        "optimal": [f"optimal: {len(buffers)} buffers in {capacity}; no packing takes less"],
        "feasible": [f"packed: {len(buffers)} buffers in {capacity}; proven bound {bound}"],
        "infeasible": [f"does not fit: proved that {len(buffers)} buffers need at least {bound}"],
        "undecided": [
            f"undecided: no packing in {capacity} was found, nor a proof that there is none; "
            f"proven bound {bound}; give more --time-limit, or a larger --capacity"
        ],
    }[answer.status]
    if answer.buffers and answer.height:
        lines += ["", packing_map(buffers, answer), ""]
        width = max(len(printable(b.id, 40)) for b in buffers[:_SHOWN])
        lines += [
            f"{printable(place.id, 40):<{width}}  {place.offset:>14,}  {buffer.size:>14,} B"
            for place, buffer in zip(answer.buffers[:_SHOWN], buffers, strict=False)
        ]
        if len(buffers) > _SHOWN:
            lines.append(f"and {len(buffers) - _SHOWN} more; --format json lists all")
    lines.append(f"{answer.solve_seconds:.2f} s; checked")
    return "\n".join(lines)


def packing_map(
    buffers: Sequence[PackingBuffer],
    answer: PackingAnswer,
    columns: int = _COLUMNS,
    rows: int = _ROWS,
) -> str:
    """Draw addresses upward and time to the right; neighbours differ in letter, free is a dot.

    A cell shows the buffer at its middle; what is smaller than a cell may not be seen.
    """
    assert answer.height
    solid = [(b, p.offset) for b, p in zip(buffers, answer.buffers, strict=True) if b.size]
    # Equal columns per event rather than per unit of time: long idle stretches would fill the map.
    moments = sorted({t for buffer, _ in solid for t in (buffer.lower, buffer.upper)})
    columns, rows = min(columns, len(moments) - 1), min(rows, answer.height)
    shade = {
        buffer.id: _SHADES[place % len(_SHADES)]
        for place, (buffer, _) in enumerate(sorted(solid, key=lambda pair: pair[1]))
    }
    lines = []
    for row in reversed(range(rows)):
        address = (2 * row + 1) * answer.height // (2 * rows)
        cells = ["."] * columns
        for buffer, offset in solid:
            if offset <= address < offset + buffer.size:
                for column in range(columns):
                    moment = moments[(2 * column + 1) * (len(moments) - 1) // (2 * columns)]
                    if buffer.lower <= moment < buffer.upper:
                        cells[column] = shade[buffer.id]
        label = format_bytes((row + 1) * answer.height // rows)
        lines.append(f"{label:>10} |{''.join(cells)}|")
    return "\n".join(lines)
