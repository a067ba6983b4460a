"""The cheapest recomputation along a line: a search over what is held, or a whole program.

First a bound by the linear ``StageProgram``.  Its multipliers guide the search of ``label_search``:
narrow, then wider and wider for less than what was found.  Where the search saw everything, that is
a proof of all plans along the line.

Else HiGHS solves the program with all in it that the linear one keeps throughout; then with the
half of that which is kept at the lowest price by the byte left open; and then all of it, for less
than what was found.  What the bound rules out is left out each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import gcd

import numpy as np

from memplan.solver.clock import Clock
from memplan.solver.relaxation.label_search import Effort, Found, Labels, find_schedule
from memplan.solver.relaxation.stage_program import StageProgram
from memplan.solver.relaxation.timeline import Timeline
from memplan.solver.relaxation.whole_program import FRACTION, Relaxed, relax, whole_solution

__all__ = ["LineOptimum", "LineSearch", "MOST_ITEMS"]

#: Items of the forward pass fit into a word of bits.
MOST_ITEMS = 63
#: (labels taken at a place, labels in all) of one search after the other.
_EFFORTS = ((50, 20_000), (500, 100_000), (5000, 400_000), (3_000_000, 3_000_000))
#: Wide ones take longer than a bound of every order.
_WIDE = 5000
#: Schedules of one cost that are looked at for one that fits.
_MOST_TIES = 4
#: Slow, so that a search does not take longer than it may.
_LABELS_PER_SECOND = 500_000
#: The same of a search within fewer bytes.
_LOWERING = (10_000, 60_000)
#: Values of the linear program that are one but for rounding.
_ALMOST_ONE = 1 - 1e-6
#: What searching takes, per variable of the program; measured.
_SECONDS_PER_VARIABLE = 1e-3
#: Costs beyond do not go into whole numbers of the machine.
_MOST = 2**60
#: Programs of fewer variables are solved with all open at once.
_SMALL = 1500


@dataclass(frozen=True)
class LineOptimum:
    """Positions of the line in the order in which they run, and what was proved.

    Attributes:
        order: None: no schedule was found.
        extra_ns: proven time of computations beyond the first.
        closed: nothing cheaper than ``order`` exists.
    """

    order: tuple[int, ...] | None
    extra_ns: int
    closed: bool


@dataclass
class _Best:
    """The cheapest schedule so far, and what nothing is below."""

    order: tuple[int, ...] | None
    least: int
    cost: int
    #: Cost up to which schedules are looked for while there is none.
    aim: int
    #: A complete late search found schedules that do not fit.
    unfit: bool = False

    @property
    def closed(self) -> bool:
        return self.least >= self.cost


class LineSearch:
    """Cheapest schedules of a line with at most ``MOST_ITEMS`` items in the forward pass.

    Args:
        free: operations of the forward pass may run again at any time, in any order, and as often
            as it pays; else behind the forward pass, and what is proved is proved of plans in which
            between two first computations each runs again once at most, in the order of the line.
    """

    def __init__(self, line: Timeline, limit_bytes: int, *, free: bool) -> None:
        self.line = replace(line, again_in_forward=True) if free else line
        self.unit_ns = max(1, gcd(*line.time_ns[: line.forward]))
        self.unit_bytes = max(1, gcd(*line.size, *line.beside_bytes))
        self.scaled = replace(
            self.line,
            size=tuple(size // self.unit_bytes for size in line.size),
            beside_bytes=tuple(size // self.unit_bytes for size in line.beside_bytes),
        )
        self.limit = limit_bytes // self.unit_bytes
        self.stages = StageProgram(self.scaled, self.limit, self.unit_ns, ordered=not free)
        self.labels: Labels | None = None

    def by_labels(
        self, seconds: float, clock: Clock, least_ns: Callable[[int], int] | None = None
    ) -> LineOptimum:
        """Search over what is needed, for at most about so many seconds.

        Args:
            least_ns: called before a wide search with what computations beyond the first cost in
                the best schedule: returns what they cost at least, proved otherwise.
        """
        until = clock.now() + seconds
        relaxed = relax(self.stages.program, seconds, clock)
        clock.spend(_SECONDS_PER_VARIABLE * len(self.stages.program.costs))
        least = relaxed.least
        total = sum(self.stages.costs)
        if max(least, total) * FRACTION > _MOST:
            return LineOptimum(None, least * self.unit_ns, closed=False)
        most = min(total * max(1, self.stages.stages), _MOST // FRACTION)
        self.labels = self._labels(relaxed)
        best = _Best(None, least, most + 1, most)
        for exact in (False, True):
            if exact and not best.unfit:
                break
            for width, labels in _EFFORTS:
                if best.closed or clock.over(until):
                    break
                affordable = int(_LABELS_PER_SECOND * max(0.01, until - clock.now()))
                effort = Effort(width, min(labels, affordable), 1, exact)
                if width >= _WIDE and least_ns is not None:
                    known = -(-least_ns(best.cost * self.unit_ns) // self.unit_ns)
                    if known > best.least:
                        best.least = known
                        for narrow in _EFFORTS:
                            self._meet(best, Effort(*narrow, 1, exact))
                self._improve(best, effort)
        closed = best.closed and best.order is not None
        return LineOptimum(best.order, min(best.least, best.cost) * self.unit_ns, closed)

    def _meet(self, best: _Best, effort: Effort) -> None:
        """Look for a schedule that costs no more than is proved: little else is looked at."""
        if best.closed or effort.width > _WIDE:
            return
        found = self._find(best.least, effort)
        order = None if found.order is None else self._fitting(found, effort)
        if order is not None:
            best.order, best.cost, best.unfit = order, found.cost, False
        elif found.complete and found.order is None:
            best.least += 1

    def _improve(self, best: _Best, effort: Effort) -> None:
        """Search once, or, where the search is wide, first for what lies between bound and best."""
        halves = effort.width == _EFFORTS[-1][0] and best.order is not None
        while not best.closed:
            most = best.aim if best.order is None else best.cost - 1
            if halves:
                most, halves = (best.least + most + 1) // 2, False
            found = self._find(most, effort)
            if found.order is None:
                if not found.complete:
                    return
                best.least = most + 1
                if best.order is None:
                    best.aim = min(best.cost - 1, best.aim + best.aim // 64 + 1)
                continue
            if found.complete:
                best.least = max(best.least, found.cost)
            order = self._fitting(found, effort)
            if order is None:
                best.aim = min(best.aim, found.cost)
                best.unfit = found.complete
                return
            best.order, best.cost, best.unfit = order, found.cost, False
            if not found.complete:
                return

    def _fitting(self, found: Found, effort: Effort) -> tuple[int, ...] | None:
        """Return what was found, or another schedule of its cost, if one fits."""
        for seed in range(effort.seed, effort.seed + _MOST_TIES):
            if seed > effort.seed:
                again = self._find(found.cost, effort._replace(seed=seed))
                found = again if again.order is not None else found
            if found.order is not None and self.fits(tuple(found.order)):
                return tuple(found.order)
        return None

    def by_program(self, seconds: float, clock: Clock) -> LineOptimum:
        """Solve the whole program; its bound depends on the time that it gets."""
        until = clock.now() + seconds
        relaxed = relax(self.stages.program, seconds, clock)
        least = relaxed.least
        best: tuple[int, ...] | None = None
        cost = sum(self.stages.costs) * self.stages.stages + 1
        for fixed in (*self._kept(relaxed), {}):
            if cost <= least or clock.over(until):
                break
            left = until - clock.now()
            values, proved = whole_solution(
                self.stages.program,
                relaxed,
                cost - 1,
                left if not fixed else 0.3 * left,
                clock,
                fixed,
            )
            if not fixed:
                least = max(least, proved)
            if values is None:
                continue
            order = self._order(values)
            less = sum(self.stages.costs[o] for o in order if o < self.line.forward)
            less -= sum(self.stages.costs)
            if less < cost and self.fits(order):
                best, cost = order, less
        closed = cost <= least
        return LineOptimum(best, min(least, cost) * self.unit_ns, closed)

    def another(self, cost_ns: int, limit_bytes: int, seed: int) -> LineOptimum:
        """Look for a schedule of at most this cost within fewer bytes.

        Without one the answer is closed, if there is none.
        """
        limit = limit_bytes // self.unit_bytes
        for exact in (False, True):
            effort = Effort(*_LOWERING, seed, exact)
            found = self._find(cost_ns // self.unit_ns, effort, limit)
            if found.order is None:
                return LineOptimum(None, 0, closed=found.complete)
            if self.fits(tuple(found.order), limit):
                return LineOptimum(tuple(found.order), found.cost * self.unit_ns, closed=False)
        return LineOptimum(None, 0, closed=False)

    def _kept(self, relaxed: Relaxed) -> tuple[dict[int, int], ...]:
        """Return values of variables about what the linear solution keeps throughout.

        First all of it, then without the half that would be made again at the least by the byte.
        """
        values, stages, line = relaxed.values, self.stages, self.line
        if values is None:
            return ()
        held: dict[int, list[int]] = {}
        for (item, _), variable in stages.held.items():
            held.setdefault(item, []).append(variable)
        always = [k for k, own in held.items() if all(values[v] > _ALMOST_ONE for v in own)]
        if len(stages.program.costs) < _SMALL:
            return (self._fixed(always, held),)
        always.sort(key=lambda k: stages.costs[line.producer[k]] / max(1, line.size[k]))
        return tuple(self._fixed(kept, held) for kept in (always, always[len(always) // 2 :]))

    def _fixed(self, kept: list[int], held: dict[int, list[int]]) -> dict[int, int]:
        fixed = {variable: 1 for item in kept for variable in held[item]}
        makers = {self.line.producer[item] for item in kept}
        for (operation, _), variable in self.stages.again.items():
            if operation in makers and len(self.line.writes[operation]) == 1:
                fixed[variable] = 0
        return fixed

    def delayed(self, order: Sequence[int]) -> tuple[int, ...]:
        """Return an order in which operations run again as late as their operands stay anyway."""
        steps = list(order)
        for step in range(len(steps) - 1, -1, -1):
            operation = steps[step]
            if operation not in steps[:step]:
                continue
            target = self._latest(steps, step)
            moved = [*steps[:step], *steps[step + 1 : target + 1], operation, *steps[target + 1 :]]
            if target > step and self.fits(tuple(moved)):
                steps = moved
        return tuple(steps)

    def _latest(self, steps: list[int], step: int) -> int:
        """Return the last step to which what runs again may go, its operands kept no longer."""
        line, operation = self.line, steps[step]
        reads, writes = set(line.reads[operation]), set(line.writes[operation])
        last_read = dict.fromkeys(reads & set(line.producer), step + 1)
        latest = step
        for later in range(step + 1, len(steps)):
            other = steps[later]
            if last_read.keys() & set(line.writes[other]):
                break
            last_read |= dict.fromkeys(last_read.keys() & set(line.reads[other]), later)
            if latest == later - 1 and other != operation:
                latest += writes.isdisjoint(line.reads[other])
        return min([latest, *(read - 1 for read in last_read.values())])

    def fits(self, order: tuple[int, ...], limit: int | None = None) -> bool:
        """Tell whether a schedule's live bytes stay within the limit, in its units."""
        limit = self.limit if limit is None else limit
        line = self.scaled
        latest: dict[int, int] = {}
        spans: list[list[int]] = []  # first step, step behind the last, bytes

        def new(item: int, step: int) -> None:
            latest[item] = len(spans)
            spans.append([step, step + 1, line.size[item]])

        for step, operation in enumerate(order):
            for item in line.reads[operation]:
                if item not in latest:
                    if item in line.producer:
                        return False
                    new(item, 0)
                spans[latest[item]][1] = step + 1
            for item in line.writes[operation]:
                new(item, step)
        for item in line.kept:
            spans[latest[item]][1] = len(order)
        change = [0] * (len(order) + 1)
        for first, behind, size in spans:
            change[first] += size
            change[behind] -= size
        live = 0
        for step, operation in enumerate(order):
            live += change[step]
            if live + line.beside_bytes[operation] > limit:
                return False
        return True

    def _find(self, most: int, effort: Effort, limit: int | None = None) -> Found:
        assert self.labels is not None
        limit = self.limit if limit is None else limit
        found = find_schedule(self.labels, limit, most * FRACTION, effort)
        return found._replace(cost=found.cost // FRACTION)

    def _order(self, values: list[int]) -> tuple[int, ...]:
        """Return the schedule that whole values of the program mean."""
        line, again = self.line, self.stages.again
        order = list(range(line.forward))
        for q in range(self.stages.stages):
            order += [i for i in range(line.forward) if (i, q) in again and values[again[i, q]]]
            order.append(line.forward + q)
        return tuple(order)

    def _labels(self, relaxed: Relaxed) -> Labels:
        line, stages = self.scaled, self.stages
        bit = {item: 1 << number for number, item in enumerate(stages.items)}
        end = len(line.reads)

        def mask(items: tuple[int, ...] | frozenset[int]) -> int:
            return sum(bit.get(item, 0) for item in set(items))

        constant, value = stages.potentials(relaxed.multipliers, FRACTION)
        return Labels(
            forward=line.forward,
            reads=np.array([mask(reads) for reads in line.reads], np.uint64),
            writes=np.array([mask(writes) for writes in line.writes], np.uint64),
            during=np.array([stages.during_bytes(place) for place in range(end)], np.int64),
            resting=np.array([stages.resting_bytes(place) for place in range(end + 1)], np.int64),
            beside=np.array(line.beside_bytes[: line.forward], np.int64),
            size=np.array([line.size[item] for item in stages.items], np.int64),
            cost=np.array(stages.costs, np.int64) * FRACTION,
            constant=constant,
            value=value,
            start=mask(tuple(item for item in stages.items if item not in line.producer)),
            kept=mask(line.kept),
        )
