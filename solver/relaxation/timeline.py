"""A schedule as a line of first computations, for bounds on what recomputation must cost.

The bound holds for plans that run every operation first in this order and by these ways, and run
again only forward operations, behind the last of them (``RESTRICTION``).
"""

from __future__ import annotations

from dataclasses import dataclass

from memplan.solver.schedule import Schedule, Table

__all__ = ["RESTRICTION", "Timeline", "timeline_of"]

RESTRICTION = (
    "operations first run in the order and by the ways of this plan, and again only forward ones, "
    "behind the forward pass"
)


@dataclass(frozen=True)
class Timeline:
    """First computations in order; the first ``forward`` of them may run again, behind those.

    Attributes:
        time_ns: of each operation.
        reads: per operation, the items it reads.
        writes: per operation, the items it writes.
        beside_bytes: per operation, workspace less what results may share with operands at most.
        size: of items, in bytes.
        producer: of each item, the position of its operation; absent: given by the host.
        kept: items that stay to the end.
        forward: how many operations belong to the forward pass.
    """

    time_ns: tuple[int, ...]
    reads: tuple[tuple[int, ...], ...]
    writes: tuple[tuple[int, ...], ...]
    beside_bytes: tuple[int, ...]
    size: tuple[int, ...]
    producer: dict[int, int]
    kept: frozenset[int]
    forward: int


def timeline_of(table: Table, schedule: Schedule) -> Timeline | None:
    """Return the line of a schedule, or None where it has not the form that the bound is for.

    It has not where an operation of the forward pass comes behind one that may not run again, an
    operation goes different ways, or runs again before the forward pass is over.
    """
    works = table.instance.works
    first: dict[int, int] = {}
    for work, way in schedule:
        if first.setdefault(work, way) != way or table.uses_up[work][way] >= 0:
            return None
    order = list(first.items())
    forward = 0
    while forward < len(order) and works[order[forward][0]].recomputable:
        forward += 1
    members = {work for work, _ in order[:forward]}
    if any(works[work].recomputable for work, _ in order[forward:]):
        return None
    seen: set[int] = set()
    for work, _ in schedule:
        if work in seen and not members <= seen:
            return None  # it runs again within the forward pass
        seen.add(work)
    beside = []
    for work, way in order:
        shared = {written: table.size[read] for read, written in table.pairs[work][way]}
        beside.append(table.workspace[work][way] - sum(shared.values()))
    position = {work: place for place, (work, _) in enumerate(order)}
    return Timeline(
        time_ns=tuple(table.time_ns[work][way] for work, way in order),
        reads=tuple(table.reads[work][way] for work, way in order),
        writes=tuple(table.writes[work] for work, _ in order),
        beside_bytes=tuple(beside),
        size=table.size,
        producer={
            item: position[work] for item, work in table.producer.items() if work in position
        },
        kept=table.kept,
        forward=forward,
    )
