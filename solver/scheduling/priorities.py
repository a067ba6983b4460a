"""A search over what greedy runs evict first: weights of tensors, equal for equal parts.

A greedy run evicts by a score with three exponents (``greedy``).  Here every tensor has a weight
besides, the product of one of its *kind* (``repeats``) and one of its own.  The layers of a large
network are alike, so what is found out of a tensor of one layer is tried on those of all layers at
once: a decision for one block is one change.  Each climber goes from one set of weights, exponents,
order and aim to the next by annealing, and now and then starts anew at random, so that it is never
worse than many random starts.

Exact it is not: order and recomputation are what the greedy makes of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from memplan.solver.clock import Clock
from memplan.solver.local_search.flat import Flat, Scratch, flatten, scratch_for, to_schedule
from memplan.solver.local_search.measure import measure, without_unread
from memplan.solver.schedule import Table
from memplan.solver.scheduling.greedy import GreedyRuns
from memplan.solver.scheduling.repeats import kinds_of_items

__all__ = ["climb"]

Steps = tuple[tuple[int, int], ...]
Reals = NDArray[np.float64]

#: What a run takes, per step of its order and in all; measured.
_SECONDS_PER_STEP, _SECONDS_PER_RUN = 2.5e-7, 6e-5
#: Climbers look at the clock after about so long.
_SECONDS_PER_TURN = 0.1
#: How much worse, as a part of the time, a step may be at first.
_WARM = 1e-3
#: Part of the runs that start at random.
_RANDOM = 0.12


@dataclass(frozen=True)
class _Point:
    """Where a climber stands: one greedy run."""

    which: int
    #: The limit of the run, as a part of the true one: the greedy's count errs on either side.
    aim: float
    exponents: Reals
    keep_inputs: bool
    of_kind: Reals
    of_item: Reals


@dataclass(frozen=True)
class _Reached:
    """What a run reached: overflow in byte-steps, and time."""

    overflow: int
    time_ns: int
    point: _Point


def climb(
    table: Table,
    orders: Sequence[Steps],
    limit_bytes: int,
    until: float,
    seed: int,
    on_better: Callable[[Steps], object],
    clock: Clock,
    *,
    workers: int = 1,
    kinds: bool = True,
) -> dict[Steps, tuple[int, int]]:
    """Run greedily along orders until the clock reaches ``until``; at least twice along each.

    Args:
        on_better: called with each schedule that is the best of its climber so far.
        workers: climbers that run side by side.
        kinds: whether there are weights at all; else every run starts at random.

    Returns:
        The best schedule of each climber, with its overflow in byte-steps and its time.
    """
    if not orders:
        return {}
    flat = flatten(table, limit_bytes)
    kind_of = kinds_of_items(table)
    climbers = [
        _Climber(table, flat, orders, kind_of if kinds else None, seed * 7919 + number)
        for number in range(workers)
    ]
    began = clock.now()
    move_seconds = _SECONDS_PER_RUN + _SECONDS_PER_STEP * max(len(order) for order in orders)
    rounds = max(2, int(_SECONDS_PER_TURN / move_seconds))
    turn = 0
    with ThreadPoolExecutor(workers, thread_name_prefix="memplan-greedy") as executor:
        while turn * rounds < 2 * len(orders) or not clock.over(until):
            turn += 1
            gone = (clock.now() - began) / max(1e-9, until - began)
            warmth = _WARM * max(0.0, 1.0 - gone) ** 2
            before = [climber.best for climber in climbers]
            for job in [executor.submit(climber.go, rounds, warmth) for climber in climbers]:
                job.result()
            clock.spend(rounds * move_seconds)
            for climber, known in zip(climbers, before, strict=True):
                if climber.best is not None and climber.best is not known:
                    on_better(climber.schedule())
            if clock.stop():
                break
    return {
        climber.schedule(): (climber.best.overflow, climber.best.time_ns)
        for climber in climbers
        if climber.best is not None
    }


class _Climber:
    """One climber; it has memory, numbers and a generator of its own."""

    def __init__(
        self,
        table: Table,
        flat: Flat,
        orders: Sequence[Steps],
        kind_of: NDArray[np.int64] | None,
        seed: int,
    ) -> None:
        self.flat = flat
        self.runs = [GreedyRuns(table, order, flat) for order in orders]
        self.scratch: Scratch = scratch_for(flat)
        self.chance = np.random.default_rng(seed)
        recomputable = [
            item
            for item, work in table.producer.items()
            if table.size[item] and table.instance.works[work].recomputable
        ]
        self.has_weights = kind_of is not None and bool(recomputable)
        self.kind_of = np.zeros(len(table.size), np.int64) if kind_of is None else kind_of
        self.kinds = int(self.kind_of.max(initial=0)) + 1
        #: Items of each kind that can be evicted, in traced order.
        self.members: list[list[int]] = []
        if self.has_weights:
            members: dict[int, list[int]] = {}
            for item in sorted(recomputable):
                members.setdefault(int(self.kind_of[item]), []).append(item)
            self.members = list(members.values())
        self.number = 0
        self.current: _Reached | None = None
        self.best: _Reached | None = None
        self.best_options = np.zeros(0, np.int64)

    def schedule(self) -> Steps:
        """Return the best schedule so far."""
        return tuple(to_schedule(self.flat, self.best_options))

    def go(self, rounds: int, warmth: float) -> None:
        """Take so many steps; of those that do not lead up, fewer the less warm it is."""
        for _ in range(rounds):
            reached = self._run(self._next())
            self.number += 1
            if reached is None:
                continue
            if self.current is None or self._accepts(reached, self.current, warmth):
                self.current = reached

    def _next(self) -> _Point:
        """Return the next point: each order with plain exponents first."""
        if self.number < len(self.runs):
            none = np.zeros(self.kinds), np.zeros(len(self.kind_of))
            return _Point(self.number, 1.0, np.ones(3), False, *none)
        few = self.number < 3 * len(self.runs) + 20
        if few or self.current is None or not self.has_weights or self.chance.random() < _RANDOM:
            return self._random()
        return self._near(self.current.point)

    def _random(self) -> _Point:
        chance = self.chance
        which = self.number % len(self.runs)
        if self.current is not None and chance.random() < 0.6:
            which = self.current.point.which  # the better order is tried more often
        of_item = np.zeros(len(self.kind_of))
        noise = (0.0, 0.0, 0.3, 0.6)[chance.integers(4)]
        if noise:
            of_item = chance.normal(0.0, noise, len(self.kind_of))
        exponents = chance.uniform((0.3, 0.0, 0.3), (2.0, 1.5, 1.5))
        keep_inputs = bool(chance.random() < 0.3)
        aim = float(chance.uniform(0.9, 1.02))
        return _Point(which, aim, exponents, keep_inputs, np.zeros(self.kinds), of_item)

    def _near(self, point: _Point) -> _Point:
        chance = self.chance
        move = chance.random()
        if move < 0.15:
            exponents = np.maximum(0.0, point.exponents + chance.normal(0.0, 0.15, 3))
            return replace(point, exponents=exponents)
        if move < 0.3:
            aim = float(np.clip(point.aim + chance.normal(0.0, 0.004), 0.8, 1.02))
            return replace(point, aim=aim)
        if move < 0.33:
            return replace(point, which=int(chance.integers(len(self.runs))))
        if move < 0.36:
            return replace(point, keep_inputs=not point.keep_inputs)
        members = self.members[chance.integers(len(self.members))]
        if move < 0.7:
            of_kind = point.of_kind.copy()
            for _ in range(chance.choice((1, 1, 2, 3))):
                kind = self.kind_of[self.members[chance.integers(len(self.members))][0]]
                of_kind[kind] += chance.normal(0.0, 0.7)
            return replace(point, of_kind=of_kind)
        # Some layers, one behind the other, differ from the rest.
        of_item = point.of_item.copy()
        first = int(chance.integers(len(members)))
        end = first + 1 + int(chance.exponential(2.0))
        of_item[members[first:end]] += chance.normal(0.0, 1.0)
        return replace(point, of_item=of_item)

    def _run(self, point: _Point) -> _Reached | None:
        runs, flat = self.runs[point.which], self.flat
        weights = point.of_kind[self.kind_of] + point.of_item
        length = runs.run_by(
            int(flat.limit_bytes * point.aim), point.exponents, point.keep_inputs, weights
        )
        if not length:
            return None
        length = without_unread(flat, self.scratch, runs.steps, length)
        overflow, time_ns, macs = measure(flat, self.scratch, runs.steps, length)
        if overflow < 0 or 0 <= flat.macs_limit < macs:
            return None
        reached = _Reached(overflow, time_ns, point)
        best = self.best
        if best is None or (overflow, time_ns) < (best.overflow, best.time_ns):
            self.best = reached
            self.best_options = runs.steps[:length].copy()
        return reached

    def _accepts(self, trial: _Reached, current: _Reached, warmth: float) -> bool:
        if trial.overflow != current.overflow:
            return trial.overflow < current.overflow
        worse = trial.time_ns - current.time_ns
        if worse <= 0:
            return True
        return self.chance.random() < math.exp(-worse / max(1.0, warmth * current.time_ns))
