"""The whole problem of small graphs as one mixed-integer program on HiGHS, to test bounds against.

It shares neither code nor form with the solver: time is cut into steps, and every copy of a result
has a literal per step.

    x[v,c,s]   computation c of operation v runs in step s; one operation per step
    a[v,c,s]   its result takes bytes in step s:    a[v,c,s] <= a[v,c,s-1] + x[v,c,s]
    r[v,c,s]   it can be read in step s:            r <= a[v,c,s],  r <= a[v,c,s-1]
    sum over c of r[u,c,s] >= sum over c of x[v,c,s]                v reads u
    sum over c, s of x[v,c,s] >= 1                  every operation runs; again only the forward's
    b[i,j]     copy i lies below copy j:            o_i + size_i <= o_j where it does
    b[i,j] + b[j,i] >= a_i[s] + a_j[s] - 1          copies that take bytes in one step are apart
    o_i + size_i <= arena <= limit
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal

from benchmarks.planners.milp import Milp
from benchmarks.planners.problem import Problem

__all__ = ["least_arena", "least_height", "least_time_and_arena"]

_SECONDS = 300.0


def least_time_and_arena(
    problem: Problem, limit_bytes: int, computations: int
) -> tuple[int, int] | None:
    """Return the least cost within the limit and the least arena at that cost, or None."""
    cost = _Program(problem, limit_bytes, computations, "cost").solve()
    if cost is None:
        return None
    arena = _Program(problem, limit_bytes, computations, "arena", most_cost=cost).solve()
    assert arena is not None
    return cost, arena


def least_arena(problem: Problem, computations: int) -> int:
    """Return the fewest bytes of any plan."""
    least = _Program(problem, sum(problem.sizes_bytes), computations, "arena").solve()
    assert least is not None
    return least


def least_height(rectangles: list[tuple[int, int, int]]) -> int:
    """Return the least height of (start, end, size) rectangles."""
    most = sum(size for _, _, size in rectangles)
    milp = Milp()
    arena = milp.variable(1.0, 0.0, most)
    offsets = [milp.variable(0.0, 0.0, most) for _ in rectangles]
    for offset, (_, _, size) in zip(offsets, rectangles, strict=True):
        milp.row([(arena, 1.0), (offset, -1.0)], size, most)
    for i, j in combinations(range(len(rectangles)), 2):
        (start, end, _), (other_start, other_end, _) = rectangles[i], rectangles[j]
        if start < other_end and other_start < end:
            pair = _apart(milp, offsets[i], rectangles[i][2], offsets[j], rectangles[j][2], most)
            milp.row([(literal, 1.0) for literal in pair], 1.0, 2.0)
    answer = milp.solve(_SECONDS)
    assert answer.status == "optimal"
    assert answer.values is not None
    return round(float(answer.values[arena]))


def _apart(
    milp: Milp, first: int, first_size: int, second: int, second_size: int, most: int
) -> tuple[int, int]:
    """Return literals that say that the first lies below the second, and the other way round."""
    literals = milp.variable(), milp.variable()
    for literal, low, size, high in (
        (literals[0], first, first_size, second),
        (literals[1], second, second_size, first),
    ):
        # high - low - most * literal >= size - most
        milp.row([(high, 1.0), (low, -1.0), (literal, -float(most))], size - most, 2.0 * most)
    return literals


@dataclass(frozen=True)
class _Copy:
    operation: int
    runs: tuple[int, ...]
    takes: tuple[int, ...]
    offset: int


class _Program:
    def __init__(
        self,
        problem: Problem,
        limit_bytes: int,
        computations: int,
        objective: Literal["cost", "arena"],
        most_cost: int | None = None,
    ) -> None:
        self.problem, self.milp, self.limit = problem, Milp(), limit_bytes
        counts = [computations if forward else 1 for forward in problem.forward]
        self.steps = range(sum(counts))
        self.costs = objective == "cost"
        self.arena = self.milp.variable(0.0 if self.costs else 1.0, 0.0, limit_bytes)
        self.copies = [
            [self._copy(operation) for _ in range(count)] for operation, count in enumerate(counts)
        ]
        for step in self.steps:
            now = [(copy.runs[step], 1.0) for copy in self._all()]
            self.milp.row(now, 0.0, 1.0)
            if step:  # no empty step before the last: plans that differ by those alone are one
                before = [(copy.runs[step - 1], 1.0) for copy in self._all()]
                self.milp.row([*before, *((v, -1.0) for v, _ in now)], 0.0, 1.0)
        for operation, copies in enumerate(self.copies):
            every = [(variable, 1.0) for copy in copies for variable in copy.runs]
            self.milp.row(every, 1.0, float(len(copies)))
            for copy in copies:
                self.milp.row([(variable, 1.0) for variable in copy.runs], 0.0, 1.0)
            for earlier, later in pairwise(copies):  # the second copy is the later one
                for step in self.steps:
                    so_far = [(v, 1.0) for v in earlier.runs[:step]]
                    self.milp.row([*so_far, (later.runs[step], -1.0)], 0.0, 1.0)
            for read in problem.inputs[operation]:
                self._read(operation, read)
        self._addresses()
        if most_cost is not None:
            terms = [(v, float(problem.costs[c.operation])) for c in self._all() for v in c.runs]
            self.milp.row(terms, 0.0, float(most_cost))

    def _all(self) -> list[_Copy]:
        return [copy for copies in self.copies for copy in copies]

    def _copy(self, operation: int) -> _Copy:
        milp, cost = self.milp, float(self.problem.costs[operation]) if self.costs else 0.0
        runs = tuple(milp.variable(cost) for _ in self.steps)
        takes = tuple(milp.variable() for _ in self.steps)
        for step in self.steps:
            before = [(takes[step - 1], 1.0)] if step else []
            milp.row([(runs[step], 1.0), *before, (takes[step], -1.0)], 0.0, 2.0)
            milp.row([(takes[step], 1.0), (runs[step], -1.0)], 0.0, 1.0)
        return _Copy(operation, runs, takes, milp.variable(0.0, 0.0, self.limit))

    def _read(self, operation: int, read: int) -> None:
        milp = self.milp
        for step in self.steps:
            readable = []
            for copy in self.copies[read] if step else ():
                variable = milp.variable(whole=False)
                for takes in (copy.takes[step], copy.takes[step - 1]):
                    milp.row([(takes, 1.0), (variable, -1.0)], 0.0, 1.0)
                readable.append((variable, 1.0))
            reading = [(copy.runs[step], -1.0) for copy in self.copies[operation]]
            milp.row([*readable, *reading], 0.0, float(len(readable)))

    def _addresses(self) -> None:
        milp, sizes, limit = self.milp, self.problem.sizes_bytes, self.limit
        for copy in self._all():
            size = sizes[copy.operation]
            for step in self.steps:
                # arena - offset - size * takes >= 0
                terms = [(self.arena, 1.0), (copy.offset, -1.0), (copy.takes[step], -float(size))]
                milp.row(terms, 0.0, float(limit))
        for first, second in combinations(self._all(), 2):
            sizes_of = sizes[first.operation], sizes[second.operation]
            most = limit + max(sizes_of)
            pair = _apart(milp, first.offset, sizes_of[0], second.offset, sizes_of[1], most)
            for step in self.steps:
                both = [(first.takes[step], -1.0), (second.takes[step], -1.0)]
                milp.row([(pair[0], 1.0), (pair[1], 1.0), *both], -1.0, 2.0)

    def solve(self) -> int | None:
        answer = self.milp.solve(_SECONDS)
        assert answer.status in ("optimal", "infeasible")
        if answer.values is None:
            return None
        if not self.costs:
            return round(float(answer.values[self.arena]))
        return sum(
            self.problem.costs[copy.operation] * round(float(answer.values[variable]))
            for copy in self._all()
            for variable in copy.runs
        )
