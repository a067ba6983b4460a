"""What every plan must take, in whatever order and by whatever ways operations run.

*Moments* are operations that run once in every plan, each before the next whatever the order is: of
a longest path of such operations.  Block q is what happens from moment q to the next.  Certain
operations have run before a moment in every plan (``Precedence``), and others run behind it in
every plan.  H says for each block what is there while its moment runs, and stays; R, what runs
again within the block; x, by which ways operations first run (``FirstComputations``)::

    min  sum time[v, w] x[v, w] + sum over i and q of time[i] R[i, q]
    H[k, q+1] <= H[k, q] + R[op(k), q]
    R[v, q] <= H[u, q] + R[op(u), q]                    v reads u by all of its ways
    H[k, q] + R[op(k), q] + .. + R[op(k), t-1] >= sum over w that read k of x[r, w]
    sum over k of size[k] H[k, q] + own[q] + others[q] <= B

where op(k) has run before moment q in every plan, and r runs behind it, and before moment t (or t
is behind the last).  What r reads either is there at moment q and stays to r, or is made again in
between.  *Own* is what the moment's operation needs; what all of its ways read is in it, and not in
the sum.  *Others* are given, or made once, and read later: they are there in every plan.  Time of R
is the least of all ways.  As in ``retention`` fractions of H can feed a little recomputation in
each block, so

    Y[i] <= sum over q of R[i, q],   Y[v] <= Y[op(u)] + H[u, 0],   H[k, 0] + Y[op(k)] >= 1

Every plan keeps all rows for every choice of moments on one path: nothing is supposed about order,
ways, or how often something runs again.  What runs between two moments counts as needing no bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from math import gcd

from memplan.solver.relaxation.first_computations import FirstComputations
from memplan.solver.relaxation.timeline import beside_bytes
from memplan.solver.schedule import Table

__all__ = ["Moments", "MomentsProgram"]

#: Bytes are counted in units, so that the program's numbers are of one order.
_MOST_UNITS = 2**20

Terms = list[tuple[int, int]]


class Moments:
    """What is known of every plan of a table: who comes before whom, and which moments there are.

    Attributes:
        path: operations that run once in every plan, each before the next; the most of them.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.first = FirstComputations(table)
        self.before = self.first.before.of_work
        works = table.instance.works
        self.is_source = [work.recomputable for work in works]
        self.time_ns = [
            min((times[way] for way in allowed), default=0)
            for times, allowed in zip(table.time_ns, table.allowed, strict=True)
        ]
        self.path = self._longest_path()
        limit = table.instance.room_bytes
        # Sizes are rounded down, so whatever fits in bytes fits in units.
        self.unit = max(gcd(*table.size), limit // _MOST_UNITS, 1)
        self.limit = limit // self.unit
        self.size = [size // self.unit for size in table.size]

    @cached_property
    def reads(self) -> list[tuple[int, int, int | None]]:
        """(reader, item, way) of what is read; without a way: by all ways of what must run."""
        table, first = self.table, self.first
        found: list[tuple[int, int, int | None]] = []
        for work, allowed in enumerate(table.allowed):
            common = first.common_reads[work] if work in first.must else ()
            found += [(work, item, None) for item in common]
            if work not in first.certain:
                found += [
                    (work, item, way)
                    for way in allowed
                    for item in table.reads[work][way]
                    if item not in common
                ]
        return found

    def is_made(self, item: int) -> bool:
        """Tell whether an item can be made again."""
        producer = self.table.producer.get(item)
        return producer is not None and self.is_source[producer]

    def around(self, work: int, moments: Sequence[int]) -> tuple[int, int]:
        """Return the last of some moments of the path that runs before a work in every plan, or -1;
        and the first before which, or at which, the work runs in every plan, or their number."""
        low, high = 0, len(moments)
        while low < high:
            middle = (low + high) // 2
            if self.before[work] >> moments[middle] & 1:
                low = middle + 1
            else:
                high = middle
        last, high = low - 1, len(moments)
        while low < high:
            middle = (low + high) // 2
            moment = moments[middle]
            if moment == work or self.before[moment] >> work & 1:
                high = middle
            else:
                low = middle + 1
        return last, low

    @cached_property
    def kept_bytes(self) -> list[int]:
        """Units at each moment of the path if all is kept that is read later in every plan."""
        change = [0] * (len(self.path) + 1)
        last_read = dict.fromkeys(self.table.kept, len(self.path) - 1)
        for work, item, way in self.reads:
            if way is None:
                # At its own moment a work reads what it reads.
                at, behind = self.around(work, self.path)
                at += behind < len(self.path) and self.path[behind] == work
                last_read[item] = max(at, last_read.get(item, -1))
        for item, last in last_read.items():
            producer = self.table.producer.get(item)
            first = 0 if producer is None else self.around(producer, self.path)[1]
            if first <= last:
                change[first] += self.size[item]
                change[last + 1] -= self.size[item]
        return list(accumulate(change))[:-1]

    def variables(self, moment: int) -> int:
        """Return about how many variables a moment takes; it takes fewer."""
        return 2 * self.before[moment].bit_count()

    def _longest_path(self) -> list[int]:
        must, length = self.first.must, [0] * len(self.before)
        #: The last operation of the longest path to a work, the work included; and the one before.
        tip: list[int | None] = [None] * len(self.before)
        back: dict[int, int | None] = {}
        producer = self.table.producer
        for work, reads in enumerate(self.first.common_reads):
            producers = [producer[item] for item in reads if item in producer]
            if producers:
                longest = max(producers, key=lambda one: (length[one], one))
                length[work], tip[work] = length[longest], tip[longest]
            if work in must and not self.is_source[work]:
                back[work] = tip[work]
                length[work], tip[work] = length[work] + 1, work
        at = max(back, key=lambda one: (length[one], one), default=None)
        path = []
        while at is not None:
            path.append(at)
            at = back[at]
        sources = sum(1 << work for work in must if self.is_source[work])
        return [one for one in reversed(path) if self.before[one] & sources]


class MomentsProgram:
    """The program about a few moments of a path, in their order.

    Attributes:
        program: its optimum is beside ``constant_ns``.
        memory_rows: block of each row about bytes.
    """

    def __init__(self, known: Moments, moments: Sequence[int]) -> None:
        self.known, self.moments = known, moments
        self.table, self.before = known.table, known.before
        self.blocks = range(len(moments))
        self.constant_ns = known.first.certain_ns
        self.program, self.goes = known.first.program()
        self.memory_rows: dict[int, int] = {}
        #: Per item and block, for what reads it behind the moment in every plan: the first moment
        #: that is behind the reader.
        self.needs: dict[tuple[int, int], int] = {}
        #: The same of what is read by some ways: (item, block, moment behind, terms of the ways).
        self.needs_of_ways: list[tuple[int, int, int, Terms]] = []
        #: Block up to which an item that is made once, or given, is there in every plan.
        self.lasting: dict[int, int] = {}
        self._find_needs()
        self.held: list[dict[int, int]] = []
        self.again: list[dict[int, int]] = []
        for items in self._useful():
            self.held.append({item: self.program.variable() for item in sorted(items)})
            makers = sorted({self.table.producer[item] for item in items if known.is_made(item)})
            self.again.append({i: self.program.variable(known.time_ns[i]) for i in makers})
        for q in self.blocks:
            self._flow(q)
            self._memory(q)
        self._serve()
        if len(moments) > 1:
            self._totals()

    def _is_earlier(self, item: int, q: int) -> bool:
        """Tell whether an item is given, or has been made before a moment in every plan."""
        producer = self.table.producer.get(item)
        return producer is None or bool(self.before[self.moments[q]] >> producer & 1)

    def _find_needs(self) -> None:
        last = len(self.moments)
        span = {work: self.known.around(work, self.moments) for work in range(len(self.before))}
        for item in self.table.kept:
            self._need(item, last - 1, last)
        for work, item, way in self.known.reads:
            q, behind = span[work]
            if way is None:
                self._need(item, q, behind)
            elif q >= 0 and self._is_earlier(item, q) and self.known.is_made(item):
                self.needs_of_ways.append((item, q, behind, [(self.goes[work, way], -1)]))

    def _need(self, item: int, q: int, behind: int) -> None:
        if q < 0 or not self._is_earlier(item, q):
            return
        if self.known.is_made(item):
            self.needs[item, q] = min(behind, self.needs.get((item, q), behind))
        else:
            self.lasting[item] = max(q, self.lasting.get(item, -1))

    def _useful(self) -> list[set[int]]:
        """Return per block the items that some row is about."""
        useful: list[set[int]] = [set() for _ in self.blocks]
        for (item, q), behind in self.needs.items():
            for block in range(q, behind):
                useful[block].add(item)
        for item, q, behind, _ in self.needs_of_ways:
            for block in range(q, behind):
                useful[block].add(item)
        for q in reversed(self.blocks):
            items = useful[q]
            if q + 1 in self.blocks:
                items |= {item for item in useful[q + 1] if self._is_earlier(item, q)}
            ahead = [item for item in items if self.known.is_made(item)]
            while ahead:
                for item in self.known.first.common_reads[self.table.producer[ahead.pop()]]:
                    if item not in items and self.lasting.get(item, -1) < q:
                        items.add(item)
                        if self.known.is_made(item):
                            ahead.append(item)
            useful[q] = {item for item in items if self.lasting.get(item, -1) < q}
        return useful

    def _there(self, item: int, q: int) -> Terms:
        """Return the terms that say that an item is there at a moment, or made in its block."""
        terms = [(self.held[q][item], 1)]
        if self.known.is_made(item):
            terms.append((self.again[q][self.table.producer[item]], 1))
        return terms

    def _flow(self, q: int) -> None:
        if q + 1 in self.blocks:
            for item, later in self.held[q + 1].items():
                if item in self.held[q]:
                    self.program.at_least([*self._there(item, q), (later, -1)], 0)
        for work, variable in self.again[q].items():
            for item in self.known.first.common_reads[work]:
                if item in self.held[q]:
                    self.program.at_least([*self._there(item, q), (variable, -1)], 0)

    def _serve(self) -> None:
        needs: list[tuple[int, int, int, Terms]] = [
            (item, q, behind, []) for (item, q), behind in self.needs.items()
        ]
        for item, q, behind, ways in [*needs, *self.needs_of_ways]:
            producer = self.table.producer[item]
            runs = [(self.again[t][producer], 1) for t in range(q, behind)]
            terms = [(self.held[q][item], 1), *runs, *ways]
            self.program.at_least(terms, 0 if ways else 1)

    def _memory(self, q: int) -> None:
        size, moment = self.known.size, self.moments[q]
        own = {*self.known.first.common_reads[moment], *self.table.writes[moment]}
        others = {
            item
            for item, last in self.lasting.items()
            if last >= q and item not in own and self._is_earlier(item, q)
        }
        room = self.known.limit - sum(size[item] for item in own | others)
        beside = {
            way: beside_bytes(self.table, moment, way) // self.known.unit
            for way in self.table.allowed[moment]
        }
        least = min(beside.values())
        room -= least
        terms = [
            (variable, size[item]) for item, variable in self.held[q].items() if item not in own
        ]
        terms += [
            (self.goes[moment, way], more - least)
            for way, more in beside.items()
            if (moment, way) in self.goes
        ]
        terms = [term for term in terms if term[1]]
        if sum(factor for _, factor in terms) > room:
            self.memory_rows[len(self.program.rows)] = q
            self.program.at_least([(variable, -factor) for variable, factor in terms], -room)

    def _totals(self) -> None:
        """Say once for all blocks what the rows of each say of what runs again."""
        total: dict[int, int] = {}
        for work in self.again[0]:
            total[work] = self.program.variable()
            runs = [(again[work], 1) for again in self.again if work in again]
            self.program.at_least([*runs, (total[work], -1)], 0)

        def kept_or_again(item: int) -> Terms:
            terms = [(self.held[0][item], 1)]
            if self.known.is_made(item):
                terms.append((total[self.table.producer[item]], 1))
            return terms

        for work, variable in total.items():
            for item in self.known.first.common_reads[work]:
                if item in self.held[0]:
                    self.program.at_least([*kept_or_again(item), (variable, -1)], 0)
        for item in sorted({item for item, _ in self.needs if item in self.held[0]}):
            self.program.at_least(kept_or_again(item), 1)
        for item, _, _, ways in self.needs_of_ways:
            if item in self.held[0]:
                self.program.at_least([*kept_or_again(item), *ways], 0)
