"""What recomputation must cost at least: retention between cuts of the backward pass.

Operations behind the forward pass are grouped into blocks by cuts.  For each block the relaxation
says which results that may be computed again are there at its beginning (H), which stay through all
of it (T), and which operations run again within it (R); when exactly they run is left open.  What
is first computed within a block (a *late* operation) is there behind that; T says then whether it
stays to the end of the block.  It is a relaxation for every choice of cuts: with one block it is
about what is kept at the end of the forward pass, with a cut before every operation it is
Checkmate's program (Jain et al., MLSys 2020) but for transients.

    min  sum time[i] R[i, q]
    T[k, q] <= H[k, q],   H[k, q+1] <= T[k, q] + R[op(k), q]
    R[v, q] <= R[op(u), q] + H[u, q]                u a forward operand of v
    H[k, q] + R[op(k), q] >= 1                      k read by a backward operation of block q
    at cut q:      sum s_k H[k, q] + others there <= B
    at j:          sum of s_k T[k, q] over k that j does not read + what j reads + others <= B
    at i again:    (operands and results of i) R[i, q] + sum of s_k T[k, q] over other k
                       <= B - others that are there through the block
    at i at first: forward results live there + sum of s_k H[k, 0] over k that the forward is
                       done with <= B

Fractions of H can feed a little recomputation in each block.  Y[i], i runs again at all, says that
it does not add up; every whole solution has values for it, as what is there later was there at the
first cut or ran again since:

    Y[i] <= sum over q of R[i, q],   Y[v] <= Y[op(u)] + H[u, 0]
    H[k, 0] + Y[op(k)] >= 1                         k read by a backward operation

*Others* are gradients, and what the host gives.  Two exchanges drop variables (keep the result of v
in place of its operand k): where k has no backward reader, one forward reader v, and v has no more
bytes than k; if v reads k alone, k is never kept, else it is not kept from the forward pass.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from math import gcd

from memplan.solver.relaxation.linear import LinearProgram
from memplan.solver.relaxation.shared_sum import SharedSum, Terms
from memplan.solver.relaxation.timeline import Timeline

__all__ = ["Retention", "even_cuts", "retention", "retention_program"]

#: Bytes are counted in units, so that the program's numbers are of one order.
_MOST_UNITS = 2**20


def even_cuts(line: Timeline, blocks: int) -> tuple[int, ...]:
    """Return positions of cuts: the first backward operation, then evenly among readers."""
    end = len(line.reads)
    sources = {*range(line.forward), *line.late}
    readers = [
        j
        for j in range(line.forward, end)
        if any(line.producer.get(item) in sources for item in line.reads[j])
    ]
    if not readers:
        return (line.forward,)
    count = max(1, min(blocks, len(readers)))
    chosen = {readers[len(readers) * q // count] for q in range(1, count)}
    return (line.forward, *sorted(chosen - {line.forward}))


def retention_program(
    line: Timeline, limit_bytes: int, cuts: Sequence[int], *, exchanges: bool = True
) -> LinearProgram:
    """Return the program for these cuts; its optimum is time beyond one computation of each.

    Args:
        line: first computations, in order.
        limit_bytes: what items may take.
        cuts: positions before which blocks begin, the first behind the forward pass.
        exchanges: leave out what can be exchanged for something no larger.
    """
    return retention(line, limit_bytes, cuts, exchanges=exchanges).program


def retention(
    line: Timeline, limit_bytes: int, cuts: Sequence[int], *, exchanges: bool = True
) -> Retention:
    """Return the same with the meaning of its variables."""
    unit = gcd(*line.size, *line.beside_bytes, *line.again_beside_bytes) or 1
    limit = limit_bytes // unit
    if limit > _MOST_UNITS:
        # Sizes rounded down and the limit up: whatever fits in bytes fits in units.
        unit = max(1, limit_bytes // _MOST_UNITS)
        limit = -(-limit_bytes // unit)
    scaled = replace(
        line,
        size=tuple(size // unit for size in line.size),
        beside_bytes=tuple(size // unit for size in line.beside_bytes),
        again_beside_bytes=tuple(size // unit for size in line.again_beside_bytes),
    )
    return Retention(scaled, limit, cuts, exchanges)


class Retention:
    """The program, and what its variables mean.

    Attributes:
        program: to be minimized.
        sources: positions whose operations may run again.
        starts, stops: of blocks.
        held, through: variables H and T, by (item, block).
        again: variables R, by (position, block).
    """

    def __init__(
        self, line: Timeline, limit_bytes: int, cuts: Sequence[int], exchanges: bool
    ) -> None:
        self.line, self.limit = line, limit_bytes
        self.end = len(line.reads)
        self.starts = tuple(cuts)
        self.stops = (*cuts[1:], self.end)
        self.program = LinearProgram()
        line_reads = line.reads
        #: Positions whose operations may run again, in order.
        self.sources = (*range(line.forward), *sorted(line.late))
        #: What they read and write.
        self.items = sorted(
            {
                item
                for operation in self.sources
                for item in (*line_reads[operation], *line.writes[operation])
            }
        )
        sources = set(self.sources)
        self.made = {item for item in self.items if line.producer.get(item) in sources}
        #: Block in which an item is computed first; -1: in the forward pass.
        self.born = {item: bisect(cuts, line.producer[item]) - 1 for item in self.made}
        self.readers: dict[int, list[int]] = {item: [] for item in range(len(line.size))}
        for operation, reads in enumerate(line_reads):
            for item in reads:
                self.readers[item].append(operation)
        #: (first position, last position, bytes) of what is given, or computed once.
        self.others = [
            (*self._span(item), size)
            for item, size in enumerate(line.size)
            if item not in self.made and (self.readers[item] or item in line.producer)
        ]
        self.during, self.resting = self._besides()
        self.useful_until = self._useful_until()
        self.never, self.not_first = self._exchanged() if exchanges else (set(), set())
        self.held: dict[tuple[int, int], int] = {}
        self.through: dict[tuple[int, int], int] = {}
        self.again: dict[tuple[int, int], int] = {}

        self._build()

    def _build(self) -> None:
        blocks = range(len(self.starts))
        for q in blocks:
            self._variables(q)
        for q in blocks:
            self._flow(q)
            self._memory_of_block(q)
        if len(self.starts) > 1:
            self._totals()
        if not self.line.again_in_forward:  # else what is needed later need not stay
            self._memory_of_forward()

    def _span(self, item: int) -> tuple[int, int]:
        start = self.line.producer.get(item, -1)
        last = max(self.readers[item], default=start)
        return start, self.end - 1 if item in self.line.kept else last

    def _besides(self) -> tuple[list[int], list[int]]:
        """Return the bytes that no variable is about: at each operation, workspace included, and
        of what rests right before it."""
        during, resting = [0] * (self.end + 1), [0] * (self.end + 2)
        for first, last, size in self.others:
            for changes, start in ((during, max(0, first)), (resting, first + 1)):
                changes[start] += size
                changes[last + 1] -= size
        during, resting = list(accumulate(during)), list(accumulate(resting))
        return [
            d + beside for d, beside in zip(during, self.line.beside_bytes, strict=False)
        ], resting

    # Who is useful, and who can be exchanged.

    def _useful_until(self) -> dict[int, int]:
        """Return the last backward operation that reads an item, or what follows from it."""
        last: dict[int, int] = {}
        for item in sorted(self.items, key=lambda k: -self.line.producer.get(k, -1)):
            found = -1
            for reader in self.readers[item]:
                if reader >= self.line.forward:
                    found = max(found, reader)
                if reader < self.line.forward or reader in self.line.late:
                    found = max([found, *(last.get(w, -1) for w in self.line.writes[reader])])
            if item in self.line.kept:
                found = self.end - 1
            last[item] = found
        return last

    def _exchanged(self) -> tuple[set[int], set[int]]:
        line = self.line
        never, not_first = set(), set()
        for item in self.made:
            readers = self.readers[item]
            if len(readers) != 1 or readers[0] >= line.forward or item in line.kept:
                continue  # so neither it nor its reader is late
            (reader,) = readers
            producer = line.producer[item]
            if len(line.writes[producer]) != 1 or len(line.writes[reader]) != 1:
                continue
            if line.size[line.writes[reader][0]] > line.size[item]:
                continue
            if len(line.reads[reader]) == 1:
                never.add(item)
            else:
                not_first.add(item)
        return never, not_first

    # Variables.

    def _variables(self, q: int) -> None:
        line, program = self.line, self.program
        for item in self.items:
            if item not in self.made or self.useful_until[item] < self.starts[q]:
                continue
            if item in self.never or (q == 0 and item in self.not_first):
                continue
            if self.born[item] < q:
                self.held[item, q] = program.variable()
            if self.born[item] <= q:
                self.through[item, q] = program.variable()
        for operation in self.sources:
            if operation >= self.stops[q]:
                continue
            if any(self.useful_until[item] >= self.starts[q] for item in line.writes[operation]):
                self.again[operation, q] = program.variable(line.again_time_ns[operation])

    def _h(self, item: int, q: int, factor: int = 1) -> Terms:
        return [(self.held[item, q], factor)] if (item, q) in self.held else []

    def _t(self, item: int, q: int, factor: int = 1) -> Terms:
        return [(self.through[item, q], factor)] if (item, q) in self.through else []

    def _r(self, operation: int, q: int, factor: int = 1) -> Terms:
        return [(self.again[operation, q], factor)] if (operation, q) in self.again else []

    def _flow(self, q: int) -> None:
        line, program = self.line, self.program
        for item in self.items:
            if (item, q) in self.held:
                program.at_least([*self._h(item, q), *self._t(item, q, -1)], 0)
            if (item, q + 1) in self.held:
                producer = line.producer[item]
                terms = [*self._t(item, q), *self._r(producer, q), *self._h(item, q + 1, -1)]
                program.at_least(terms, 0)
        for operation in self.sources:
            if (operation, q) not in self.again:
                continue
            for item in line.again_reads[operation]:
                if item in self.made and self.born[item] < q:
                    source = [*self._r(line.producer[item], q), *self._h(item, q)]
                    program.at_least([*source, *self._r(operation, q, -1)], 0)
        needed = {
            item
            for j in range(self.starts[q], self.stops[q])
            for item in line.reads[j]
            if item in self.made and self.born[item] < q
        }
        for item in sorted(needed):
            program.at_least([*self._h(item, q), *self._r(line.producer[item], q)], 1)

    def _totals(self) -> None:
        """Say once for all blocks what the rows of each say of what runs again."""
        line, program = self.line, self.program
        total: dict[int, int] = {}
        for operation in self.sources:
            own = [term for q in range(len(self.starts)) for term in self._r(operation, q)]
            if own:
                total[operation] = program.variable()
                program.at_least([*own, (total[operation], -1)], 0)

        def kept_or_again(item: int) -> Terms:
            producer = line.producer[item]
            again = [(total[producer], 1)] if producer in total else []
            return [*self._h(item, 0), *again]

        early = {item for item in self.made if self.born[item] < 0}
        for operation, variable in total.items():
            for item in early.intersection(line.again_reads[operation]):
                program.at_least([*kept_or_again(item), (variable, -1)], 0)
        for item in sorted(early):
            if self.readers[item] and self.readers[item][-1] >= line.forward:
                program.at_least(kept_or_again(item), 1)

    # Memory.

    def _at_most(self, terms: Terms, bytes_: int) -> None:
        """Add a row of bytes, if it can be broken at all."""
        if sum(factor for _, factor in terms) > bytes_:
            self.program.at_least([(variable, -factor) for variable, factor in terms], -bytes_)

    def _memory_of_block(self, q: int) -> None:
        line = self.line
        start, stop = self.starts[q], self.stops[q]
        held = [(item, line.size[item]) for item in self.items if (item, q) in self.held]
        before = self.resting[start]
        self._at_most([self._h(item, q, size)[0] for item, size in held], self.limit - before)
        through = SharedSum(self.program, [self._t(item, q, size)[0] for item, size in held])
        size_through = {item: size for item, size in held if size}
        #: What is computed first in this block, so far.
        born: list[int] = []
        for j in range(start, stop):
            reads = {item for item in (*line.reads[j], *line.writes[j]) if item in self.made}
            fixed = self.during[j] + sum(line.size[item] for item in reads)
            spared = [self._t(item, q, -line.size[item])[0] for item in reads & size_through.keys()]
            if j == stop - 1 and q + 1 < len(self.starts):
                # A cut is right behind an operation: what is there then was there during it.
                after = [
                    term
                    for item in self.items
                    if item not in reads
                    for term in self._h(item, q + 1, line.size[item])
                ]
                self._at_most(after, self.limit - fixed)
                continue
            staying = [
                term
                for item in born
                if item not in reads
                for term in self._t(item, q, line.size[item])
            ]
            through.at_most([*spared, *staying], self.limit - fixed)
            born += [item for item in line.writes[j] if item in self.made]
        passing = self._passing(start, stop)
        # What the last operation reads and is not computed again is there all the time.
        last = {item for item in line.reads[stop - 1] if (item, q) in self.held}
        waiting = SharedSum(
            self.program,
            [self._t(item, q, size)[0] for item, size in held if item not in last],
        )
        waiting_bytes = sum(line.size[item] for item in last)
        for operation in self.sources:
            own = self._r(operation, q)
            if not own or self._is_transient_dropped(operation):
                continue
            members = {*line.again_reads[operation], *line.writes[operation]} & self.made
            size = sum(line.size[item] for item in members) + line.again_beside_bytes[operation]
            spared = [
                self._t(item, q, -line.size[item])[0]
                for item in members & size_through.keys()
                if item not in last
            ]
            again = [
                self._r(line.producer[item], q, -line.size[item])[0] for item in last - members
            ]
            fixed = passing + waiting_bytes - sum(line.size[item] for item in last & members)
            waiting.at_most([(own[0][0], max(0, size)), *spared, *again], self.limit - fixed)

    def _is_transient_dropped(self, operation: int) -> bool:
        """Whether the exchange that drops an operand drops the row of its reader, too."""
        return any(item in self.never for item in self.line.reads[operation])

    def _passing(self, start: int, stop: int) -> int:
        """Return the bytes of others that are there through all of a block."""
        return sum(size for first, last, size in self.others if first < start and last >= stop - 1)

    def _memory_of_forward(self) -> None:
        line = self.line
        last_forward = {
            item: max((r for r in self.readers[item] if r < line.forward), default=-1)
            for item in self.made
        }
        needed = list(self.during[: line.forward])
        early = [item for item in self.made if self.born[item] < 0]
        for item in early:  # from its computation to its last reader of the forward pass
            for operation in range(
                line.producer[item], max(line.producer[item], last_forward[item]) + 1
            ):
                needed[operation] += line.size[item]
        done: list[Terms] = [[] for _ in range(line.forward)]
        for item in self.items:
            if (item, 0) in self.held:
                done[max(line.producer[item], last_forward[item])] += self._h(
                    item, 0, line.size[item]
                )
        # What is done with only grows: of two operations the one that needs more counts, the later
        # one if they need the same.
        highest = -1
        rows = []
        for operation in range(line.forward - 1, -1, -1):
            if needed[operation] > highest:
                highest = needed[operation]
                rows.append(operation)
        for operation in rows:
            terms = [term for earlier in done[:operation] for term in earlier]
            self._at_most(terms, self.limit - needed[operation])
