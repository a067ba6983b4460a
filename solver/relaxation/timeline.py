"""A schedule as a line of first computations, for bounds on what recomputation must cost.

The *forward pass* of a line is what comes before the first operation that may not run again; what
may run again and comes later is *late*.  The bound holds for plans that run operations by these
ways, and first in this order (``Timeline.restriction``).
"""

from __future__ import annotations

from dataclasses import dataclass

from memplan.solver.restrictions import ALONG_LINE, ALONG_LINE_BEHIND_FORWARD
from memplan.solver.schedule import Schedule, Table

__all__ = ["Timeline", "timeline_of"]


@dataclass(frozen=True)
class Timeline:
    """First computations in order; the first ``forward`` of them may run again, and some others.

    Attributes:
        time_ns: of each operation.
        reads: per operation, the items it reads.
        writes: per operation, the items it writes.
        beside_bytes: per operation, workspace less what results may share with operands at most.
        size: of items, in bytes.
        producer: of each item, the position of its operation; absent: given by the host.
        kept: items that stay to the end.
        forward: how many operations belong to the forward pass.
        late: positions behind the forward pass whose operations may run again, too.
        again_in_forward: whether some may run again within the forward pass, too.
        is_plain: no operation has a workspace, and no result may share bytes with an operand, so
            that bytes are the sum of what is kept.
    """

    time_ns: tuple[int, ...]
    reads: tuple[tuple[int, ...], ...]
    writes: tuple[tuple[int, ...], ...]
    beside_bytes: tuple[int, ...]
    size: tuple[int, ...]
    producer: dict[int, int]
    kept: frozenset[int]
    forward: int
    late: frozenset[int]
    again_in_forward: bool
    is_plain: bool

    @property
    def restriction(self) -> str:
        """Return under what a bound along this line holds."""
        return ALONG_LINE if self.again_in_forward else ALONG_LINE_BEHIND_FORWARD


def timeline_of(table: Table, schedule: Schedule) -> Timeline | None:
    """Return the line of a schedule, or None where it has not the form that the bound is for.

    It has not where an operation goes different ways, uses up an operand, or runs again although it
    may not.
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
    seen: set[int] = set()
    again_in_forward = False
    for work, _ in schedule:
        if work in seen:
            if not works[work].recomputable:
                return None
            again_in_forward = again_in_forward or not members <= seen
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
        late=frozenset(
            place for place in range(forward, len(order)) if works[order[place][0]].recomputable
        ),
        again_in_forward=again_in_forward,
        is_plain=not any(table.workspace[v][w] or table.pairs[v][w] for v, w in order),
    )
