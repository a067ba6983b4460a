"""Whole programs with a good bound from their linear program.

Multipliers of the rows give a bound L and for each variable what it costs to move it from where it
rests: where that lifts L above ``most`` the variable stays.  HiGHS solves what is left, for
solutions that cost ``most`` at most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ortools.linear_solver.python import model_builder

from memplan.solver.clock import Clock
from memplan.solver.native import run_watched
from memplan.solver.relaxation.linear import LinearProgram

__all__ = ["FRACTION", "Relaxed", "relax", "whole_solution"]

#: Multipliers are counted in this part of one.
FRACTION = 2**24

_SOLVED = (model_builder.SolveStatus.OPTIMAL, model_builder.SolveStatus.FEASIBLE)


@dataclass(frozen=True)
class Relaxed:
    """A linear program's solution, and what its multipliers prove whatever their rounding.

    Attributes:
        values: of the variables; None: GLOP found none.
        multipliers: of the rows, at least 0, times ``FRACTION``.
        bound: on every solution, times ``FRACTION``.
        reduced: cost of each variable that is left, times ``FRACTION``.
    """

    values: Sequence[float] | None
    multipliers: Sequence[int]
    bound: int
    reduced: Sequence[int]

    @property
    def least(self) -> int:
        """The bound in whole costs."""
        return max(0, -(-self.bound // FRACTION))


def relax(program: LinearProgram, seconds: float, clock: Clock) -> Relaxed:
    """Solve the linear program; without a solution the bound is that of no rows."""
    model = program.model(whole=False)
    solver = model_builder.Solver("glop")
    solver.set_time_limit_in_seconds(max(0.01, seconds))
    values: Sequence[float] | None = None
    found: Sequence[float] = [0.0] * len(program.rows)
    if run_watched(partial(solver.solve, model), clock, solver.stop_search) in _SOLVED:
        values = [float(x) for x in solver.values(model.get_variables())]
        found = [float(y) for y in solver.dual_values(model.get_linear_constraints())]
    multipliers = [max(0, round(y * FRACTION)) for y in found]
    left = [cost * FRACTION for cost in program.costs]
    total = 0
    for (terms, bound), y in zip(program.rows, multipliers, strict=True):
        if y:
            total += bound * y
            for variable, factor in terms:
                left[variable] -= factor * y
    return Relaxed(values, multipliers, total + sum(min(0, cost) for cost in left), left)


def whole_solution(
    program: LinearProgram,
    relaxed: Relaxed,
    most: int,
    seconds: float,
    clock: Clock,
    fixed: Mapping[int, int] | None = None,
) -> tuple[list[int] | None, int]:
    """Return (values of a solution that costs ``most`` at most, or None; bound on all solutions).

    The bound is HiGHS's own, less a millionth for its tolerances; it is ``most + 1`` where there is
    no such solution.

    Args:
        fixed: values of some variables; the bound is that of solutions with these.
    """
    settled = dict(fixed or {})
    for variable, cost in enumerate(relaxed.reduced):
        if abs(cost) + relaxed.bound > most * FRACTION:
            # Where the bound alone is above, nothing is left whatever the values are.
            settled.setdefault(variable, int(cost < 0))
    if relaxed.least > most:
        return None, most + 1
    rest, number, paid = _without(program, settled)
    # Halfway to the next whole cost, so that no tolerance hides a solution.
    costs = [(v, -2 * cost) for v, cost in enumerate(rest.costs) if cost]
    rest.at_least(costs, 2 * (paid - most) - 1)
    if any(sum(max(0, f) for _, f in terms) < bound for terms, bound in rest.rows):
        return None, most + 1
    model = rest.model(whole=True)
    solver = model_builder.Solver("highs")
    solver.set_solver_specific_parameters("output_flag=false\nmip_rel_gap=1e-7")
    solver.set_time_limit_in_seconds(max(0.01, seconds))
    status = run_watched(partial(solver.solve, model), clock, None)
    if status == model_builder.SolveStatus.INFEASIBLE:
        return None, most + 1
    if status not in _SOLVED:
        return None, relaxed.least
    found = solver.values(model.get_variables())
    values = [settled.get(variable, 0) for variable in range(len(program.costs))]
    for variable, place in number.items():
        values[variable] = round(float(found.iloc[place]))
    least, reached = relaxed.least, solver.best_objective_bound + paid
    if math.isfinite(reached):
        least = max(least, math.ceil(reached - 1e-6 * max(1.0, abs(reached))))
    return values, least


def _without(
    program: LinearProgram, settled: Mapping[int, int]
) -> tuple[LinearProgram, dict[int, int], int]:
    """Return (the rest of a program, its variables by the program's, the cost of the settled)."""
    rest = LinearProgram()
    number: dict[int, int] = {}
    paid = 0
    for variable, cost in enumerate(program.costs):
        if variable in settled:
            paid += cost * settled[variable]
        else:
            number[variable] = rest.variable(cost)
    rows = set()
    for terms, bound in program.rows:
        own = tuple((number[v], factor) for v, factor in terms if v in number)
        needed = bound - sum(factor * settled[v] for v, factor in terms if v in settled)
        if sum(min(0, factor) for _, factor in own) < needed:
            rows.add((own, needed))
    for own, needed in sorted(rows):
        rest.at_least(own, needed)
    return rest, number, paid
