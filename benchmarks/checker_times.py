"""How long ``ir.check`` takes for plans of many steps."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from benchmarks.planners.instances import layered
from benchmarks.planners.ours import as_graph, as_request
from benchmarks.table import markdown_table
from memplan.ir.check import check
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Certificate, Plan
from memplan.solver import solver_version
from memplan.solver.assemble import assemble
from memplan.solver.build_instance import build_instance
from memplan.solver.levels import Proof, certify_levels
from memplan.solver.schedule import Table
from memplan.solver.scheduling.greedy import Exponents, evict_and_recompute
from memplan.solver.solution import place

__all__ = ["checker_table", "recomputing_plan"]

OPERATIONS = (2_500, 5_000, 10_000, 20_000)
_PART = 0.7


def checker_table(operations: Sequence[int] = OPERATIONS) -> str:
    """Return CPU seconds per number of operations."""
    rows = []
    for count in operations:
        graph, plan = recomputing_plan(count)
        text = plan.to_json()
        began = time.process_time()
        Plan.from_json(text)
        read = time.process_time()
        report = check(graph, plan)
        checked = time.process_time()
        assert report.accepted
        rows.append(
            [
                f"{count:,}",
                f"{len(plan.body):,}",
                f"{len(plan.buffers):,}",
                f"{read - began:.2f}",
                f"{checked - read:.2f}",
            ]
        )
    return markdown_table(("operations", "steps", "buffers", "read s", "check s"), rows)


def recomputing_plan(operations: int, seed: int = 0) -> tuple[OpGraph, Plan]:
    """Return a layered graph of so many operations, and a plan of one greedy run."""
    problem = layered(operations, seed)
    limit = int(_PART * problem.plain_peak_bytes)
    graph, request = as_graph(problem), as_request(2 * problem.plain_peak_bytes, 1.0)
    table = Table.of(build_instance(graph, request, 1))
    plain = [(operation, 0) for operation in range(problem.count)]
    steps = evict_and_recompute(table, plain, limit, Exponents(), random.Random(seed))
    solution = place(table, plain if steps is None else steps, None, 5.0)
    levels, status = certify_levels(solution.worth, Proof(), lower_bound_bytes=0, choice=False)
    certificate = Certificate(
        status=status,
        levels=levels,
        lower_bound_bytes=0,
        restrictions=(),
        solver=solver_version(),
        graph_hash=graph.content_hash(),
        request_hash=request.content_hash(),
        checked_by="memplan.ir.check/1",
    )
    return graph, assemble(solution, certificate)
