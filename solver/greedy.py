"""Greedy schedules: run in order, recompute what is missing, evict what is worth least.

Operations run in a given order.  If an operand is missing its producers run again; if the next
operation does not fit, tensors are evicted by Melon's tensor-per-second idea (Wang et al., MobiSys
2022, eq. 1) with free exponents: first the tensor with the least

    recompute_time ** c / (size ** a * (time to next use) ** b).

Starts with random exponents and noise find what no fixed triple finds.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import isinf

from memplan.solver.schedule import Schedule, Table
from memplan.solver.ways import without_unread

__all__ = ["Exponents", "evict_and_recompute", "random_exponents"]


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


def evict_and_recompute(
    table: Table,
    order: Schedule,
    limit_bytes: int,
    exponents: Exponents,
    chance: random.Random,
    time_limit_ns: float = float("inf"),
) -> list[tuple[int, int]] | None:
    """Return a schedule that tries to stay within ``limit_bytes`` of live bytes.

    It may exceed the limit where nothing evictable is left: the caller measures.  None if it
    recomputes for longer than ``time_limit_ns`` in all.
    """
    return _Run(table, order, limit_bytes, exponents, chance, time_limit_ns).run()


class _Run:
    def __init__(
        self,
        table: Table,
        order: Schedule,
        limit_bytes: int,
        exponents: Exponents,
        chance: random.Random,
        time_limit_ns: float,
    ) -> None:
        self.table, self.order, self.limit = table, order, limit_bytes
        self.exponents, self.chance = exponents, chance
        self.time_left = time_limit_ns
        self.way = dict(order)
        self.uses: dict[int, list[int]] = {}
        for position, (work, way) in enumerate(order):
            for item in table.reads[work][way]:
                self.uses.setdefault(item, []).append(position)
        kept = {*table.kept, *table.given} if exponents.keep_inputs else table.kept
        for item in kept:
            self.uses.setdefault(item, []).append(len(order))
        works = table.instance.works
        self.most = table.most_computations
        # Evicting a tensor without bytes frees nothing.
        self.evictable = [
            size > 0 and item in table.producer and works[table.producer[item]].recomputable
            for item, size in enumerate(table.size)
        ]
        self.noise: dict[int, float] = {}
        self.present = {item for item in table.given if item in self.uses}
        self.live = sum(table.size[item] for item in self.present)
        self.steps: list[tuple[int, int]] = []
        self.position = 0
        self.changed: set[str] = set()
        self.times: dict[int, int] = {}

    def run(self) -> list[tuple[int, int]] | None:
        table = self.table
        for position, (work, way) in enumerate(self.order):
            self.position = position
            reads = table.reads[work][way]
            missing = [item for item in reads if item not in self.present]
            if missing and not self._restore(missing, set(reads)):
                return None
            self._execute(work, way, set(reads))
            self._drop_dead(reads)
            self._drop_dead(table.writes[work])
        return without_unread(table, self.steps)

    def _next_use(self, item: int) -> int:
        """Return the next position in the order that reads the item, after this one."""
        uses = self.uses.get(item, ())
        index = bisect_right(uses, self.position)
        return uses[index] if index < len(uses) else -1

    def _restore(self, missing: Sequence[int], pinned: set[int]) -> bool:
        """Recompute missing operands, with what they need in turn."""
        closure = self._closure(missing)
        waiting: dict[int, int] = {}
        for work in closure:
            for item in self.table.reads[work][self.way[work]]:
                waiting[item] = waiting.get(item, 0) + 1
        hold = pinned | set(waiting)
        for work in closure:
            way = self.way[work]
            self.time_left -= self.table.time_ns[work][way]
            if self.time_left < 0:
                return False
            reads = self.table.reads[work][way]
            if any(item not in self.present for item in reads):
                return False
            if not self.changed.isdisjoint(self.table.stores[work][way]):
                return False  # its weight has been updated already
            if self.times.get(work, 0) >= self.most[work]:
                return False
            self._execute(work, way, hold)
            for item in reads:
                waiting[item] -= 1
                if not waiting[item] and item not in pinned:
                    hold.discard(item)
                    if self._next_use(item) < 0:
                        self._remove(item)
            for item in self.table.writes[work]:
                if item not in hold and self._next_use(item) < 0:
                    self._remove(item)
        return True

    def _closure(self, missing: Sequence[int]) -> list[int]:
        """Return the works to run again, in traced order."""
        closure: set[int] = set()
        stack = list(missing)
        while stack:
            item = stack.pop()
            if item in self.present:
                continue
            work = self.table.producer.get(item)
            if work is None or work in closure:
                continue
            closure.add(work)
            if work not in self.way:
                self.way[work] = self.table.allowed[work][0]
            stack.extend(self.table.reads[work][self.way[work]])
        return sorted(closure)

    def _execute(self, work: int, way: int, pinned: set[int]) -> None:
        table = self.table
        fresh = [item for item in table.writes[work] if item not in self.present]
        extra = sum(table.size[item] for item in fresh) + table.workspace[work][way]
        for read, written in table.pairs[work][way]:
            if (
                written in fresh
                and read not in table.kept
                and self._dies_now(read, pinned, work, way)
            ):
                extra -= table.size[read]
                break
        spent = table.uses_up[work][way]
        if spent >= 0:  # what is written begins to live when the operand is gone
            scratch = table.workspace[work][way]
            extra = max(scratch, extra - scratch - table.size[spent])
        while self.live + extra > self.limit:
            victim = self._victim(pinned, work, way)
            if victim is None:
                break
            self._remove(victim)
        self.steps.append((work, way))
        self.times[work] = self.times.get(work, 0) + 1
        self.changed |= table.mutates[work][way]
        for item in fresh:
            self.present.add(item)
            self.live += table.size[item]

    def _dies_now(self, item: int, pinned: set[int], work: int, way: int) -> bool:
        return self._next_use(item) < 0 and (
            item not in pinned or item in self.table.reads[work][way]
        )

    def _victim(self, pinned: set[int], work: int, way: int) -> int | None:
        reading = self.table.reads[work][way]
        best, least = None, float("inf")
        weights = self.exponents
        memo: dict[int, float] = {}
        for item in self.present:
            if not self.evictable[item] or item in pinned or item in reading:
                continue
            distance = self._next_use(item) - self.position + 1
            if distance <= 0:
                return item
            cost = self._recompute_time(item, memo, 0)
            if isinf(cost):
                continue
            score = cost**weights.cost / (
                self.table.size[item] ** weights.size * distance**weights.distance
            )
            if weights.noise:
                if item not in self.noise:
                    self.noise[item] = self.chance.lognormvariate(0.0, weights.noise)
                score *= self.noise[item]
            if score < least:
                best, least = item, score
        return best

    def _recompute_time(self, item: int, memo: dict[int, float], depth: int) -> float:
        """Return the time to bring an item back from what is present, shared parts counted twice.

        Infinite where an operation on the way has run as often as it may.
        """
        if item in memo:
            return memo[item]
        work = self.table.producer.get(item)
        if work is None or self.times.get(work, 0) >= self.most[work]:
            return float("inf")
        memo[item] = 0.0  # a cycle cannot happen; the entry stops repeated descents
        way = self.way.get(work, self.table.allowed[work][0])
        time = float(self.table.time_ns[work][way])
        if depth < 60:
            for read in self.table.reads[work][way]:
                if read not in self.present:
                    time += self._recompute_time(read, memo, depth + 1)
        memo[item] = time
        return time

    def _drop_dead(self, items: Sequence[int]) -> None:
        for item in items:
            if item in self.present and self._next_use(item) < 0:
                self._remove(item)

    def _remove(self, item: int) -> None:
        if item in self.present:
            self.present.discard(item)
            self.live -= self.table.size[item]
