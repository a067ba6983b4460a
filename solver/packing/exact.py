"""Addresses by CP-SAT: no two rectangles overlap, with a redundant cumulative."""

from __future__ import annotations

from collections.abc import Sequence

from ortools.sat.python import cp_model

from memplan.solver.clock import WALL, Clock
from memplan.solver.cp import solve_model
from memplan.solver.packing.flat import Flat, Integers

__all__ = ["no_overlap"]


def no_overlap(
    flat: Flat,
    highest: Integers,
    seconds: float,
    seed: int,
    workers: int,
    hint: Sequence[int] | None = None,
    clock: Clock = WALL,
) -> tuple[list[int] | None, bool]:
    """Look for offsets (bytes), none above ``highest`` (units); ``hint`` is in bytes.

    Returns:
        (offsets or None, True if None is proved).
    """
    if min(highest) < 0:
        return None, True
    capacity = int(max(highest + flat.size))
    model = cp_model.CpModel()
    times, bands, steps = [], [], []
    for i, size in enumerate(flat.size.tolist()):
        first, alignment = int(flat.first[i]), int(flat.alignment[i])
        step = model.new_int_var(0, int(highest[i]) // alignment, f"step_{i}")
        steps.append(step)
        times.append(
            model.new_fixed_size_interval_var(first, int(flat.last[i]) - first, f"time_{i}")
        )
        bands.append(model.new_fixed_size_interval_var(alignment * step, size, f"band_{i}"))
        if hint is not None:
            guess = hint[i] // flat.unit // alignment
            model.add_hint(step, min(guess, int(highest[i]) // alignment))
    model.add_no_overlap_2d(times, bands)
    model.add_cumulative(times, flat.size.tolist(), capacity)
    solver, status = solve_model(model, seconds, seed, workers, clock)
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return [
            solver.value(step) * int(alignment) * flat.unit
            for step, alignment in zip(steps, flat.alignment, strict=True)
        ], False
    return None, status == cp_model.INFEASIBLE
