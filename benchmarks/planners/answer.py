"""What a planner hands back; what it is worth is measured by ``simulate`` alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.planners.problem import Problem, simulate

__all__ = ["Attempt", "Deadline", "NotApplicableError", "Planner", "cheapest", "check_offsets"]


class NotApplicableError(Exception):
    """The planner is not defined on such a problem; the message says why."""


@dataclass(frozen=True)
class Attempt:
    """One answer of one planner.

    Attributes:
        sequence: of operations; None where no plan was found.
        cost_bound: proved: no plan of the planner's own search space costs less in total.
        any_order_bound: proved: no plan of any order costs less.
        infeasible: proved: no plan of that space fits.
        offsets: where the planner chooses addresses itself, that of each step's block.
        note: what a reader should know.
    """

    sequence: tuple[int, ...] | None
    cost_bound: int | None = None
    any_order_bound: int | None = None
    infeasible: bool = False
    offsets: tuple[int, ...] | None = None
    note: str = ""


#: (problem, budget in bytes, seconds) -> answer.
Planner = Callable[[Problem, int, float], Attempt]


class Deadline:
    """A limit of wall time."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left; 0 once over."""
        return max(0.0, self._until - time.monotonic())

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return not self.left


def cheapest(
    problem: Problem, candidates: Sequence[Sequence[int]], budget_bytes: int
) -> tuple[int, ...] | None:
    """Return the candidate of least cost whose live bytes are within the budget."""
    best: tuple[int, tuple[int, ...]] | None = None
    for candidate in candidates:
        replay = simulate(problem, candidate)
        if replay.peak_bytes <= budget_bytes and (best is None or replay.cost < best[0]):
            best = replay.cost, tuple(candidate)
    return None if best is None else best[1]


def check_offsets(lifetimes: Sequence[tuple[int, int, int, int]], offsets: Sequence[int]) -> int:
    """Return the arena that addresses need.

    Args:
        lifetimes: of the blocks, as ``simulate`` returns them.
        offsets: of each block.

    Raises:
        ValueError: two blocks share bytes while both live.
    """
    placed = sorted(
        (start, end, offset, offset + size)
        for (_, start, end, size), offset in zip(lifetimes, offsets, strict=True)
        if size
    )
    active: list[tuple[int, int, int]] = []
    for start, end, low, high in placed:
        active = [block for block in active if block[0] > start]
        for _, other_low, other_high in active:
            if low < other_high and other_low < high:
                raise ValueError(f"blocks share bytes at step {start}")
        active.append((end, low, high))
    return max((high for _, _, _, high in placed), default=0)
