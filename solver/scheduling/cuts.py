"""What minimum cuts would keep for the backward pass: weights that greedy runs start with.

torch's partitioner keeps what a minimum cut between the forward pass and its readers behind it
says, in bytes, where operations that cost much for their bytes are not run again (Chen, Zheng and
Rodrigues, "min-cut rematerialization" of functorch).  Where the border lies between dear and cheap
is tried in several places.  A greedy run evicts what is kept last, and the rest only as far as the
limit asks for it, so it mostly costs less than the partition.
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

from memplan.solver.schedule import Table

__all__ = ["kept_by_cut", "weights_of_cuts"]

Steps = Sequence[tuple[int, int]]
Reals = NDArray[np.float64]

#: Borders between cheap and dear: parts of the operations, by time per byte, that may run again.
_PARTS = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: Logarithm of the weight of what is kept: it is evicted behind all else.
_KEPT = 60.0
#: scipy counts flows in 32 bits.
_UNBOUNDED = 1 << 30
_SOURCE, _SINK = 0, 1


def weights_of_cuts(table: Table, order: Steps) -> list[Reals]:
    """Return logarithms of weights of items, per different cut; empty where nothing runs again."""
    network = _Network.of(table, order)
    borders = np.unique(np.quantile(network.prices, _PARTS)) if network.items else ()
    weights = []
    for kept in dict.fromkeys(network.cut(border) for border in borders):
        one = np.zeros(len(table.size))
        one[sorted(kept)] = _KEPT
        weights.append(one)
    return weights


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
