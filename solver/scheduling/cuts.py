"""Schedules that keep what minimum cuts keep, and run the rest again as far as a limit asks for.

torch's partitioner keeps the fewest bytes from which the backward pass can compute what it reads
without running anything dear again: a minimum cut of the forward pass (functorch's "min-cut
rematerialization").  Which operations are dear is a matter of time per byte; the border is tried
where prices jump.  With one cut everything is cheap, and most bytes are spared.  The whole
partition recomputes too much for most limits, so what the limit does not need is left out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
from scipy.sparse.csgraph import (  # type: ignore[import-untyped]
    breadth_first_order,
    maximum_flow,
)

from memplan.solver.clock import WALL, Clock
from memplan.solver.local_search.leave_out import with_less_recomputed
from memplan.solver.schedule import Table
from memplan.solver.scheduling.ways import without_unread

__all__ = ["kept_by_cut", "schedules_of_cuts"]

Steps = tuple[tuple[int, int], ...]
Reals = NDArray[np.float64]

#: Borders between cheap and dear: where prices jump most, so many of them.
_BORDERS = 6
#: Parts of the limit, the likeliest first: where live bytes just fit, addresses seldom do.
_AIMS = (0.995, 0.98, 1.0)
_ORDERS = 2
#: scipy counts flows in 32 bits.
_UNBOUNDED = 1 << 30
_SOURCE, _SINK = 0, 1
#: Of a cut and its schedule, per step of the order; measured.
_SECONDS_PER_STEP = 5e-6


def schedules_of_cuts(
    table: Table,
    orders: Sequence[Steps],
    limit_bytes: int,
    until: float,
    clock: Clock = WALL,
) -> list[Steps]:
    """Return schedules along the first orders, with as little recomputed as the limit allows.

    Those of cuts that keep too many bytes exceed the limit, and come as they are.  What is begun
    when the clock reaches ``until`` may take as long again.
    """
    last = until + (until - clock.now())
    found: dict[Steps, None] = {}
    for order in orders[:_ORDERS]:
        network = _Network.of(table, order)
        cuts = dict.fromkeys(network.cut(border) for border in network.borders())
        clock.spend(_SECONDS_PER_STEP * len(order) * (1 + len(cuts)))
        for kept in cuts:
            steps = tuple(without_unread(table, _with_recomputation(table, order, kept)))
            for part in _AIMS:
                if clock.over(until):
                    return list(found)
                aim = int(part * limit_bytes)
                found[with_less_recomputed(table, steps, aim, last, clock)] = None
    return list(found)


def _with_recomputation(table: Table, order: Steps, kept: frozenset[int]) -> list[tuple[int, int]]:
    """Return the order, in which what is not kept runs again right before it is first needed."""
    works, way_of = table.instance.works, dict(order)
    steps: list[tuple[int, int]] = []
    ran: set[int] = set()
    back = {item for item, size in enumerate(table.size) if not size or item in kept}
    for work, way in order:
        if works[work].recomputable:
            ran.update(table.writes[work])
        else:
            missing = [item for item in table.reads[work][way] if item in ran and item not in back]
            while missing:
                item = missing[-1]
                producer = table.producer[item]
                operands = table.reads[producer][way_of[producer]]
                before = [one for one in operands if one in ran and one not in back]
                missing += before
                if before:
                    continue
                missing.pop()
                if item not in back:
                    steps.append((producer, way_of[producer]))
                    back.update(table.writes[producer])
        steps.append((work, way))
    return steps


def kept_by_cut(table: Table, order: Steps, border: float) -> frozenset[int]:
    """Return the items of fewest bytes without which nothing dear would have to run again.

    Args:
        border: operations that take more ns per byte that they write are dear.
    """
    return _Network.of(table, order).cut(border)


@dataclass(frozen=True)
class _Network:
    """Items that can be computed again, each from where it is made to where it is read from.

    Attributes:
        items: in the order in which they are made; number n has the nodes 2 + 2n and 3 + 2n.
        edges: capacities.
        prices: ns per byte of the operations that may run again.
        written: by these, as numbers of items.
    """

    items: tuple[int, ...]
    edges: dict[tuple[int, int], int]
    prices: Reals
    written: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, table: Table, order: Steps) -> _Network:
        works, size = table.instance.works, table.size
        again = [(work, way) for work, way in order if works[work].recomputable]
        items = tuple(item for work, _ in again for item in table.writes[work] if size[item])
        place = {item: number for number, item in enumerate(items)}
        read_behind = {
            item
            for work, way in order
            if not works[work].recomputable
            for item in table.reads[work][way]
        }
        unit = -(-sum(size[item] for item in items) // (_UNBOUNDED - len(items) - 1)) or 1
        edges: dict[tuple[int, int], int] = {}
        for item, number in place.items():
            edges[_into(number), _out_of(number)] = -(-size[item] // unit)
            if item in read_behind or item in table.kept:
                edges[_out_of(number), _SINK] = _UNBOUNDED
        written = []
        for work, way in again:
            results = tuple(place[item] for item in table.writes[work] if item in place)
            written.append(results)
            for operand in table.reads[work][way]:
                if operand in place:
                    for result in results:
                        edges[_out_of(place[operand]), _into(result)] = _UNBOUNDED
        prices = [
            table.time_ns[work][way] / max(1, sum(size[item] for item in table.writes[work]))
            for work, way in again
        ]
        return cls(items, edges, np.array(prices), tuple(written))

    def borders(self) -> list[float]:
        """Return the prices behind which the next is much higher, and the highest."""
        distinct = np.unique(self.prices[self.prices > 0])
        if not len(distinct):
            return []
        jumps = np.argsort(distinct[1:] / distinct[:-1])[::-1][:_BORDERS]
        return [float(distinct[jump]) for jump in jumps] + [float(distinct[-1])]

    def cut(self, border: float) -> frozenset[int]:
        """Return the items that a minimum cut behind everything dear goes through."""
        edges = dict(self.edges)
        for price, results in zip(self.prices, self.written, strict=True):
            if price > border:
                edges.update({(_SOURCE, _into(result)): _UNBOUNDED for result in results})
        nodes = 2 + 2 * len(self.items)
        capacities = np.fromiter(edges.values(), np.int32, len(edges))
        begin, end = np.array(list(edges), np.int32).reshape(-1, 2).T
        graph = csr_matrix((capacities, (begin, end)), shape=(nodes, nodes))
        left = graph - maximum_flow(graph, _SOURCE, _SINK).flow
        left.eliminate_zeros()
        reached = np.zeros(nodes, np.bool_)
        reached[breadth_first_order(left, _SOURCE, return_predecessors=False)] = True
        through = np.flatnonzero(reached[2::2] & ~reached[3::2])
        return frozenset(self.items[number] for number in through)


def _into(number: int) -> int:
    return 2 + 2 * number


def _out_of(number: int) -> int:
    return 3 + 2 * number
