"""Addresses compressed to cells: the bytes between two neighbouring ends of buffers.

No buffer starts or ends inside a cell, so what holds of one of its bytes holds of all, and a
replay over cells is a replay over bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from memplan.ir.plan import Plan

__all__ = ["Cells", "compress"]


@dataclass(frozen=True, slots=True)
class Cells:
    """For each buffer the range of cells that its bytes are; regions do not share cells."""

    count: int
    ranges: tuple[tuple[int, int], ...]


def compress(plan: Plan) -> Cells:
    """Return the cells of a plan's buffers."""
    ends = {(b.region, b.offset) for b in plan.buffers}
    ends |= {(b.region, b.offset + b.size_bytes) for b in plan.buffers}
    cell = {end: place for place, end in enumerate(sorted(ends))}
    return Cells(
        len(cell),
        tuple(
            (cell[b.region, b.offset], cell[b.region, b.offset + b.size_bytes])
            for b in plan.buffers
        ),
    )
