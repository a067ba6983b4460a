"""Inputs whose rows the main program gives while a step runs: they have no bytes in the arena."""

from __future__ import annotations

from collections.abc import Sequence

from memplan.clients.export.c.names import quoted
from memplan.clients.export.c.views import ITEM_BYTES
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.ir.row_strips import INPUT_ROWS, ROW_STRIPS, read_program

__all__ = ["stream_table", "streamed_inputs"]


def streamed_inputs(graph: OpGraph, plan: Plan) -> tuple[str, ...]:
    """Return the inputs that steps of a plan ask for row by row, in the order of first use."""
    names: dict[str, None] = {}
    for step in plan.steps:
        for alternative in graph.operation[step.operation].alternatives:
            if alternative.name == step.alternative and alternative.target == ROW_STRIPS:
                for entry in read_program(alternative.arguments):
                    if entry.target == INPUT_ROWS:
                        names.setdefault(entry.arguments[0])
    return tuple(names)


def stream_table(graph: OpGraph, names: Sequence[str]) -> list[str]:
    """Return the C tables of these inputs."""
    rows = []
    for name in names:
        tensor = graph.tensor[name]
        channels, height, width = (size.fixed for size in tensor.shape[1:])
        row_bytes = width * ITEM_BYTES[tensor.dtype]
        rows.append(f"    {{{quoted(name)}, {channels}, {height}, {row_bytes}}},")
    return [
        "const struct memplan_stream memplan_streams[] = {",
        *(rows or ['    {"", 0, 0, 0},']),  # C has no empty arrays
        "};",
        f"const uint32_t memplan_stream_count = {len(names)};",
    ]
