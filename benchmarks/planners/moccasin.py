"""MOCCASIN (Bartan et al., ICML 2023): retention intervals in a constraint program, on CP-SAT.

Each operation v has up to C intervals [start, end], the first always there; a forward operation's
others are optional.  Time is the grid of Checkmate's stages: position v of stage p is at
p (p + 1) / 2 + v, and the first computation of v is in stage v.

    min  sum of cost[v] active[v, i]
    start[v, i+1] >= end[v, i]
    for every edge (u, v) and active interval i of v, some interval j of u is active with
        start[u, j] + 1 <= start[v, i] <= end[u, j]
    the intervals, with their bytes, are cumulative within the budget

Its second phase alone: no first plan is looked for with the budget relaxed, as CP-SAT's presolve
and its own workers do that.  C bounds how often an operation runs, so what is proved is proved for
plans that run each at most C times.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, gcd

from ortools.sat.python import cp_model

from benchmarks.planners.answer import Attempt, Deadline
from benchmarks.planners.problem import Problem

__all__ = ["moccasin"]

_WORKERS = 2


@dataclass(frozen=True)
class _Copy:
    """One retention interval; ``stage`` is where it begins."""

    active: cp_model.IntVar
    stage: cp_model.IntVar | int
    start: cp_model.LinearExprT
    end: cp_model.IntVar


def moccasin(problem: Problem, budget_bytes: int, seconds: float, *, computations: int) -> Attempt:
    """Solve the program with at most ``computations`` intervals per operation."""
    deadline = Deadline(seconds)
    model = cp_model.CpModel()
    copies = _copies(model, problem, computations)
    for v, inputs in enumerate(problem.inputs):
        if deadline.over:
            return Attempt(None, note="time was over before the program was written down")
        for u in inputs:
            for reader in copies[v]:
                _served(model, copies[u], reader)
    _memory(model, problem, budget_bytes, copies)
    unit = gcd(*problem.costs)
    model.minimize(
        sum(
            problem.costs[v] // unit * copy.active for v, mine in enumerate(copies) for copy in mine
        )
    )
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = max(0.01, deadline.left)
    solver.parameters.num_workers = _WORKERS
    status = solver.solve(model)
    if status == cp_model.INFEASIBLE:
        return Attempt(None, infeasible=True)
    bound = max(0, ceil(solver.best_objective_bound - 1e-6)) * unit
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Attempt(None)
    steps = sorted(
        (solver.value(copy.start), v)
        for v, mine in enumerate(copies)
        for copy in mine
        if solver.boolean_value(copy.active)
    )
    return Attempt(tuple(v for _, v in steps), bound)


def _place(stage: int, operation: int) -> int:
    return stage * (stage + 1) // 2 + operation


def _copies(model: cp_model.CpModel, problem: Problem, computations: int) -> list[list[_Copy]]:
    n = problem.count
    horizon = _place(n - 1, n - 1)
    always = model.new_constant(1)
    copies: list[list[_Copy]] = []
    for v in range(n):
        first = _place(v, v)
        mine = [_Copy(always, v, first, model.new_int_var(first, horizon, f"end{v}"))]
        for i in range(1, computations if problem.forward[v] and v < n - 1 else 1):
            active = model.new_bool_var(f"active{v}.{i}")
            stage = model.new_int_var(v + 1, n - 1, f"stage{v}.{i}")
            places = [_place(p, v) for p in range(v + 1, n)]
            start = model.new_int_var_from_domain(
                cp_model.Domain.from_values(places), f"start{v}.{i}"
            )
            model.add_element(stage - (v + 1), places, start)
            end = model.new_int_var(first, horizon, f"end{v}.{i}")
            model.add(end >= start).only_enforce_if(active)
            model.add(start >= mine[-1].end).only_enforce_if(active)
            if i > 1:
                model.add_implication(active, mine[-1].active)
            mine.append(_Copy(active, stage, start, end))
        copies.append(mine)
    return copies


def _served(model: cp_model.CpModel, sources: list[_Copy], reader: _Copy) -> None:
    """Some source is there when the reader runs."""
    serves = []
    for source in sources:
        chosen = model.new_bool_var("")
        model.add_implication(chosen, source.active)
        model.add(source.start + 1 <= reader.start).only_enforce_if(chosen)
        model.add(source.end >= reader.start).only_enforce_if(chosen)
        serves.append(chosen)
    model.add_bool_or(*serves, ~reader.active)


def _memory(
    model: cp_model.CpModel, problem: Problem, budget_bytes: int, copies: list[list[_Copy]]
) -> None:
    unit = gcd(budget_bytes, *problem.sizes_bytes)
    intervals, sizes = [], []
    for v, mine in enumerate(copies):
        for copy in mine:
            # A block lives through its last reader's step.
            length = model.new_int_var(1, _place(problem.count, problem.count), "")
            intervals.append(
                model.new_optional_interval_var(copy.start, length, copy.end + 1, copy.active, "")
            )
            sizes.append(problem.sizes_bytes[v] // unit)
    model.add_cumulative(intervals, sizes, budget_bytes // unit)
