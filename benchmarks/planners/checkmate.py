"""Checkmate (Jain et al., MLSys 2020): its integer program on HiGHS, and its rounding of the LP.

Stage t first computes operation t.  R[t, i]: operation i runs in stage t; S[t, i]: its result is
there when stage t begins; F[t, i, k]: it is freed behind its reader k in stage t; U[t, k]: bytes at
operation k.

    min  sum cost[i] R[t, i]                  R[t, t] = 1,   R[t, i] = 0 for i > t
    S[t+1, i] <= S[t, i] + R[t, i],           R[t, v] <= R[t, u] + S[t, u]      v reads u
    sum over k of F[t, i, k] <= 1,            F[t, i, k] <= R[t, k]
    F[t, i, k] <= 1 - S[t+1, i],              F[t, i, k] <= 1 - R[t, j]         j > k reads i
    U[t, 0] = size[0] R[t, 0] + sum of size[i] S[t, i]
    U[t, k+1] = U[t, k] - sum over i of size[i] F[t, i, k] + size[k+1] R[t, k+1],      U <= B

This is the form without big-M of the authors' second program (``cvxpy_solver.py``), which HiGHS
solves several times faster; R, S and F are whole.  In the first program, which the paper's figures
are of (``gurobi_solver.py``), the last three rows are

    1 - F[t, i, k] <= h <= (2 + number of j) (1 - F[t, i, k])
    h = 1 - R[t, k] + S[t+1, i] + sum of R[t, j] over j > k that read i

and backward operations may run again, too.  Here, in the second, they run once, as the common graph
wants it: R[t, i] = 0 for them where i < t.  What nobody reads is freed with its stage, whose last
operation it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, gcd

import numpy as np
from numpy.typing import NDArray

from benchmarks.planners.answer import Attempt, Deadline, cheapest
from benchmarks.planners.milp import Milp
from benchmarks.planners.problem import Problem, simulate

__all__ = ["checkmate", "checkmate_big_m", "checkmate_rounding", "run_for_saved", "stages_of"]

#: Of the authors' rounding: the LP's share of the budget, and where S is cut.
LP_SHARE = 0.9
THRESHOLDS = tuple(step / 10 for step in range(1, 10))

#: Budgets beyond this many units are scaled to it, so that the rows' numbers are of one order.
_MOST_UNITS = 10_000


@dataclass
class _Program:
    problem: Problem
    big_m: bool = False
    milp: Milp = field(default_factory=Milp)
    run: dict[tuple[int, int], int] = field(default_factory=dict)
    saved: dict[tuple[int, int], int] = field(default_factory=dict)


def checkmate(problem: Problem, budget_bytes: int, seconds: float) -> Attempt:
    """Solve the integer program without big-M."""
    return _solve(problem, budget_bytes, seconds, big_m=False)


def checkmate_big_m(problem: Problem, budget_bytes: int, seconds: float) -> Attempt:
    """Solve the integer program that was published first.

    Where it runs backward operations again there is no answer for the common graph.
    """
    return _solve(problem, budget_bytes, seconds, big_m=True)


def _solve(problem: Problem, budget_bytes: int, seconds: float, big_m: bool) -> Attempt:
    deadline = Deadline(seconds)
    program = _build(problem, budget_bytes, deadline, big_m)
    if program is None:
        return Attempt(None, note="time was over before the program was written down")
    unit = gcd(*problem.costs)
    answer = program.milp.solve(deadline.left)
    bound = None
    if answer.bound is not None:
        # Whole numbers, but for the solver's tolerances.
        bound = max(0, ceil(answer.bound - 1e-6 * max(1.0, abs(answer.bound)))) * unit
    if answer.status == "infeasible":
        return Attempt(None, infeasible=True)
    if answer.values is None:
        return Attempt(None, bound)
    sequence = stages_of(
        problem,
        [
            [
                i
                for i in range(t)
                if (t, i) in program.run and answer.values[program.run[t, i]] > 0.5
            ]
            for t in range(problem.count)
        ],
    )
    again = [o for place, o in enumerate(sequence) if o in sequence[:place]]
    if not all(problem.forward[o] for o in again):
        return Attempt(None, note="backward operations run again")
    return Attempt(sequence, bound)


def checkmate_rounding(problem: Problem, budget_bytes: int, seconds: float) -> Attempt:
    """Solve the relaxation at 0.9 of the budget, and round what it saves at nine thresholds."""
    deadline = Deadline(seconds)
    program = _build(problem, int(LP_SHARE * budget_bytes), deadline)
    if program is None:
        return Attempt(None, note="time was over before the program was written down")
    answer = program.milp.solve(deadline.left, relaxed=True)
    if answer.values is None:
        note = f"the relaxation has no solution at {LP_SHARE:g} of the budget"
        return Attempt(None, note=note if answer.status == "infeasible" else "")
    saved = np.zeros((problem.count, problem.count))
    for (t, i), variable in program.saved.items():
        saved[t, i] = answer.values[variable]
    candidates = [run_for_saved(problem, saved > threshold) for threshold in THRESHOLDS]
    best = cheapest(problem, candidates, budget_bytes)
    if best is None:
        # What comes closest says by how much it failed.
        best = min(candidates, key=lambda c: simulate(problem, c).peak_bytes)
    return Attempt(best)


def _is_one(values: NDArray[np.float64], variable: int | None) -> bool:
    return variable is not None and bool(values[variable] > 0.5)


def stages_of(problem: Problem, again: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return the sequence in which stage t runs ``again[t]``, and then operation t."""
    return tuple(o for t in range(problem.count) for o in (*again[t], t))


