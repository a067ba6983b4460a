"""A schedule as a line of first computations, for bounds on what recomputation must cost.

The *forward pass* of a line is what comes before the first operation that may not run again; what
may run again and comes later is *late*.  The bound holds for plans that run operations by these
ways, and first in this order (``Timeline.restrictions``).  An operation that a plan runs by several
ways counts, where it runs again, as the cheapest of them, and as reading what all of them read.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from memplan.solver.restrictions import ALONG_LINE, ALONG_LINE_BEHIND_FORWARD, FIRST_WAYS
from memplan.solver.schedule import Schedule, Table

__all__ = ["Timeline", "beside_bytes", "timeline_of"]


@dataclass(frozen=True)
class Timeline:
    """First computations in order; the first ``forward`` of them may run again, and some others.

    Attributes:
        time_ns: of each operation.
        reads: per operation, the items it reads.
        writes: per operation, the items it writes.
        beside_bytes: per operation, workspace less what results may share with operands at most,
            and less results that take the place of an operand that is used up.
        again_time_ns, again_reads, again_beside_bytes: the same where an operation runs again: at
            least so much.
        size: of items, in bytes.
        producer: of each item, the position of its operation; absent: given by the host.
        kept: items that stay to the end.
        forward: how many operations belong to the forward pass.
        late: positions behind the forward pass whose operations may run again, too.
        again_in_forward: whether some may run again within the forward pass, too: they do, or this
            is the only line.
        is_plain: no operation has a workspace, and no result may share bytes with an operand, so
            that bytes are the sum of what is kept.
        is_exact: every operation goes one way and uses nothing up, so that a schedule of the line
            is a schedule.
        is_only: every plan runs these operations by these ways, first in this order.
    """

    time_ns: tuple[int, ...]
    reads: tuple[tuple[int, ...], ...]
    writes: tuple[tuple[int, ...], ...]
    beside_bytes: tuple[int, ...]
    again_time_ns: tuple[int, ...]
    again_reads: tuple[tuple[int, ...], ...]
    again_beside_bytes: tuple[int, ...]
    size: tuple[int, ...]
    producer: dict[int, int]
    kept: frozenset[int]
    forward: int
    late: frozenset[int]
    again_in_forward: bool
    is_plain: bool
    is_exact: bool
    is_only: bool

    @property
    def restrictions(self) -> tuple[str, ...]:
        """Return under what a bound along this line holds."""
        if self.is_only:
            return ()
        order = ALONG_LINE if self.again_in_forward else ALONG_LINE_BEHIND_FORWARD
        is_of_one_way = (self.time_ns, self.reads, self.beside_bytes) == (
            self.again_time_ns, self.again_reads, self.again_beside_bytes,
        )  # fmt: skip
        return (order,) if is_of_one_way else (order, FIRST_WAYS)


def timeline_of(table: Table, schedule: Schedule) -> Timeline | None:
    """Return the line of a schedule, or None where it has not the form that the bound is for.

    It has not where an operation runs again although it may not.
    """
    works = table.instance.works
    first: dict[int, int] = {}
    ways: dict[int, set[int]] = {}
    for work, way in schedule:
        first.setdefault(work, way)
        ways.setdefault(work, set()).add(way)
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
    # A bound of the only line is of every plan, if it supposes nothing of the forward pass.
    is_only = _is_only(table, order)
    position = {work: place for place, (work, _) in enumerate(order)}
    return Timeline(
        time_ns=tuple(table.time_ns[work][way] for work, way in order),
        reads=tuple(table.reads[work][way] for work, way in order),
        writes=tuple(table.writes[work] for work, _ in order),
        beside_bytes=tuple(beside_bytes(table, work, way) for work, way in order),
        again_time_ns=tuple(min(table.time_ns[work][way] for way in ways[work]) for work in first),
        again_reads=tuple(_read_by_all(table, work, way, ways[work]) for work, way in order),
        again_beside_bytes=tuple(
            min(beside_bytes(table, work, way) for way in ways[work]) for work in first
        ),
        size=table.size,
        producer={
            item: position[work] for item, work in table.producer.items() if work in position
        },
        kept=table.kept,
        forward=forward,
        late=frozenset(
            place for place in range(forward, len(order)) if works[order[place][0]].recomputable
        ),
        again_in_forward=again_in_forward or is_only,
        is_plain=not any(table.workspace[v][w] or table.pairs[v][w] for v, w in order),
        is_exact=all(len(own) == 1 for own in ways.values())
        and all(table.uses_up[work][way] < 0 for work, way in order),
        is_only=is_only,
    )


def _is_only(table: Table, order: Schedule) -> bool:
    """Tell whether every plan runs these operations by these ways, first in this order.

    Each has one way, and reads what the one before writes; and there is one region of RAM that
    plans may use.
    """
    instance = table.instance
    device = instance.request.device
    regions = () if device is None else device.regions
    if sum(region.kind == "ram" for region in regions) > 1 or instance.coverable:
        return False
    return all(len(table.allowed[work]) == 1 for work, _ in order) and all(
        not set(table.writes[before]).isdisjoint(table.reads[work][way])
        for (before, _), (work, way) in pairwise(order)
    )


def beside_bytes(table: Table, work: int, way: int) -> int:
    """Return the bytes beside operands and results at most; what is shared comes off."""
    if table.uses_up[work][way] >= 0:  # results live from the next step on
        return table.workspace[work][way] - sum(table.size[item] for item in table.writes[work])
    shared = {written: table.size[read] for read, written in table.pairs[work][way]}
    return table.workspace[work][way] - sum(shared.values())


def _read_by_all(table: Table, work: int, first: int, ways: set[int]) -> tuple[int, ...]:
    """Return what a work reads first that it reads by all of some ways."""
    others = [table.reads[work][way] for way in ways]
    return tuple(
        item for item in table.reads[work][first] if all(item in reads for reads in others)
    )
