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
from typing import Any

import numpy as np
from ortools.linear_solver.python import model_builder
from scipy.sparse import csr_matrix, vstack  # type: ignore[import-untyped]

from memplan.solver.clock import Clock
from memplan.solver.native import run_watched
from memplan.solver.packing.flat import Integers
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
    matrix, bounds = _rows(program)
    model = _model(np.array(program.costs, np.int64), matrix, bounds)
    solver = model_builder.Solver("glop")
    # Costs are not negative, so that it starts feasible: several times faster than the primal.
    solver.set_solver_specific_parameters("use_dual_simplex: true")
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
    rest = _Rest.of(program, settled)
    # Halfway to the next whole cost, so that no tolerance hides a solution.
    rest.add_row(-2 * rest.costs, 2 * (rest.paid - most) - 1)
    if rest.is_impossible:
        return None, most + 1
    model = rest.model()
    solver = model_builder.Solver("highs")
    solver.set_solver_specific_parameters("output_flag=false\nmip_rel_gap=1e-7")
    solver.set_time_limit_in_seconds(max(0.01, seconds))
    status = run_watched(partial(solver.solve, model), clock, None, seconds=seconds)
    if status == model_builder.SolveStatus.INFEASIBLE:
        return None, most + 1
    if status not in _SOLVED:
        return None, relaxed.least
    values = [settled.get(variable, 0) for variable in range(len(program.costs))]
    found = np.rint(np.asarray(solver.values(model.get_variables()), dtype=np.float64))
    for variable, value in zip(rest.free.tolist(), found.tolist(), strict=True):
        values[variable] = int(value)
    least, reached = relaxed.least, solver.best_objective_bound + rest.paid
    if math.isfinite(reached):
        least = max(least, math.ceil(reached - 1e-6 * max(1.0, abs(reached))))
    return values, least


@dataclass
class _Rest:
    """What is left of a program once some variables have values.

    Attributes:
        free: numbers of the other variables.
        costs: theirs.
        paid: cost of those that have values.
        matrix: rows over the free variables, as dense as they are.
        bounds: of the rows.
    """

    free: Integers
    costs: Integers
    paid: int
    matrix: csr_matrix
    bounds: Integers

    @classmethod
    def of(cls, program: LinearProgram, settled: Mapping[int, int]) -> _Rest:
        """Leave out variables with values, and rows that always hold."""
        matrix, bounds = _rows(program)
        costs = np.array(program.costs, np.int64)
        value = np.zeros(len(costs), np.int64)
        is_free = np.ones(len(costs), np.bool_)
        for variable, given in settled.items():
            value[variable] = given
            is_free[variable] = False
        free = np.flatnonzero(is_free)
        own = matrix[:, free]
        needed = bounds - matrix @ value
        kept = np.flatnonzero(np.asarray(own.minimum(0).sum(axis=1)).ravel() < needed)
        return cls(free, costs[free], int(costs @ value), own[kept], needed[kept])

    def add_row(self, factors: Integers, bound: int) -> None:
        """Add a row at the end."""
        self.matrix = vstack([self.matrix, csr_matrix(factors)], format="csr")
        self.bounds = np.append(self.bounds, bound)

    @property
    def is_impossible(self) -> bool:
        """Tell whether some row cannot hold."""
        most = np.asarray(self.matrix.maximum(0).sum(axis=1)).ravel()
        return bool((most < self.bounds).any())

    def model(self) -> model_builder.Model:
        """Return the rest in whole variables for OR-Tools."""
        model = _model(self.costs, self.matrix, self.bounds)
        for index in range(len(self.free)):
            model.helper.set_var_integrality(index, True)
        return model


def _model(costs: Integers, matrix: csr_matrix, bounds: Integers) -> model_builder.Model:
    """Return a program over [0, 1] for OR-Tools."""
    model = model_builder.Model()  # type: ignore[no-untyped-call]  # ortools has no types here
    count = len(costs)
    # Its stub says ndarray[float64, ...], which no array is.
    fill: Any = model.helper.fill_model_from_sparse_data
    fill(
        np.zeros(count),
        np.ones(count),
        costs.astype(np.float64),
        bounds.astype(np.float64),
        np.full(len(bounds), np.inf),
        matrix.astype(np.float64),
    )
    return model


def _rows(program: LinearProgram) -> tuple[csr_matrix, Integers]:
    """Return the rows of a program, and their bounds."""
    factors = [factor for terms, _ in program.rows for _, factor in terms]
    columns = [variable for terms, _ in program.rows for variable, _ in terms]
    starts = np.cumsum([0, *(len(terms) for terms, _ in program.rows)])
    shape = (len(program.rows), len(program.costs))
    matrix = csr_matrix((np.array(factors, np.int64), columns, starts), shape=shape)
    return matrix, np.array([bound for _, bound in program.rows], np.int64)
