"""Projects of small networks, and runs of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from memplan.clients.executors.c.host import HostResult, Variant, build_host, run_host
from memplan.clients.executors.c.values import first_values
from memplan.clients.export.c import Project, write_project
from memplan.clients.export.c.calls import CALLS
from memplan.clients.export.c.calls.elementwise import EXPRESSIONS
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from tests.clients.executors.training import Traced, traced
from tests.support.int8_networks import Quantized

__all__ = ["Exported", "export", "with_kernels"]


@cache
def with_kernels(name: str, optimizer: Any = "sgd", mode: Any = "train") -> Traced:
    """Trace one of the shared small models, without alternatives that have no C kernel."""
    model = traced(name, optimizer, mode=mode)
    operations = tuple(
        operation.model_copy(
            update={
                "alternatives": operation.alternatives[:1]
                + tuple(
                    way
                    for way in operation.alternatives[1:]
                    if way.target in CALLS or way.target in EXPRESSIONS
                )
            }
        )
        for operation in model.graph.operations
    )
    return replace(model, graph=model.graph.model_copy(update={"operations": operations}))


@dataclass(frozen=True)
class Exported:
    """A project with what it was made of."""

    graph: OpGraph
    plan: Plan
    weights: dict[str, torch.Tensor]
    project: Project

    def run(
        self, batches: Sequence[Mapping[str, torch.Tensor]], variant: Variant = "host"
    ) -> HostResult:
        """Build a variant and run it."""
        program = build_host(self.project.folder, variant)
        ids = (self.project.input_ids, self.project.parameter_ids, self.project.output_ids)
        return run_host(program, self.graph, self.plan, ids, self.weights, batches)


def export(traced: Traced | Quantized, plan: Plan, folder: Path) -> Exported:
    """Write the project of a plan."""
    values = first_values(traced.graph, plan, traced.weights)
    project = write_project(traced.graph, plan, values, folder)
    return Exported(traced.graph, plan, dict(traced.weights), project)
