"""Addresses by CP-SAT: no two rectangles overlap, with a redundant cumulative."""

from __future__ import annotations

from collections.abc import Sequence

from ortools.sat.python import cp_model

from memplan.solver.clock import WALL, Clock
from memplan.solver.cp import solve_model
from memplan.solver.packing.rectangle import Rectangle

__all__ = ["no_overlap"]


def no_overlap(
    rectangles: Sequence[Rectangle],
    limit: int,
    unit: int,
    seconds: float,
    seed: int,
    workers: int,
    hint: Sequence[int] | None = None,
    clock: Clock = WALL,
) -> tuple[list[int] | None, bool]:
    """Look for offsets (multiples of ``unit``) with no end above ``limit``.

    Returns:
        (offsets or None, True if None is proved).
    """
    room = limit // unit
    model = cp_model.CpModel()
    times, bands, offsets = [], [], []
    for i, (start, end, size) in enumerate(rectangles):
        units = -(-size // unit)
        if units > room:
            return None, True
        offset = model.new_int_var(0, room - units, f"offset_{i}")
        offsets.append(offset)
        times.append(model.new_fixed_size_interval_var(start, end - start, f"time_{i}"))
        bands.append(model.new_fixed_size_interval_var(offset, units, f"band_{i}"))
        if hint is not None:
            model.add_hint(offset, min(hint[i] // unit, room - units))
    model.add_no_overlap_2d(times, bands)
    model.add_cumulative(times, [-(-r.size // unit) for r in rectangles], room)
    solver, status = solve_model(model, seconds, seed, workers, clock)
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return [solver.value(offset) * unit for offset in offsets], False
    return None, status == cp_model.INFEASIBLE
