"""A solution: mask, micro-batch, schedule and addresses, and what it is worth."""

from __future__ import annotations

from dataclasses import dataclass

from memplan.solver.clock import WALL, Clock
from memplan.solver.instance import Instance
from memplan.solver.packing import Rectangle, pack
from memplan.solver.schedule import Lifetimes, Schedule, Table, derive

__all__ = ["Layout", "Solution", "Worth", "layout", "place", "plain_costs", "worth"]


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
        outside + instance.trips * table.trip_time_ns(schedule),
        arena_bytes,
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """Where stores and body stand: the stores below, or above with a padded one on top."""

    arena_bytes: int
    stores_offset: int
    body_offset: int
    #: The store that is placed last, so that its padding is spared; -1: any.
    last_store: int


def layout(lifetimes: Lifetimes, offsets: tuple[int, ...], instance: Instance) -> Layout:
    """Return the lower of the two arrangements.

    The topmost buffer need not be padded to the alignment; which one that is makes the
    difference.
    """
    outside = max((values[0] for _, values in instance.outside_workspace_bytes), default=0)
    body = outside
    padded = instance.aligned(outside)
    for block, offset in zip(lifetimes.blocks, offsets, strict=True):
        body = max(body, offset + block.exact)
        padded = max(padded, offset + block.size)
    padding = [instance.aligned(s.size_bytes[0]) - s.size_bytes[0] for s in instance.stores]
    last = max(range(len(padding)), key=lambda i: padding[i], default=-1)
    below = instance.store_bytes + body
    above = padded + instance.store_bytes - (padding[last] if last >= 0 else 0)
    if last >= 0 and (above < below or body == 0):
        return Layout(above, padded, 0, last)
    return Layout(below, 0, instance.store_bytes, -1)


def place(
    table: Table,
    schedule: Schedule,
    limit: int | None,
    seconds: float,
    seed: int = 0,
    workers: int = 1,
    clock: Clock = WALL,
) -> Solution:
    """Derive lifetimes, find addresses, and return the solution (which may exceed ``limit``)."""
    lifetimes = derive(table, schedule)
    # What takes no bytes may stand anywhere; packing would look for a place.
    sized = [index for index, block in enumerate(lifetimes.blocks) if block.size]
    rectangles = [Rectangle(b.start, b.end, b.size) for b in lifetimes.blocks if b.size]
    packing = pack(rectangles, limit, seconds=seconds, seed=seed, workers=workers, clock=clock)
    place_of = dict(zip(sized, packing.offsets, strict=True))
    offsets = tuple(place_of.get(index, 0) for index in range(len(lifetimes.blocks)))
    total = layout(lifetimes, offsets, table.instance).arena_bytes
    return Solution(table, tuple(schedule), lifetimes, offsets, worth(table, schedule, total))
