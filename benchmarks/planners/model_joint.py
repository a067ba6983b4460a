"""MODeL (Steiner et al., ICML 2023) as one program: order, recomputation and addresses, on CP-SAT.

Time has two steps per operation.  g[e, t]: block e is generated at step t; p[e, t]: it is preserved
there from before; A[e]: its one address.

    min  sum of cost[e] g[e, t]
    p[e, t] <= p[e, t-1] + g[e, t-1],    p[e, t] + g[e, t] <= 1,    g[e, t] <= p[u, t]   e reads u
    sum over t of g[e, t] >= 1 (forward), = 1 (backward)
    sum of size[e] (p[e, t] + g[e, t]) <= B for every t
    A[i] + size[i] <= A[j]  or  A[j] + size[j] <= A[i]    where both are live at some step

The authors' code lets no operation run again behind its latest plain step, which rules most
recomputation for the backward out; here it may.  Their objective is bytes generated again; here it
is the cost that all planners are compared by.  Swapping is left out.
"""

from __future__ import annotations

from itertools import combinations
from math import ceil, gcd

from ortools.sat.python import cp_model

from benchmarks.planners.answer import Attempt, Deadline, NotApplicableError
from benchmarks.planners.problem import Problem

__all__ = ["MOST_OPERATIONS", "model_joint"]

_STEPS_PER_OPERATION = 2
_WORKERS = 2
#: The program has a row per pair of blocks and step, so it is written down up to here only.
MOST_OPERATIONS = 100

Grid = list[dict[int, cp_model.IntVar]]


def model_joint(problem: Problem, budget_bytes: int, seconds: float) -> Attempt:
    """Solve the program."""
    if problem.count > MOST_OPERATIONS:
        raise NotApplicableError(f"more than {MOST_OPERATIONS} operations")
    deadline = Deadline(seconds)
    model = cp_model.CpModel()
    horizon = _STEPS_PER_OPERATION * problem.count
    generated, preserved = _grids(model, problem, horizon)
    for o, inputs in enumerate(problem.inputs):
        for t, runs in generated[o].items():
            for read in inputs:
                model.add_implication(runs, preserved[read][t])
        if problem.forward[o]:
            model.add_bool_or(*generated[o].values())
        else:
            model.add_exactly_one(*generated[o].values())
    unit = gcd(budget_bytes, *problem.sizes_bytes)
    sizes = [size // unit for size in problem.sizes_bytes]
    for t in range(horizon):
        live = [
            sizes[o] * variable
            for o in range(problem.count)
            for variable in _live(generated, preserved, o, t)
        ]
        model.add(sum(live) <= budget_bytes // unit)
    addresses = _addresses(
        model, sizes, budget_bytes // unit, generated, preserved, horizon, deadline
    )
    if addresses is None:
        return Attempt(None, note="time was over before the program was written down")
    cost_unit = gcd(*problem.costs)
    model.minimize(
        sum(
            problem.costs[o] // cost_unit * runs
            for o in range(problem.count)
            for runs in generated[o].values()
        )
    )
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = max(0.01, deadline.left)
    solver.parameters.num_workers = _WORKERS
    status = solver.solve(model)
    if status == cp_model.INFEASIBLE:
        return Attempt(None, infeasible=True)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Attempt(None)
    steps = sorted(
        (t, o)
        for o in range(problem.count)
        for t, runs in generated[o].items()
        if solver.boolean_value(runs)
    )
    sequence = tuple(o for _, o in steps)
    offsets = tuple(solver.value(addresses[o]) * unit for o in sequence)
    bound = max(0, ceil(solver.best_objective_bound - 1e-6)) * cost_unit
    return Attempt(sequence, bound, offsets=offsets)


def _grids(model: cp_model.CpModel, problem: Problem, horizon: int) -> tuple[Grid, Grid]:
    """Return g and p by operation and step, from the earliest step on."""
    earliest: list[int] = []
    generated: Grid = []
    preserved: Grid = []
    for o, inputs in enumerate(problem.inputs):
        earliest.append(max((earliest[read] + 1 for read in inputs), default=0))
        steps = range(earliest[o], horizon)
        generated.append({t: model.new_bool_var(f"g{o}.{t}") for t in steps})
        preserved.append({t: model.new_bool_var(f"p{o}.{t}") for t in steps[1:]})
        for t, kept in preserved[o].items():
            before = [generated[o][t - 1], *_at(preserved[o], t - 1)]
            model.add_bool_or(*before, ~kept)
            model.add_at_most_one(kept, generated[o][t])
    return generated, preserved


def _at(row: dict[int, cp_model.IntVar], t: int) -> list[cp_model.IntVar]:
    return [row[t]] if t in row else []


def _live(generated: Grid, preserved: Grid, o: int, t: int) -> list[cp_model.IntVar]:
    return [*_at(generated[o], t), *_at(preserved[o], t)]


def _addresses(
    model: cp_model.CpModel,
    sizes: list[int],
    limit: int,
    generated: Grid,
    preserved: Grid,
    horizon: int,
    deadline: Deadline,
) -> list[cp_model.IntVar] | None:
    """Return the address of each block; None where time is over."""
    if any(size > limit for size in sizes):
        model.add_bool_or()  # no address at all: infeasible
        return [model.new_constant(0) for _ in sizes]
    addresses = [model.new_int_var(0, limit - size, f"a{o}") for o, size in enumerate(sizes)]
    for i, j in combinations(range(len(sizes)), 2):
        if deadline.over:
            return None
        if not sizes[i] or not sizes[j]:
            continue
        below, above = model.new_bool_var(""), model.new_bool_var("")
        model.add(addresses[i] + sizes[i] <= addresses[j]).only_enforce_if(below)
        model.add(addresses[j] + sizes[j] <= addresses[i]).only_enforce_if(above)
        for t in range(horizon):
            for one in _live(generated, preserved, i, t):
                for other in _live(generated, preserved, j, t):
                    model.add_bool_or(~one, ~other, below, above)
    return addresses
