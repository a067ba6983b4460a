"""How far order, recomputation and addresses are solved together, with a proof, as graphs grow.

    python -m benchmarks.every_order [--operations 20,40,60] [--seeds 10] [--parts 0.7,0.5]

Random layered graphs are planned.  Proved is what holds for plans of every order, with any number
of computations.  Beside it stands the least time in the plain order, by a search of its own, where
that ends.  The table goes to docs/solver.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import measured_by
from benchmarks.planners.instances import layered
from benchmarks.planners.ours import as_graph, as_request
from benchmarks.sections import write_section
from benchmarks.table import markdown_table
from memplan.solver import prepare, solve
from memplan.solver.build_instance import build_instance
from memplan.solver.clock import WALL
from memplan.solver.relaxation.line_optimum import LineSearch
from memplan.solver.relaxation.timeline import timeline_of
from memplan.solver.schedule import Table

__all__ = ["Solved", "main", "measure", "table"]

_FIRST_SEED = 100


class Solved(NamedTuple):
    """One graph within a part of the plain peak; without a plan, what the answer was."""

    operations: int
    part: float
    status: str
    seconds: float
    #: Of one plain step; 0 without a plan.
    extra: float
    #: Whether the time is proved the least of every order.
    is_fastest: bool
    #: The least in the plain order; None: it has none, or it was not found.
    extra_in_order: float | None


def measure(operations: int, seed: int, part: float, seconds: float) -> Solved:
    """Plan within a part of the plain peak.

    Raises:
        RuntimeError: what is proved of every order is contradicted by a schedule in plain order.
    """
    problem = layered(operations, seed)
    limit = int(part * problem.plain_peak_bytes)
    began = time.perf_counter()
    answer = solve(as_graph(problem), as_request(limit, seconds, workers=1))
    taken = time.perf_counter() - began
    if answer.plan is None:
        return Solved(operations, part, answer.status, taken, 0.0, False, None)
    time_ns = answer.plan.totals.time_ns
    is_fastest = answer.plan.certificate.lower_bound_time_ns == time_ns
    table = Table.of(build_instance(as_graph(problem), as_request(limit, seconds), 1))
    line = timeline_of(table, [(operation, 0) for operation in range(problem.count)])
    assert line is not None
    along = LineSearch(line, limit, free=True).by_labels(seconds, WALL)
    in_order = None
    if along.closed:
        in_order = along.extra_ns / problem.base_cost
        if is_fastest and along.extra_ns + problem.base_cost < time_ns:
            raise RuntimeError(f"{problem.name} at {part:g}: the plain order takes less time")
    extra = time_ns / problem.base_cost - 1
    return Solved(operations, part, answer.status, taken, extra, is_fastest, in_order)


def table(results: Sequence[Solved]) -> str:
    """Return one row per number of operations and budget."""
    header = (
        "operations", "part of peak", "plans", "none exists", "time proved", "all proved",
        "recomputation", "in plain order", "median s", "most s",
    )  # fmt: skip
    rows = []
    for operations, part in dict.fromkeys((one.operations, one.part) for one in results):
        own = [one for one in results if (one.operations, one.part) == (operations, part)]
        plans = [one for one in own if one.status in ("optimal", "feasible")]
        both = [(p.extra, p.extra_in_order) for p in plans if p.extra_in_order is not None]
        ours, plain = (_mean([pair[side] for pair in both]) for side in (0, 1))
        rows.append(
            [
                str(operations),
                f"{part:g}",
                str(len(plans)),
                str(sum(one.status == "infeasible" for one in own)),
                str(sum(one.is_fastest for one in plans)),
                str(sum(one.status == "optimal" for one in plans)),
                ours,
                plain,
                f"{statistics.median(one.seconds for one in own):.2f}",
                f"{max(one.seconds for one in own):.1f}",
            ]
        )
    return markdown_table(header, rows)


def _mean(parts: Sequence[float]) -> str:
    return f"{100 * statistics.mean(parts):.2f} %" if parts else "-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the table."""
    options = _parser().parse_args(arguments)
    prepare()
    results = []
    for operations in options.operations:
        for part in options.parts:
            for seed in range(_FIRST_SEED, _FIRST_SEED + options.seeds):
                results.append(measure(operations, seed, part, options.seconds))
                print(results[-1], file=sys.stderr, flush=True)
    section = (
        f"{measured_by('every_order', arguments)} "
        f"Random layered graphs, {options.seeds} of each size, "
        f"at most {options.seconds:g} s each, one worker. *Time proved*: no plan of any order "
        "takes less; *all proved*: and none of that time has a smaller arena. *Recomputation*: on "
        "average, of the graphs of which the least time *in plain order* is known, too.\n\n"
        f"{table(results)}"
    )
    write_section(options.output, "every-order", section)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="every_order", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--operations",
        type=lambda text: [int(count) for count in text.split(",")],
        default="20,40,60,80,100",
    )
    parser.add_argument(
        "--parts", type=lambda text: [float(part) for part in text.split(",")], default="0.7,0.5"
    )
    parser.add_argument("--seeds", type=int, default=10, help="graphs of each size")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each plan")
    parser.add_argument("--output", type=Path, default=Path("docs/solver.md"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
