"""Recomputation along a line as a whole program with a stage for every backward operation.

The same variables as ``retention`` with a cut before every backward operation, none exchanged:
H[k, q] item k is there when stage q begins, T[k, q] it stays through the stage, R[i, q] operation i
runs again in it, before the stage's backward operation j.  Beside the rows of ``retention``:

    T[k, q] >= H[k, q] - R[op(k), q]                      j reads k
    at j:       sum of s_k H[k, q+1] over k that j does not read + what j reads + others <= B
    at i again: (what i reads and writes, and what j reads of those before i) R[i, q]
                + sum of s_k H[k, q+1] over other k before i
                + sum of s_k T[k, q] over other k behind i + others <= B

The last row supposes that within a stage each runs again once at most, in the order of the line
(``ordered``): what was made earlier in the stage and is needed in the next is then there.  Without
``ordered`` it has T for all k.  On chains whole solutions of the ordered program are schedules that
fit; on other lines the program is a relaxation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memplan.solver.packing.flat import Integers
from memplan.solver.relaxation.linear import LinearProgram
from memplan.solver.relaxation.timeline import Timeline

__all__ = ["StageProgram"]

Terms = list[tuple[int, int]]

#: Potentials beyond do not go into whole numbers of the machine; less of them is valid, too.
_MOST = 2**60


@dataclass(frozen=True)
class _Span:
    """What is no item: there over the places [first, last]."""

    first: int
    last: int
    size: int


class StageProgram:
    """The program of a line, and what its multipliers say of what is held.

    Attributes:
        program: with costs in ``unit_ns``.
        items: items of the forward pass, and given ones that it reads; bit k is ``items[k]``.
        again: variable of R per (operation, stage), where the operation may be of use.
    """

    def __init__(self, line: Timeline, limit_bytes: int, unit_ns: int, *, ordered: bool) -> None:
        self.line, self.limit, self.ordered = line, limit_bytes, ordered
        self.end = len(line.reads)
        self.stages = self.end - line.forward
        self.costs = [line.time_ns[i] // unit_ns for i in range(line.forward)]
        read_first = {k for i in range(line.forward) for k in line.reads[i]}
        made = [k for i in range(line.forward) for k in line.writes[i]]
        given = sorted(k for k in read_first if k not in line.producer)
        self.items = [*given, *made]
        self.made = set(made)
        self.readers: dict[int, list[int]] = {k: [] for k in range(len(line.size))}
        for place, reads in enumerate(line.reads):
            for k in reads:
                self.readers[k].append(place)
        self.others = [
            self._span(k)
            for k in range(len(line.size))
            if k not in set(self.items) and (k in line.producer or self.readers[k])
        ]
        self.useful_until = self._useful_until()
        self.program = LinearProgram()
        self.block: list[int] = []
        self.row_block: list[int] = []
        self.held: dict[tuple[int, int], int] = {}
        self.through: dict[tuple[int, int], int] = {}
        self.again: dict[tuple[int, int], int] = {}
        for q in range(self.stages):
            self._variables(q)
        for q in range(self.stages):
            self._flow(q)
            self._memory(q)
            self._close(q)
        if not line.again_in_forward:
            self._memory_of_forward()
            self._close(0)

    def _span(self, k: int) -> _Span:
        first = self.line.producer.get(k, -1)
        last = max(self.readers[k], default=first)
        return _Span(first, self.end - 1 if k in self.line.kept else last, self.line.size[k])

    def _useful_until(self) -> dict[int, int]:
        """Return the last place at which an item, or what follows from it, is read."""
        last: dict[int, int] = {}
        for k in sorted(self.items, key=lambda k: -self.line.producer.get(k, -1)):
            found = self.end if k in self.line.kept else -1
            for reader in self.readers[k]:
                found = max(found, reader)
                if reader < self.line.forward:
                    found = max([found, *(last[w] for w in self.line.writes[reader])])
            last[k] = found
        return last

    def during_bytes(self, place: int) -> int:
        """Return bytes of what is no item while an operation first runs, workspace included."""
        there = sum(one.size for one in self.others if one.first <= place <= one.last)
        return there + self.line.beside_bytes[place]

    def resting_bytes(self, place: int) -> int:
        """Return bytes of what is no item right before an operation."""
        return sum(one.size for one in self.others if one.first < place <= one.last)

    # Variables and rows.

    def _variable(self, q: int, cost: int = 0) -> int:
        self.block.append(q)
        return self.program.variable(cost)

    def _close(self, q: int) -> None:
        """Note that all rows since the last call belong to stage q."""
        self.row_block += [q] * (len(self.program.rows) - len(self.row_block))

    def _variables(self, q: int) -> None:
        place = self.line.forward + q
        for k in self.items:
            if k in self.made and self.useful_until[k] >= place:
                self.held[k, q] = self._variable(q)
                self.through[k, q] = self._variable(q)
        for i in range(self.line.forward):
            if any(self.useful_until[k] >= place for k in self.line.writes[i]):
                self.again[i, q] = self._variable(q, self.costs[i])

    def _flow(self, q: int) -> None:
        line, add = self.line, self.program.at_least
        place = line.forward + q
        for (k, stage), there in self.held.items():
            if stage != q:
                continue
            add([(there, 1), (self.through[k, q], -1)], 0)
            again = (self.again[line.producer[k], q], 1)
            if (k, q + 1) in self.held:
                add([(self.through[k, q], 1), again, (self.held[k, q + 1], -1)], 0)
            if k in line.reads[place]:
                add([(there, 1), again], 1)
                add([(self.through[k, q], 1), again, (there, -1)], 0)
        for i in range(line.forward):
            for k in line.reads[i] if (i, q) in self.again else ():
                if k in self.made:
                    source = [(self.again[line.producer[k], q], 1), (self.held[k, q], 1)]
                    add([*source, (self.again[i, q], -1)], 0)

    def _at_most(self, terms: Terms, bytes_: int) -> None:
        """Add a row of bytes, if it can be broken at all."""
        if sum(factor for _, factor in terms) > bytes_:
            self.program.at_least([(variable, -factor) for variable, factor in terms], -bytes_)

    def _memory(self, q: int) -> None:
        line, size = self.line, self.line.size
        place = line.forward + q
        here = [k for k in self.items if (k, q) in self.held]
        read = {k for k in line.reads[place] if k in self.made}
        resting = self.resting_bytes(place)
        room = self.limit - self.during_bytes(place) - sum(size[k] for k in read)
        self._at_most([(self.held[k, q], size[k]) for k in here], self.limit - resting)
        rest = [k for k in here if k not in read]
        self._at_most([(self.through[k, q], size[k]) for k in rest], room)
        after = [(self.held[k, q + 1], size[k]) for k in rest if (k, q + 1) in self.held]
        self._at_most(after, room)
        # Where nothing runs again, the rows below speak of the stage's own operation.
        room = self.limit - min(resting, self.during_bytes(place))
        for i in range(line.forward):
            if (i, q) not in self.again:
                continue
            beside = max(0, line.beside_bytes[i])
            own = {k for k in (*line.reads[i], *line.writes[i]) if k in self.made}
            if self.ordered:
                own |= {k for k in read if line.producer[k] < i}
            terms: Terms = [(self.again[i, q], sum(size[k] for k in own) + beside)]
            for k in here:
                if k in own:
                    continue
                early = self.ordered and line.producer[k] < i and (k, q + 1) in self.held
                there = self.held[k, q + 1] if early else self.through[k, q]
                terms.append((there, size[k]))
            self._at_most(terms, room)

    def _memory_of_forward(self) -> None:
        line, size = self.line, self.line.size
        last = {
            k: max((r for r in self.readers[k] if r < line.forward), default=-1) for k in self.items
        }
        for i in range(line.forward):
            fixed = self.during_bytes(i)
            terms: Terms = []
            for k in self.items:
                born = line.producer.get(k, -1)
                if born == i or born < i <= last[k]:
                    fixed += size[k]
                elif born < i and (k, 0) in self.held:
                    terms.append((self.held[k, 0], size[k]))
            self._at_most(terms, self.limit - fixed)

    # What multipliers say.

    def potentials(self, multipliers: Sequence[int], fraction: int) -> tuple[Integers, Integers]:
        """Return c[p] and v[p, k]: before place p, with the set N needed there, recomputation
        costs at least (c[p] + sum of v[p, k] over N) / fraction.

        Rows of the stages before with these multipliers bound what comes before the cut right
        behind operation p - 1.  An item that is needed later in the stage adds no more than what it
        costs to run its operation again, shared out where that writes several.  At places of the
        forward pass and right behind it, all is 0.

        Args:
            multipliers: of the rows, at least 0, times ``fraction``.
        """
        line, forward = self.line, self.line.forward
        left = [cost * fraction for cost in self.program.costs]
        rows: list[list[int]] = [[] for _ in range(self.stages)]
        for row, q in enumerate(self.row_block):
            if multipliers[row]:
                rows[q].append(row)
        variables: list[list[int]] = [[] for _ in range(self.stages)]
        for variable, q in enumerate(self.block):
            variables[q].append(variable)
        held: list[list[tuple[int, int]]] = [[] for _ in range(self.stages)]
        for (k, q), variable in self.held.items():
            held[q].append((k, variable))
        bit = {k: b for b, k in enumerate(self.items)}
        constant = np.zeros(self.end + 1, np.int64)
        value = np.zeros((self.end + 1, len(self.items)), np.int64)
        settled = 0
        for q in range(self.stages):
            place = forward + q
            if q:
                gains = {k: max(0, left[variable]) for k, variable in held[q]}
                least = settled + sum(min(0, left[variable]) for _, variable in held[q])
                constant[place] = min(least, _MOST) if least > -_MOST else -_MOST
                for k, gain in gains.items():
                    maker = line.producer[k]
                    of_maker = sum(gains.get(other, 0) for other in line.writes[maker])
                    price = self.costs[maker] * fraction
                    if least > -_MOST:
                        value[place, bit[k]] = min(gain, gain * price // max(1, of_maker))
            for row in rows[q]:
                terms, bound = self.program.rows[row]
                settled += bound * multipliers[row]
                for variable, factor in terms:
                    left[variable] -= factor * multipliers[row]
            settled += sum(min(0, left[variable]) for variable in variables[q])
        constant[self.end] = min(max(settled, 0), _MOST)  # costs are not negative
        return constant, value
