"""Melon (Wang et al., MobiSys 2022): eviction by TPS, calibrated by its lifetime-aware pool.

The pool takes blocks by lifetime, longest first, and puts each at the lowest address that is free
through its lifetime.  The step is simulated operation by operation.  While the pool's top exceeds
the budget, the resident forward result of largest

    TPS = bytes * (last step that reads it - now) / cost of computing it again from what is there

is evicted: its block ends now, and the pool is laid out again.  Where an operation needs what was
evicted, what is missing is computed again, sources first, and what that needs stays meanwhile.

As in the authors' artifact, the budget that the greedy works with may be below the real one: it is
lowered until the pool fits.  On the common graph backward results are no candidates, since they may
not be computed again.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.planners.answer import Attempt, Deadline
from benchmarks.planners.problem import Problem, simulate
from memplan.solver.packing.lowest_fit import lowest_fit
from memplan.solver.packing.rectangle import Rectangle, height, overlapping

__all__ = ["lifetime_aware_pool", "melon"]

#: Budgets of the greedy, as parts of the real one.
_INNER = (1.0, 0.97, 0.94, 0.9, 0.85, 0.8, 0.7, 0.6)


def melon(problem: Problem, budget_bytes: int, seconds: float) -> Attempt:
    """Return the plan of the largest inner budget whose pool fits, else of the smallest pool."""
    deadline = Deadline(seconds)
    smallest: tuple[int, Attempt] | None = None
    for inner in _INNER:
        if deadline.over:
            break
        sequence = _Greedy(problem, int(inner * budget_bytes), deadline).run()
        if sequence is None:
            continue
        lifetimes = simulate(problem, sequence).lifetimes
        rectangles = [Rectangle(start, end, size) for _, start, end, size in lifetimes]
        offsets = lifetime_aware_pool(rectangles)
        top = height(rectangles, offsets)
        if smallest is None or top < smallest[0]:
            note = f"inner budget {inner:g}"
            smallest = top, Attempt(tuple(sequence), offsets=tuple(offsets), note=note)
        if top <= budget_bytes:
            break
    return Attempt(None) if smallest is None else smallest[1]


def lifetime_aware_pool(rectangles: Sequence[Rectangle]) -> list[int]:
    """Return offsets: longest lifetime first, at the lowest address."""
    order = sorted(
        range(len(rectangles)),
        key=lambda i: (
            rectangles[i].start - rectangles[i].end,
            -rectangles[i].size,
            rectangles[i].start,
        ),
    )
    return lowest_fit(rectangles, overlapping(rectangles), order)


class _Greedy:
    def __init__(self, problem: Problem, budget_bytes: int, deadline: Deadline) -> None:
        self.problem, self.budget, self.deadline = problem, budget_bytes, deadline
        #: Computed so far, with the step at which each block was cut, if it was.
        self.done: list[int] = []
        self.cut: dict[int, int] = {}
        self.latest: dict[int, int] = {}
        self.present: set[int] = set()
        #: To be computed again before the next operation of the plain order.
        self.pending: list[int] = []
        self.pinned: set[int] = set()
        self.position = 0

    def run(self) -> list[int] | None:
        """Return the sequence; None where nothing is left to evict, or time is over."""
        problem = self.problem
        changed = True
        tops: list[int] = []
        while self.position < problem.count:
            if self.deadline.over:
                return None
            if not self.pending:
                self.pending = self._missing(problem.inputs[self.position])
                self.pinned = {
                    read for o in (*self.pending, self.position) for read in (o, *problem.inputs[o])
                }
                changed = changed or bool(self.pending)
            if changed:
                tops = self._tops()
                changed = False
            if tops[len(self.done)] > self.budget:
                victim = self._victim()
                if victim is None:
                    return None
                self.cut[self.latest[victim]] = len(self.done)
                self.present.discard(victim)
                changed = True
                continue
            self._step()
        return self.done

    def _step(self) -> None:
        if self.pending:
            operation = self.pending.pop(0)
        else:
            operation = self.position
            self.position += 1
        self.latest[operation] = len(self.done)
        self.done.append(operation)
        self.present.add(operation)
        for o in (operation, *self.problem.inputs[operation]):
            if not self._is_read_later(o):
                self.present.discard(o)

    def _is_read_later(self, operation: int) -> bool:
        last = max(self.problem.readers[operation], default=-1)
        return last >= self.position or any(
            operation in self.problem.inputs[o] for o in self.pending
        )

    def _missing(self, wanted: Sequence[int]) -> list[int]:
        """Return what must run so that all wanted are there, sources first."""
        found: set[int] = set()
        stack = [o for o in wanted if o not in self.present]
        while stack:
            o = stack.pop()
            if o not in found:
                found.add(o)
                stack += [read for read in self.problem.inputs[o] if read not in self.present]
        return sorted(found)

    def _future(self) -> list[int]:
        return [*self.pending, *range(self.position, self.problem.count)]

    def _tops(self) -> list[int]:
        """Return the highest end of a block at each step, past and planned."""
        sequence = self.done + self._future()
        block_of: dict[int, int] = {}
        spans: list[list[int]] = []
        for step, operation in enumerate(sequence):
            for read in self.problem.inputs[operation]:
                block = block_of[read]
                if block not in self.cut or step < self.cut[block]:
                    spans[block][1] = step + 1
            block_of[operation] = step
            spans.append([step, step + 1])
        sizes = self.problem.sizes_bytes
        rectangles = [
            Rectangle(start, end, sizes[operation])
            for operation, (start, end) in zip(sequence, spans, strict=True)
        ]
        offsets = lifetime_aware_pool(rectangles)
        tops = [0] * len(sequence)
        for (start, end, size), offset in zip(rectangles, offsets, strict=True):
            for step in range(start, end):
                tops[step] = max(tops[step], offset + size)
        return tops

    def _victim(self) -> int | None:
        """Return the resident result of largest TPS."""
        last: dict[int, int] = {}
        now = len(self.done)
        for ahead, operation in enumerate(self._future()):
            for read in self.problem.inputs[operation]:
                last[read] = now + ahead
        best: tuple[float, int] | None = None
        for o in sorted(self.present & last.keys()):
            if not self.problem.forward[o] or o in self.pinned:
                continue
            size = self.problem.sizes_bytes[o]
            again = [s for s in self._missing(self.problem.inputs[o]) if s != o]
            cost = self.problem.costs[o] + sum(self.problem.costs[s] for s in again)
            if not size:
                continue
            score = size * (last[o] - now) / max(1, cost)
            if best is None or score > best[0]:
                best = score, o
        return None if best is None else best[1]
