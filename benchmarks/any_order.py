"""How close the bound for plans of every order comes to plans, and what it takes.

    python -m benchmarks.any_order [--instances chain-80-0,layered-200-4] [--parts 0.7,0.5]

Each instance is planned; then the least time of every plan is bounded without memory (the linear
bound), and by the bound of every order alone, until it meets the plan or has nothing left to try.
The gaps of the plan's total time go to docs/solver.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import measured_by
from benchmarks.planners.instances import chain, layered
from benchmarks.planners.ours import as_graph, as_request
from benchmarks.planners.problem import Problem
from benchmarks.sections import write_section
from benchmarks.table import markdown_table
from memplan.solver import solve
from memplan.solver.build_instance import build_instance
from memplan.solver.clock import WALL
from memplan.solver.relaxation.any_order_bound import AnyOrderBound
from memplan.solver.schedule import Table
from memplan.solver.time_bound import linear_time_lower_bound, with_outside

__all__ = ["Bounded", "instance_of", "main", "measure", "table"]

_INSTANCES = "chain-80-0,chain-160-2,chain-250-5,layered-80-3,layered-200-4,layered-500-2"
_KINDS = {"chain": chain, "layered": layered}


class Bounded(NamedTuple):
    """A plan's time, and what is proved of every plan; ``seconds`` of the bound of every order."""

    instance: str
    part: float
    plain_ns: int
    plan_ns: int
    linear_ns: int
    any_order_ns: int
    seconds: float


def instance_of(name: str) -> Problem:
    """Return the instance of a name: kind, operations and seed, as ``layered-200-4``."""
    kind, operations, seed = name.split("-")
    return _KINDS[kind](int(operations), int(seed))


def measure(name: str, part: float, seconds: float) -> Bounded | None:
    """Plan within a part of the plain peak, and bound; None where there is no plan.

    Raises:
        RuntimeError: a bound is above the plan.
    """
    problem = instance_of(name)
    graph = as_graph(problem)
    request = as_request(int(part * problem.plain_peak_bytes), seconds, workers=1)
    answer = solve(graph, request)
    if answer.plan is None:
        return None
    plan_ns = answer.plan.totals.time_ns
    began = time.perf_counter()
    instance = build_instance(graph, request, 1)
    bound = AnyOrderBound(Table.of(instance))
    bound.sharpen(plan_ns, seconds, WALL)
    taken = time.perf_counter() - began
    any_order_ns = with_outside(bound.table, bound.trip_time_ns)
    linear_ns = linear_time_lower_bound(bound.table)
    if max(any_order_ns, linear_ns) > plan_ns:
        raise RuntimeError(f"{name} at {part:g}: a bound of {any_order_ns}, a plan of {plan_ns}")
    return Bounded(name, part, problem.base_cost, plan_ns, linear_ns, any_order_ns, taken)


def table(results: Sequence[Bounded]) -> str:
    """Return one row per instance and budget."""
    header = ("instance", "part of peak", "recomputation", "without", "every order", "seconds")
    rows = [
        [
            one.instance,
            f"{one.part:g}",
            f"{100 * (one.plan_ns / one.plain_ns - 1):.2f} %",
            f"{100 * (1 - one.linear_ns / one.plan_ns):.2f} %",
            f"{100 * (1 - one.any_order_ns / one.plan_ns):.2f} %",
            f"{one.seconds:.2f}",
        ]
        for one in results
    ]
    return markdown_table(header, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the table."""
    options = _parser().parse_args(arguments)
    measure("chain-20-0", 0.7, 2.0)  # machine code is loaded
    results = []
    for name in options.instances:
        for part in options.parts:
            found = measure(name, part, options.seconds)
            print(found or f"{name} at {part:g}: no plan", file=sys.stderr, flush=True)
            results += [] if found is None else [found]
    section = (
        f"{measured_by('any_order', arguments)} "
        f"Plans in at most {options.seconds:g} s, one worker; "
        "the gap of their total time without this bound (the linear one alone) and with it, and "
        f"its seconds.\n\n{table(results)}"
    )
    write_section(options.output, "any-order", section)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="any_order", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--instances", type=lambda text: text.split(","), default=_INSTANCES)
    parser.add_argument(
        "--parts", type=lambda text: [float(part) for part in text.split(",")], default="0.7,0.5"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each plan and bound")
    parser.add_argument("--output", type=Path, default=Path("docs/solver.md"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
