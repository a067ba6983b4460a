"""Recomputation along a line, by constraint programming: MOCCASIN (Bartan et al., ICML 2023).

Each operation that may run again runs up to C times.  Time is the grid of Checkmate's stages: the
operation at position v of stage p is at ``p (p + 1) / 2 + v``; the first computation of v is in
stage v, further ones in later stages behind the forward pass.

    min  sum of time[v] runs[v, i]
    each operand of a computation that runs is served by one computation of its producer that runs,
        which starts before and ends no earlier
    the lifetimes, with their bytes, are cumulative within the limit

Addresses, sharing in place and workspaces are left to whoever places the schedule, so a proof is
one only where there are none of the last two.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from ortools.sat.python import cp_model

from memplan.solver.clock import Clock
from memplan.solver.cp import solve_model
from memplan.solver.relaxation.timeline import Timeline

__all__ = ["LineSolution", "solve_line"]


@dataclass(frozen=True)
class LineSolution:
    """Positions of the line in the order in which they run, and what was proved.

    Attributes:
        order: None: no solution was found.
        extra_ns: proven time of computations beyond the first, with at most so many of each.
        exact: whether the program counts all bytes as plans do, so that what it proves holds.
    """

    order: tuple[int, ...] | None
    extra_ns: int
    exact: bool


@dataclass(frozen=True)
class _Computation:
    runs: cp_model.IntVar
    start: cp_model.LinearExprT
    #: Per item that it writes, where it is not needed any more.
    end: dict[int, cp_model.IntVar]


def solve_line(
    line: Timeline,
    limit_bytes: int,
    computations: int,
    seconds: float,
    seed: int,
    workers: int,
    clock: Clock,
) -> LineSolution:
    """Return the cheapest recomputation that was found within the time."""
    builder = _Builder(line, limit_bytes, computations)
    solver, status = solve_model(builder.model, seconds, seed, workers, clock)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return LineSolution(None, 0, exact=False)
    steps = sorted(
        (solver.value(one.start), operation)
        for operation, ones in enumerate(builder.computations)
        for one in ones
        if solver.boolean_value(one.runs)
    )
    bound = round(solver.best_objective_bound) * builder.unit
    base = sum(line.time_ns)
    order = tuple(operation for _, operation in steps)
    return LineSolution(order, max(0, bound - base), exact=line.is_plain)


class _Builder:
    def __init__(self, line: Timeline, limit_bytes: int, most: int) -> None:
        self.line = line
        self.count = len(line.reads)
        self.horizon = _place(self.count, 0)
        self.model = cp_model.CpModel()
        self.computations = [self._computations(v, most) for v in range(self.count)]
        given = sorted(
            {t for reads in line.reads for t in reads if t not in line.producer and line.size[t]}
        )
        self.given = {t: self._end(f"given{t}", 0) for t in given}
        for v, ones in enumerate(self.computations):
            for one in ones:
                for item in line.reads[v]:
                    self._serve(item, one)
        for item in sorted(line.kept):
            self._keep(item)
        self._limit(limit_bytes)
        self.unit = max(1, gcd(*line.time_ns))
        self.model.minimize(
            sum(
                line.time_ns[v] // self.unit * one.runs
                for v, ones in enumerate(self.computations)
                for one in ones
            )
        )

    def _end(self, name: str, least: int) -> cp_model.IntVar:
        return self.model.new_int_var(least, self.horizon, f"end_{name}")

    def _computations(self, v: int, most: int) -> list[_Computation]:
        model, line = self.model, self.line
        first = _place(v, v)
        ends = {t: self._end(f"{v}_0_{t}", first + 1) for t in line.writes[v]}
        ones = [_Computation(model.new_constant(1), first, ends)]
        stages = range(max(line.forward, v + 1), self.count)
        if (v >= line.forward and v not in line.late) or not stages:
            return ones
        for i in range(1, most):
            runs = model.new_bool_var(f"runs_{v}_{i}")
            places = [_place(p, v) for p in stages]
            start = model.new_int_var_from_domain(
                cp_model.Domain.from_values(places), f"start_{v}_{i}"
            )
            ends = {t: self._end(f"{v}_{i}_{t}", places[0] + 1) for t in line.writes[v]}
            for end in ends.values():
                model.add(end >= start + 1).only_enforce_if(runs)
            if i > 1:
                model.add_implication(runs, ones[-1].runs)
                model.add(start > ones[-1].start).only_enforce_if(runs)
            ones.append(_Computation(runs, start, ends))
        return ones

    def _serve(self, item: int, reader: _Computation) -> None:
        model = self.model
        producer = self.line.producer.get(item)
        if producer is None:
            if item in self.given:
                model.add(self.given[item] >= reader.start + 1).only_enforce_if(reader.runs)
            return
        serving = []
        for source in self.computations[producer]:
            serves = model.new_bool_var("")
            model.add_implication(serves, source.runs)
            model.add(source.start + 1 <= reader.start).only_enforce_if(serves)
            model.add(source.end[item] >= reader.start + 1).only_enforce_if(serves)
            serving.append(serves)
        model.add_bool_or(*serving, ~reader.runs)

    def _keep(self, item: int) -> None:
        model = self.model
        holding = []
        for source in self.computations[self.line.producer[item]]:
            holds = model.new_bool_var("")
            model.add_implication(holds, source.runs)
            model.add(source.end[item] == self.horizon).only_enforce_if(holds)
            holding.append(holds)
        model.add_bool_or(holding)

    def _limit(self, limit_bytes: int) -> None:
        model, line = self.model, self.line
        unit = max(1, gcd(limit_bytes, *line.size))
        intervals, sizes = [], []
        for t, end in self.given.items():
            length = model.new_int_var(1, self.horizon + 1, "")
            intervals.append(model.new_interval_var(-1, length, end, ""))
            sizes.append(line.size[t] // unit)
        for ones in self.computations:
            for one in ones:
                for t, end in one.end.items():
                    if line.size[t]:
                        length = model.new_int_var(1, self.horizon + 1, "")
                        intervals.append(
                            model.new_optional_interval_var(one.start, length, end, one.runs, "")
                        )
                        sizes.append(line.size[t] // unit)
        model.add_cumulative(intervals, sizes, limit_bytes // unit)


def _place(stage: int, position: int) -> int:
    return stage * (stage + 1) // 2 + position
