"""The joint choice against choosing one after the other, on every example.

    python -m benchmarks.joint_vs_sequential [--examples resnet8,unet] [--seconds 20]

Every example is planned with an open update mask (``--update auto``), at 1.05 and 1.2 times the
smallest bytes that the sequential way (``benchmarks.sequential``) was found to do: once that way,
once by ``memplan.solver.solve``, with the same time limit.  Every plan on both sides has passed
``ir.check``.  Lines are kept in ``build/`` as they are measured, so that an interrupted run goes on
where it stopped; the table is written from all of them.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comparison import Comparison, Figures, figures
from benchmarks.machine import commit
from benchmarks.page import page
from benchmarks.sections import write_section
from benchmarks.sequential import estimates_of, plan_sequentially, smallest_sequential
from benchmarks.table import summary
from examples.catalogue import EXAMPLES, Example
from memplan.clients import pipeline
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.ir.request import PlanRequest
from memplan.solver import prepare, solve

__all__ = ["compare", "main"]

FACTORS = (1.05, 1.2)
#: A probe of the smallest budget gets this part of the time of a solve.
PROBE_SHARE = 0.25


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is not in the cache yet, and write the table."""
    options = _parser().parse_args(arguments)
    chosen = [entry for entry in EXAMPLES if not options.examples or entry.name in options.examples]
    known = _read(options.cache, options)
    prepare()
    for entry in chosen:
        if all((entry.name, factor) in known for factor in FACTORS):
            _tell(entry.name, "measured before")
            continue
        _tell(entry.name, "tracing")
        graph = trace_example(entry)
        for comparison in compare(
            entry.name, graph, options.seconds, options.seed, options.workers
        ):
            known[comparison.example, comparison.factor] = comparison
            options.cache.parent.mkdir(parents=True, exist_ok=True)
            with options.cache.open("a") as file:
                file.write(comparison.model_dump_json() + "\n")
    rows = [
        known[entry.name, factor]
        for entry in EXAMPLES
        for factor in FACTORS
        if (entry.name, factor) in known
    ]
    command = shlex.join(
        ["python", "-m", "benchmarks.joint_vs_sequential", *(arguments or sys.argv[1:])]
    )
    measured = {row.example for row in rows}
    missing = [entry.name for entry in EXAMPLES if entry.name not in measured]
    write_section(options.output, "joint-vs-sequential", page(rows, command, missing))
    _tell("all", f"{summary(rows)} -> {options.output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="joint_vs_sequential", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--examples", type=lambda text: text.split(","), help="names, separated by commas"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="time limit of each solve")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--cache", type=Path, default=Path("build/joint_vs_sequential.jsonl"))
    return parser


def trace_example(entry: Example) -> OpGraph:
    """Return the graph of one training step of an example, with ranked channels."""
    model = pipeline.load_model(entry.factory)
    options = pipeline.GraphOptions(loss=entry.loss, target=entry.target)
    return pipeline.rank_channels(pipeline.trace_model(model, options, entry.batch), model)


def compare(name: str, graph: OpGraph, seconds: float, seed: int, workers: int) -> list[Comparison]:
    """Return the comparison at each factor; none where the sequential way finds nothing at all."""
    request = PlanRequest(
        budget_bytes=1,
        batch=graph.traced_batch,
        time_limit_seconds=seconds,
        seed=seed,
        workers=workers,
    )
    _tell(name, "estimate")
    estimates = estimates_of(graph, request)
    smallest = smallest_sequential(
        graph,
        request.model_copy(update={"time_limit_seconds": PROBE_SHARE * seconds}),
        estimates,
        lambda message: _tell(name, message),
    )
    if smallest is None:
        _tell(name, "the sequential way found no plan at any budget")
        return []
    comparisons = []
    for factor in FACTORS:
        budget = int(factor * smallest.arena_bytes)
        asked = request.model_copy(update={"budget_bytes": budget})
        began = time.monotonic()
        found = plan_sequentially(graph, asked, estimates)
        sequential = _best([plan for plan in (found, *smallest.plans) if plan], budget)
        sequential_figures = figures(sequential, time.monotonic() - began)
        _tell(name, f"{factor}x sequential: {_brief(sequential_figures)}")
        began = time.monotonic()
        answer = solve(graph, asked)
        joint_figures = figures(answer.plan, time.monotonic() - began)
        _tell(name, f"{factor}x joint:      {_brief(joint_figures)}")
        comparisons.append(
            Comparison(
                example=name,
                factor=factor,
                budget_bytes=budget,
                smallest_sequential_bytes=smallest.arena_bytes,
                lower_bound_bytes=answer.lower_bound_bytes,
                sequential=sequential_figures,
                joint=joint_figures,
                seconds_limit=seconds,
                seed=seed,
                workers=workers,
                commit=commit(),
            )
        )
    return comparisons


def _best(plans: Sequence[Plan], budget_bytes: int) -> Plan | None:
    """Return the best plan within the budget: importance first, then time, then bytes."""
    return max(
        (plan for plan in plans if plan.totals.arena_bytes <= budget_bytes),
        key=lambda p: (p.totals.importance, -p.totals.time_ns, -p.totals.arena_bytes),
        default=None,
    )


def _read(path: Path, options: argparse.Namespace) -> dict[tuple[str, float], Comparison]:
    """Return the lines of the cache that were measured with the same settings."""
    if not path.is_file():
        return {}
    lines = [Comparison.model_validate_json(line) for line in path.read_text().splitlines() if line]
    settings = (options.seconds, options.seed, options.workers)
    return {
        (line.example, line.factor): line
        for line in lines
        if (line.seconds_limit, line.seed, line.workers) == settings
    }


def _brief(found: Figures) -> str:
    if not found.fits:
        return f"no plan, {found.seconds} s"
    return (
        f"importance {100 * found.importance_ratio:.3f} %, {found.time_ns / 1e6:.3g} ms, "
        f"{found.arena_bytes} bytes, micro-batch {found.micro_batch}, "
        f"{found.recomputed_operations} recomputed, {found.seconds} s"
    )


def _tell(name: str, message: str) -> None:
    print(f"{name}: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
