"""Greedy schedules: run in order, recompute what is missing, evict what is worth least.

Operations run in a given order.  If an operand is missing its producers run again; if the next
operation does not fit, tensors are evicted by Melon's tensor-per-second idea (Wang et al., MobiSys
2022, eq. 1) with free exponents: first the tensor with the least

    recompute_time ** c / (size ** a * (time to next use) ** b).

Starts with random exponents and noise find what no fixed triple finds.  ``eviction`` has the run.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import isinf

import numpy as np
from numpy.typing import NDArray

from memplan.solver.local_search.eviction import Eviction, evict, eviction_for
from memplan.solver.local_search.flat import Flat, Numbers, flatten, to_options, to_schedule
from memplan.solver.schedule import Schedule, Table
from memplan.solver.scheduling.ways import without_unread

Reals = NDArray[np.float64]

__all__ = ["Exponents", "GreedyRuns", "evict_and_recompute", "random_exponents"]

#: More than any schedule takes.
_NO_LIMIT_NS = 1 << 62


@dataclass(frozen=True, slots=True)
class Exponents:
    """The weights of size, distance and cost in the choice of what to evict."""

    size: float = 1.0
    distance: float = 1.0
    cost: float = 1.0
    noise: float = 0.0
    #: Hold what the host has written to the end, so that anything can be computed again.
    keep_inputs: bool = False


def random_exponents(chance: random.Random) -> Exponents:
    """Draw exponents from the ranges that have been found useful."""
    return Exponents(
        size=chance.uniform(0.3, 2.0),
        distance=chance.uniform(0.0, 1.5),
        cost=chance.uniform(0.3, 1.5),
        noise=chance.choice((0.0, 0.0, 0.3, 0.6)),
        keep_inputs=chance.random() < 0.3,
    )


class GreedyRuns:
    """Runs over one order; of one thread."""

    def __init__(self, table: Table, order: Schedule, flat: Flat | None = None) -> None:
        self.table = table
        self.flat = flatten(table, 0) if flat is None else flat
        self.order: Numbers = to_options(self.flat, order)
        self.memory: Eviction = eviction_for(self.flat, self.order)
        self.steps: Numbers = np.zeros(self.flat.longest, np.int64)

    def run(
        self,
        limit_bytes: int,
        exponents: Exponents,
        weights: Reals,
        time_limit_ns: int = _NO_LIMIT_NS,
    ) -> int:
        """Write a schedule to ``steps`` (options); return its length, 0: it gave up.

        Args:
            weights: of items, logarithms.
        """
        powers = np.array([exponents.size, exponents.distance, exponents.cost])
        return self.run_by(limit_bytes, powers, exponents.keep_inputs, weights, time_limit_ns)

    def run_by(
        self,
        limit_bytes: int,
        powers: Reals,
        keep_inputs: bool,
        weights: Reals,
        time_limit_ns: int = _NO_LIMIT_NS,
    ) -> int:
        """Do the same with the exponents of size, distance and cost as numbers."""
        return int(
            evict(
                self.flat,
                self.memory,
                self.order,
                limit_bytes,
                weights,
                powers,
                keep_inputs,
                time_limit_ns,
                self.steps,
            )
        )

    def schedule(
        self,
        limit_bytes: int,
        exponents: Exponents,
        chance: random.Random,
        time_limit_ns: float = float("inf"),
    ) -> list[tuple[int, int]] | None:
        """Return a schedule that tries to stay within ``limit_bytes`` of live bytes.

        It may exceed the limit where nothing evictable is left: the caller measures.  None if it
        recomputes for longer than ``time_limit_ns`` in all.
        """
        weights = np.zeros(len(self.table.size))
        if exponents.noise:
            draw = np.random.default_rng(chance.getrandbits(32))
            weights = draw.normal(0.0, exponents.noise, len(self.table.size))
        time_limit = _NO_LIMIT_NS if isinf(time_limit_ns) else int(time_limit_ns)
        length = self.run(limit_bytes, exponents, weights, time_limit)
        if not length:
            return None
        return without_unread(self.table, to_schedule(self.flat, self.steps[:length]))


def evict_and_recompute(
    table: Table,
    order: Schedule,
    limit_bytes: int,
    exponents: Exponents,
    chance: random.Random,
    time_limit_ns: float = float("inf"),
) -> list[tuple[int, int]] | None:
    """Return the schedule of one run: ``GreedyRuns.schedule``."""
    return GreedyRuns(table, order).schedule(limit_bytes, exponents, chance, time_limit_ns)