def run_for_saved(problem: Problem, saved: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return what must run so that each stage begins with what ``saved[t]`` says; the least."""
    n = problem.count
    again: list[list[int]] = []
    needed_later = [max(readers, default=o) for o, readers in enumerate(problem.readers)]
    saved = saved.copy()
    for o in range(n):
        if not problem.forward[o]:  # runs once, so it is there until its last reader
            saved[o + 1 : needed_later[o] + 1, o] = True
    for t in range(n):
        run = {t}
        if t + 1 < n:
            run |= {i for i in range(t) if saved[t + 1, i] and not saved[t, i]}
        for v in range(t, -1, -1):
            if v in run:
                run |= {u for u in problem.inputs[v] if not saved[t, u]}
        again.append(sorted(run - {t}))
    return stages_of(problem, again)


def _build(
    problem: Problem, budget_bytes: int, deadline: Deadline, big_m: bool = False
) -> _Program | None:
    """Write the program down; None where time is over before."""
    n = problem.count
    unit = gcd(budget_bytes, *problem.sizes_bytes)
    scale = max(float(unit), budget_bytes / _MOST_UNITS)
    sizes = [size / scale for size in problem.sizes_bytes]
    limit = budget_bytes / scale
    cost_unit = gcd(*problem.costs)
    program = _Program(problem, big_m)
    milp, run, saved = program.milp, program.run, program.saved
    for t in range(n):
        if deadline.over:
            return None
        for i in range(t + 1):
            if i == t or problem.forward[i] or big_m:
                lower = 1.0 if i == t else 0.0
                run[t, i] = milp.variable(problem.costs[i] // cost_unit, lower)
            if i < t:
                saved[t, i] = milp.variable()
    for t in range(n):
        if deadline.over:
            return None
        _flow(program, t)
        _memory(program, t, sizes, limit)
    return program


def _run(program: _Program, t: int, i: int, factor: float = 1.0) -> list[tuple[int, float]]:
    return [(program.run[t, i], factor)] if (t, i) in program.run else []


def _saved(program: _Program, t: int, i: int, factor: float = 1.0) -> list[tuple[int, float]]:
    return [(program.saved[t, i], factor)] if (t, i) in program.saved else []


def _flow(program: _Program, t: int) -> None:
    problem, milp = program.problem, program.milp
    for i in range(t + 1):
        if t + 1 < problem.count:
            kept = _saved(program, t + 1, i)
            milp.at_most([*kept, *_saved(program, t, i, -1.0), *_run(program, t, i, -1.0)], 0.0)
        if (t, i) in program.run:
            for u in problem.inputs[i]:
                source = [*_run(program, t, u, -1.0), *_saved(program, t, u, -1.0)]
                milp.at_most([*_run(program, t, i), *source], 0.0)


def _memory(program: _Program, t: int, sizes: Sequence[float], limit: float) -> None:
    problem, milp = program.problem, program.milp
    frees: dict[int, list[tuple[int, int]]] = {}
    for i in range(t + 1):
        own = []
        for k in problem.readers[i]:
            if (t, k) not in program.run:
                continue
            free = milp.variable()
            own.append((free, 1.0))
            frees.setdefault(k, []).append((i, free))
            if program.big_m:
                _free_if_no_hazard(program, t, i, k, free)
                continue
            if k != t:
                milp.at_most([(free, 1.0), *_run(program, t, k, -1.0)], 0.0)
            if t + 1 < problem.count:
                milp.at_most([(free, 1.0), *_saved(program, t + 1, i)], 1.0)
            for j in problem.readers[i]:
                if k < j <= t and (t, j) in program.run:
                    milp.at_most([(free, 1.0), *_run(program, t, j)], 1.0)
        if len(own) > 1 and not program.big_m:
            milp.at_most(own, 1.0)
    before: list[tuple[int, float]] = [
        term for i in range(t) for term in _saved(program, t, i, sizes[i])
    ]
    for k in range(t + 1):
        used = milp.variable(0.0, 0.0, limit, whole=False)
        milp.row([(used, -1.0), *before, *_run(program, t, k, sizes[k])], 0.0, 0.0)
        before = [(used, 1.0), *((free, -sizes[i]) for i, free in frees.get(k, []))]


def _free_if_no_hazard(program: _Program, t: int, i: int, k: int, free: int) -> None:
    """Let i be freed behind k exactly if k runs, and nobody needs i later."""
    later = [j for j in program.problem.readers[i] if k < j <= t]
    hazard = [term for j in later for term in _run(program, t, j)]
    if t + 1 < program.problem.count:
        hazard += _saved(program, t + 1, i)
    most = 1.0 + len(hazard)
    hazard += _run(program, t, k, -1.0)
    program.milp.at_most([(free, -1.0), *((v, -factor) for v, factor in hazard)], 0.0)
    program.milp.at_most([(free, most), *hazard], most - 1.0)
