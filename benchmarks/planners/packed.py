"""Addresses for a sequence, by memplan's packer: the same for every planner that chooses none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.planners.problem import Problem, simulate
from memplan.solver.packing import Rectangle, pack

__all__ = ["Packed", "packed"]


@dataclass(frozen=True)
class Packed:
    """The offset of each step's block, and how high they reach."""

    offsets: tuple[int, ...]
    arena_bytes: int


def packed(problem: Problem, sequence: Sequence[int], limit_bytes: int, seconds: float) -> Packed:
    """Pack until the limit is met, or the time is over."""
    lifetimes = simulate(problem, sequence).lifetimes
    rectangles = [Rectangle(start, end, size) for _, start, end, size in lifetimes]
    packing = pack(rectangles, limit_bytes, seconds=max(0.0, seconds))
    return Packed(packing.offsets, packing.height)
