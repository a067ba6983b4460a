"""A solution: mask, micro-batch, schedule and addresses, and what it is worth."""

from __future__ import annotations

from dataclasses import dataclass

from memplan.solver.instance import Instance
from memplan.solver.packing import Rectangle, pack
from memplan.solver.schedule import Lifetimes, Schedule, Table, derive

__all__ = ["Solution", "Worth", "place", "plain_costs", "worth"]


@dataclass(frozen=True, slots=True, order=True)
class Worth:
    """The objective, level by level; less is better."""

    minus_importance: int
    time_ns: int
    arena_bytes: int


@dataclass(frozen=True)
class Solution:
    """Everything that a plan fixes, in indices of one fixed instance."""

    table: Table
    schedule: tuple[tuple[int, int], ...]
    lifetimes: Lifetimes
    #: Offset of each block, above the stores.
    offsets: tuple[int, ...]
    worth: Worth

    @property
    def instance(self) -> Instance:
        """The instance that this solves."""
        return self.table.instance


def plain_costs(instance: Instance) -> tuple[int, int]:
    """Return (time_ns, MACs) of prologue and epilogue of a fixed instance."""
    return (
        sum(values[0] for _, values in instance.outside_time_ns),
        sum(values[0] for _, values in instance.outside_macs),
    )


def worth(table: Table, schedule: Schedule, arena_bytes: int) -> Worth:
    """Return the objective of a schedule that needs ``arena_bytes``."""
    instance = table.instance
    outside, _ = plain_costs(instance)
    return Worth(
        -sum(choice.units[0] for choice in instance.choices),
        outside + instance.trips * sum(table.time_ns[work][way] for work, way in schedule),
        arena_bytes,
    )


def arena_bytes(lifetimes: Lifetimes, offsets: tuple[int, ...], instance: Instance) -> int:
    """Return the highest end of any buffer: sizes are exact there, aligned below."""
    top = _stores_top(instance)
    for block, offset in zip(lifetimes.blocks, offsets, strict=True):
        top = max(top, instance.store_bytes + offset + block.exact)
    outside = max((values[0] for _, values in instance.outside_workspace_bytes), default=0)
    return max(top, instance.store_bytes + outside if outside else 0)


def _stores_top(instance: Instance) -> int:
    top = 0
    offset = 0
    for store in instance.stores:
        if store.size_bytes[0]:
            top = offset + store.size_bytes[0]
            offset += instance.aligned(store.size_bytes[0])
    return top


def place(
    table: Table, schedule: Schedule, limit: int | None, seconds: float, seed: int = 0, workers: int = 1
) -> Solution:
    """Derive lifetimes, find addresses, and return the solution (which may exceed ``limit``)."""
    lifetimes = derive(table, schedule)
    rectangles = [Rectangle(b.start, b.end, b.size) for b in lifetimes.blocks]
    packing = pack(rectangles, limit, seconds=seconds, seed=seed, workers=workers)
    total = arena_bytes(lifetimes, packing.offsets, table.instance)
    return Solution(
        table, tuple(schedule), lifetimes, packing.offsets, worth(table, schedule, total)
    )
