"""Linear programs whose bounds hold whatever the solver's tolerances are.

A solver's optimum is right up to rounding, so it proves nothing.  But any multipliers y >= 0 of the
rows give a bound of their own (Neumaier and Shcherbina, 2004): of

    min c x   with   A x >= b,   0 <= x <= 1

it is ``b y + sum over j of min(0, c_j - A_j y)``.  The solver's multipliers, rounded to fractions,
are put into that formula and it is evaluated in whole numbers.  Where no x keeps all rows, the
multipliers of the program that breaks them as little as may be, times anything, prove it: the bound
is then above what all variables together cost.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import absl.logging
from ortools.linear_solver.python import model_builder
from ortools.math_opt import model_pb2  # type: ignore[import-untyped]  # it has no marker
from ortools.math_opt.python import mathopt  # type: ignore[import-untyped]  # as above

from memplan.solver.clock import WALL, Clock
from memplan.solver.native import run_watched

__all__ = ["TOLERANCE", "LinearProgram", "WholeSolution"]

# MathOpt logs through absl.  As soon as somebody sets up logging, its handler closes what was
# sys.stderr at its import, if sys.stderr is something else by then (a test's or a notebook's).
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__

#: Multipliers are rounded to this part of one.
_FRACTION = 2**24
#: Of its time, what HiGHS is given for its own limit: it looks at the clock seldom, and what it has
#: found is lost if it is left to itself.
_HIGHS_SHARE = 0.9
#: Part of HiGHS's bound that is given up, as its arithmetic is not exact.
TOLERANCE = 1e-7
#: The largest cost that HiGHS is told: its tolerances are absolute.
_LARGEST_COST = 1000.0

_SOLVED = (model_builder.SolveStatus.OPTIMAL, model_builder.SolveStatus.FEASIBLE)


#: Rows that are broken by less than this, in proportion, may be kept but for rounding.
_LEAST_BROKEN = 1e-6


@dataclass(frozen=True)
class WholeSolution:
    """What branch and bound came to.

    Attributes:
        bound: proved of every solution in whole x.
        values: of the variables; None: no solution was found.
    """

    bound: int
    values: tuple[float, ...] | None


@dataclass
class LinearProgram:
    """Minimize ``sum costs[j] x[j]`` over x in [0, 1] under rows ``sum a x >= b``; all integers."""

    costs: list[int] = field(default_factory=list)
    rows: list[tuple[tuple[tuple[int, int], ...], int]] = field(default_factory=list)
    #: Variables that take fractions where the others are whole, too.
    fractions: set[int] = field(default_factory=set)

    def variable(self, cost: int = 0) -> int:
        """Add a variable; return its number."""
        self.costs.append(cost)
        return len(self.costs) - 1

    def fraction(self) -> int:
        """Add a variable without cost that takes any fraction in ``whole_lower_bound``, too."""
        self.fractions.add(len(self.costs))
        return self.variable()

    def at_least(self, terms: Sequence[tuple[int, int]], bound: int) -> None:
        """Add the row ``sum of factor * x[variable] >= bound`` for (variable, factor) terms.

        A variable may come several times.  Its factors are added: OR-Tools calls a model invalid,
        and solves nothing, where a row names a variable twice.
        """
        factors: dict[int, int] = {}
        for variable, factor in terms:
            factors[variable] = factors.get(variable, 0) + factor
        self.rows.append((tuple(factors.items()), bound))

    def lower_bound(self, seconds: float, clock: Clock = WALL) -> int:
        """Return a whole number that no solution in whole costs is below; proved.

        If the solver does not get done in time, its multipliers may still give a bound; without any
        the bound is that of no rows.  Without a solution it is more than all variables cost.
        """
        return self.bound_by(self.multipliers(seconds, clock))

    def bound_by(self, multipliers: Sequence[float]) -> int:
        """Return the bound that multipliers of the rows prove, rounded up to a whole number.

        Negative multipliers count as 0.
        """
        whole = [max(0, round(y * _FRACTION)) for y in multipliers]
        left = [cost * _FRACTION for cost in self.costs]
        total = 0
        for (terms, bound), y in zip(self.rows, whole, strict=True):
            if y:
                total += bound * y
                for variable, factor in terms:
                    left[variable] -= factor * y
        total += sum(cost for cost in left if cost < 0)
        return -(-total // _FRACTION)

    def whole_lower_bound(self, seconds: float, clock: Clock = WALL) -> int:
        """Return a bound on solutions in whole x but fractions, by HiGHS's branch and bound."""
        return self.whole(seconds, clock).bound

    def whole(
        self,
        seconds: float,
        clock: Clock = WALL,
        fixed: Mapping[int, int] | None = None,
        relative_gap: float = 0.0,
    ) -> WholeSolution:
        """Return the best solution in whole x but fractions that HiGHS finds, and its bound.

        With variables ``fixed`` to values the bound is about such solutions only.  It may end as
        soon as a solution is so close to the bound as ``relative_gap`` says.

        The bound is HiGHS's own, less a ten-millionth for its tolerances, rounded up to what sums
        of costs can be.  HiGHS cannot be stopped: if the clock is, or if it takes much longer than
        it may, it is left to itself, and the bound is 0.
        """
        work = partial(
            mathopt.solve,
            self._whole_model(fixed or {}),
            mathopt.SolverType.HIGHS,
            params=mathopt.SolveParameters(
                time_limit=timedelta(seconds=max(0.01, _HIGHS_SHARE * seconds)),
                relative_gap_tolerance=relative_gap,
            ),
        )
        result = run_watched(work, clock, None, seconds=seconds)
        if not isinstance(result, mathopt.SolveResult):
            return WholeSolution(0, None)
        bound = result.termination.objective_bounds.dual_bound * self._cost_scale
        if not math.isfinite(bound):
            bound = 0.0
        unit = math.gcd(*self.costs) or 1
        proved = max(0, unit * math.ceil((bound - TOLERANCE * max(1.0, abs(bound))) / unit))
        if not result.solutions:
            return WholeSolution(proved, None)
        return WholeSolution(proved, tuple(result.variable_values().values()))

    def cost(self, values: Sequence[float]) -> int:
        """Return what values cost that are whole but for a solver's tolerances."""
        return sum(cost * round(x) for cost, x in zip(self.costs, values, strict=True) if cost)

    @property
    def _cost_scale(self) -> float:
        return max((abs(cost) for cost in self.costs), default=0) / _LARGEST_COST or 1.0

    def _whole_model(self, fixed: Mapping[int, int]) -> mathopt.Model:
        count = len(self.costs)
        proto = model_pb2.ModelProto()
        variables, rows = proto.variables, proto.linear_constraints
        variables.ids.extend(range(count))
        variables.lower_bounds.extend(float(fixed.get(index, 0)) for index in range(count))
        variables.upper_bounds.extend(float(fixed.get(index, 1)) for index in range(count))
        variables.integers.extend(index not in self.fractions for index in range(count))
        paid = [index for index, cost in enumerate(self.costs) if cost]
        proto.objective.linear_coefficients.ids.extend(paid)
        scale = self._cost_scale
        proto.objective.linear_coefficients.values.extend(self.costs[i] / scale for i in paid)
        rows.ids.extend(range(len(self.rows)))
        rows.upper_bounds.extend([math.inf] * len(self.rows))
        # HiGHS's tolerance is absolute: factors of one order keep it from asking too much.
        scales = [max((abs(f) for _, f in terms), default=0) or 1 for terms, _ in self.rows]
        rows.lower_bounds.extend(
            bound / scale for (_, bound), scale in zip(self.rows, scales, strict=True)
        )
        matrix = proto.linear_constraint_matrix
        for number, ((terms, _), scale) in enumerate(zip(self.rows, scales, strict=True)):
            used = sorted(term for term in terms if term[1])
            matrix.row_ids.extend([number] * len(used))
            matrix.column_ids.extend(index for index, _ in used)
            matrix.coefficients.extend(factor / scale for _, factor in used)
        return mathopt.Model.from_model_proto(proto)

    def multipliers(self, seconds: float, clock: Clock) -> list[float]:
        """Return GLOP's multipliers of the rows, as they are; zeros if it is not done in time."""
        status, found, _ = _multipliers(self.model(whole=False), seconds, clock)
        if status == model_builder.SolveStatus.INFEASIBLE:
            status, found, broken = _multipliers(self._breakable_model(), seconds, clock)
            if status in _SOLVED and broken > _LEAST_BROKEN:
                factor = 2.0 * (1 + sum(abs(cost) for cost in self.costs)) / broken
                return [factor * y for y in found]
        scale = self._cost_scale
        return [scale * y for y in found] if status in _SOLVED else [0.0] * len(self.rows)

    def _breakable_model(self) -> model_builder.Model:
        """Return a program whose rows may be broken, each in proportion to its largest factor.

        It costs how much they are.
        """
        model = self.model(whole=False)
        helper = model.helper
        for index in range(len(self.costs)):
            helper.set_var_objective_coefficient(index, 0.0)
        for row, (terms, _) in enumerate(self.rows):
            index = helper.add_var()
            helper.set_var_lower_bound(index, 0.0)
            helper.set_var_upper_bound(index, float("inf"))
            helper.set_var_objective_coefficient(index, 1.0)
            largest = max((abs(factor) for _, factor in terms), default=0) or 1
            helper.add_term_to_constraint(row, index, float(largest))
        return model

    def model(self, *, whole: bool) -> model_builder.Model:
        """Return the program for OR-Tools; ``whole``: in whole variables but fractions."""
        model = model_builder.Model()  # type: ignore[no-untyped-call]  # ortools has no types here
        helper, scale = model.helper, self._cost_scale
        for cost in self.costs:
            index = helper.add_var()
            helper.set_var_lower_bound(index, 0.0)
            helper.set_var_upper_bound(index, 1.0)
            helper.set_var_integrality(index, whole and index not in self.fractions)
            # GLOP gives up where numbers are of very different orders.
            helper.set_var_objective_coefficient(index, cost / scale)
        for terms, bound in self.rows:
            row = helper.add_linear_constraint()
            helper.set_constraint_lower_bound(row, float(bound))
            helper.set_constraint_upper_bound(row, float("inf"))
            for variable, factor in terms:
                helper.add_term_to_constraint(row, variable, float(factor))
        return model


def _multipliers(
    model: model_builder.Model, seconds: float, clock: Clock
) -> tuple[model_builder.SolveStatus | None, list[float], float]:
    """Return GLOP's status; with a solution its multipliers of the rows, and its cost, too."""
    solver = model_builder.Solver("glop")
    solver.set_time_limit_in_seconds(max(0.01, seconds))
    status = run_watched(partial(solver.solve, model), clock, solver.stop_search)
    if status not in _SOLVED:
        return status, [], 0.0
    found = [float(y) for y in solver.dual_values(model.get_linear_constraints())]
    return status, found, solver.objective_value
