"""Which tensors of a graph play the same part: those of equal layers do.

Operations get colours: what they are and cost at first, then, again and again, their colour with
those of the operations whose results they read and of those that read theirs (Weisfeiler and Leman,
1968).  After a few rounds the operations of equal blocks have equal colours, except at both ends.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from memplan.solver.schedule import Table

__all__ = ["kinds_of_items"]

#: Colours know of neighbours so many operations away.
_ROUNDS = 3


def kinds_of_items(table: Table) -> NDArray[np.int64]:
    """Return the number of the kind of each item; tensors of equal parts have equal numbers."""
    works = table.instance.works
    operations = table.instance.graph.operation
    readers: list[list[int]] = [[] for _ in table.size]
    reads = [table.reads[work][ways[0]] if ways else () for work, ways in enumerate(table.allowed)]
    for work, items in enumerate(reads):
        for item in items:
            readers[item].append(work)
    colours = _numbered(
        [
            (
                work.phase,
                tuple(way.target for way in operations[work.operation].alternatives),
                table.time_ns[index],
                tuple(table.size[item] for item in work.writes),
            )
            for index, work in enumerate(works)
        ]
    )
    for _ in range(_ROUNDS):
        colours = _numbered(
            [
                (
                    colours[work],
                    tuple(
                        colours[table.producer[item]] if item in table.producer else -1
                        for item in reads[work]
                    ),
                    tuple(
                        tuple(sorted(colours[reader] for reader in readers[item]))
                        for item in table.writes[work]
                    ),
                )
                for work in range(len(works))
            ]
        )
    kinds: list[Hashable] = [("given", item) for item in range(len(table.size))]
    for item, work in table.producer.items():
        kinds[item] = (colours[work], table.writes[work].index(item))
    return np.array(_numbered(kinds), np.int64)


def _numbered(values: Sequence[Hashable]) -> list[int]:
    """Return equal numbers, from 0, for equal values."""
    number: dict[Hashable, int] = {}
    return [number.setdefault(value, len(number)) for value in values]
