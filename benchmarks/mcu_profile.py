"""Where the instructions of a step go: by kind of operation, and the most expensive operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from benchmarks.table import markdown_table
from memplan.ir.blocks import block_cost
from memplan.ir.graph import Alternative, Operation, OpGraph
from memplan.ir.plan import Plan

__all__ = ["profile"]

#: How many single operations are listed.
LISTED = 10


def profile(graph: OpGraph, plan: Plan, instructions: Sequence[int]) -> str:
    """Return two Markdown tables.

    Args:
        instructions: of each step of one batch, all trips of the body one after another.
    """
    steps = [*plan.prologue, *plan.trips * plan.body, *plan.epilogue]
    spent: Counter[tuple[str, str]] = Counter()
    macs: Counter[tuple[str, str]] = Counter()
    for step, count in zip(steps, instructions, strict=True):
        operation, alternative = _chosen(graph, step.operation, step.alternative)
        key = (alternative.target, step.operation)
        spent[key] += count
        mask = plan.update_of
        macs[key] += block_cost(graph, operation, alternative, plan.micro_batch, mask)[0]
    total = sum(spent.values())
    kinds = _table("kind", lambda key: key[0], spent, macs, total, len(spent))
    operations = _table("operation", lambda key: key[1], spent, macs, total, LISTED)
    return f"{kinds}\n\n{operations}"


def _chosen(graph: OpGraph, name: str, way: str) -> tuple[Operation, Alternative]:
    operation = graph.operation[name]
    return operation, next(each for each in operation.alternatives if each.name == way)


def _table(
    what: str,
    group_of: Callable[[tuple[str, str]], str],
    spent: Counter[tuple[str, str]],
    macs: Counter[tuple[str, str]],
    total: int,
    most: int,
) -> str:
    instructions: Counter[str] = Counter()
    work: Counter[str] = Counter()
    for key, count in spent.items():
        instructions[group_of(key)] += count
        work[group_of(key)] += macs[key]
    rows = [
        [
            name,
            f"{count:,}",
            f"{100 * count / total:.1f} %",
            f"{work[name]:,}",
            f"{count / work[name]:.1f}" if work[name] else "-",
        ]
        for name, count in instructions.most_common(most)
    ]
    return markdown_table((what, "instructions", "share", "MACs", "per MAC"), rows)
