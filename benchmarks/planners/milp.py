"""Mixed-integer programs on HiGHS, which OR-Tools carries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from ortools.linear_solver.python import model_builder
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

__all__ = ["Milp", "MilpAnswer"]

MilpStatus = Literal["optimal", "feasible", "infeasible", "undecided"]

_STATUS: dict[object, MilpStatus] = {
    model_builder.SolveStatus.OPTIMAL: "optimal",
    model_builder.SolveStatus.FEASIBLE: "feasible",
    model_builder.SolveStatus.INFEASIBLE: "infeasible",
}


@dataclass(frozen=True)
class MilpAnswer:
    """What HiGHS found; ``values`` are None without a solution, ``bound`` without a proved one."""

    status: MilpStatus
    values: NDArray[np.float64] | None
    bound: float | None


@dataclass
class Milp:
    """Minimize; variables and rows are added one by one."""

    costs: list[float] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    whole: list[bool] = field(default_factory=list)
    row_lower: list[float] = field(default_factory=list)
    row_upper: list[float] = field(default_factory=list)
    starts: list[int] = field(default_factory=lambda: [0])
    columns: list[int] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)

    def variable(
        self, cost: float = 0.0, lower: float = 0.0, upper: float = 1.0, *, whole: bool = True
    ) -> int:
        """Add a variable; return its number."""
        self.costs.append(cost)
        self.lower.append(lower)
        self.upper.append(upper)
        self.whole.append(whole)
        return len(self.costs) - 1

    def row(self, terms: Sequence[tuple[int, float]], lower: float, upper: float) -> None:
        """Add ``lower <= sum of factor * variable <= upper``."""
        for column, factor in terms:
            self.columns.append(column)
            self.factors.append(factor)
        self.starts.append(len(self.columns))
        self.row_lower.append(lower)
        self.row_upper.append(upper)

    def at_most(self, terms: Sequence[tuple[int, float]], upper: float) -> None:
        """Add ``sum of factor * variable <= upper``."""
        self.row(terms, -math.inf, upper)

    def solve(self, seconds: float, *, relaxed: bool = False) -> MilpAnswer:
        """Run HiGHS; ``relaxed`` leaves integrality out."""
        if seconds <= 0:
            return MilpAnswer("undecided", None, None)
        model = model_builder.Model()  # type: ignore[no-untyped-call]  # ortools has no types here
        shape = (len(self.row_lower), len(self.costs))
        vectors = (self.lower, self.upper, self.costs, self.row_lower, self.row_upper)
        matrix = csr_matrix((self.factors, self.columns, self.starts), shape=shape)
        # Its stub says ndarray[float64, ...], which no array is.
        fill: Any = model.helper.fill_model_from_sparse_data
        fill(*(np.array(vector, dtype=np.float64) for vector in vectors), matrix)
        if not relaxed:
            for index, whole in enumerate(self.whole):
                if whole:
                    model.helper.set_var_integrality(index, True)
        solver = model_builder.Solver("highs")
        solver.set_solver_specific_parameters("output_flag=false\nmip_rel_gap=1e-7")
        solver.set_time_limit_in_seconds(seconds)
        status = _STATUS.get(solver.solve(model), "undecided")
        values = None
        if status in ("optimal", "feasible"):
            values = np.asarray(solver.values(model.get_variables()), dtype=np.float64)
        bound: float | None = None
        if values is not None:  # without a solution OR-Tools hands on no bound
            exact = relaxed and status == "optimal"
            reached = float(solver.objective_value if exact else solver.best_objective_bound)
            bound = reached if math.isfinite(reached) else None
        return MilpAnswer(status, values, bound)
