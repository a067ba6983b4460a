"""What runs on the boards: a network, planned, exported, and run on the host in both executors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from memplan.clients import pipeline
from memplan.clients.cli.samples import random_inputs
from memplan.clients.executors.c.host import build_host, run_host
from memplan.clients.executors.c.values import first_values, input_parts
from memplan.clients.executors.torch import ArenaExecutor
from memplan.clients.export.c import Project, write_project
from memplan.ir.check import check
from memplan.ir.errors import PlanRejectedError
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.tracing.weights import build_weights

__all__ = ["CASES", "Case", "Prepared", "prepare"]

#: What the boards' programs take of the RAM beside the arena; the linker has the last word.
STACK_BYTES = 2048
STATIC_BYTES = 1024
#: Granularity of a PMSAv8 MPU: strict mode opens single operands.
ALIGNMENT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Case:
    """A network, and the bytes of RAM that its training step has in total."""

    network: str
    factory: str
    ram_bytes: int = 262_144
    batch: int = 2
    #: Time limit of the solver, in deterministic seconds.
    seconds: float = 8.0
    #: Largest difference from the torch executor, as a part of what the steps change.
    tolerance: float = 1e-3


#: The networks of the table.
CASES = (Case("resnet8", "examples.mlperf_tiny:resnet8"),)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A case, ready for the boards.

    Attributes:
        batches: samples as the program wants them; see ``device.Batch``.
        host_results: results.bin of the host's build.
        loss_error: largest difference of a loss from the torch executor's, relative.
        update_error: the same of an updated parameter after the first step, as a part of its
            largest change.  (Later steps begin with other last digits, and a ReLU near zero then
            opens in one of the two alone.)
    """

    case: Case
    graph: OpGraph
    plan: Plan
    project: Project
    batches: tuple[list[list[bytes]], ...]
    host_results: bytes
    loss_error: float
    update_error: float


def prepare(case: Case, folder: Path, batches: int, tell: Callable[[str], None]) -> Prepared:
    """Plan, export, and run on the host.

    Args:
        folder: the project goes into ``folder/network``.
        batches: how many training steps, each on samples of its own.
        tell: is told what begins.

    Raises:
        MemplanError: there is no plan, no kernel, or no compiler.
    """
    tell(f"{case.network}: plan for {case.ram_bytes:,} B of RAM")
    model = pipeline.load_model(case.factory)
    graph = pipeline.trace_model(model, pipeline.GraphOptions(), case.batch)
    graph = pipeline.rank_channels(graph, model)
    weights = build_weights(graph, model.read_weights)
    plan = _plan(case, graph)

    tell(f"{case.network}: export, and run on this machine")
    folder.mkdir(parents=True, exist_ok=True)
    values = first_values(graph, plan, weights)
    project = write_project(graph, plan, values, folder / case.network, force=True)
    samples = [random_inputs(graph, case.batch, seed) for seed in range(batches)]
    ids = (project.input_ids, project.parameter_ids, project.output_ids)
    program = build_host(project.folder)
    host = run_host(program, graph, plan, ids, weights, samples)
    first = run_host(program, graph, plan, ids, weights, samples[:1])

    executor = ArenaExecutor(graph, plan, weights)
    losses = [float(executor.step(samples[0])[graph.outputs[0]])]
    expected = executor.parameters()
    losses += [float(executor.step(inputs)[graph.outputs[0]]) for inputs in samples[1:]]
    return Prepared(
        case=case,
        graph=graph,
        plan=plan,
        project=project,
        batches=tuple(input_parts(graph, plan, project.input_ids, inputs) for inputs in samples),
        host_results=host.results,
        loss_error=max(
            abs(ours - theirs) / max(abs(theirs), 1e-6)
            for ours, theirs in zip(host.losses, losses, strict=True)
        ),
        update_error=_update_error(weights, first.updated, expected),
    )


def _plan(case: Case, graph: OpGraph) -> Plan:
    options = pipeline.RequestOptions(
        budget=case.ram_bytes - STACK_BYTES - STATIC_BYTES,
        batch=case.batch,
        time_limit_seconds=case.seconds,
        deterministic=True,
    )
    request = pipeline.build_request(graph, options)
    answer = pipeline.solve(graph, request.model_copy(update={"alignment_bytes": ALIGNMENT_BYTES}))
    if answer.plan is None:
        raise PlanRejectedError(
            f"{case.network}: no plan for an arena of {request.budget_bytes:,} B was found; "
            "give more RAM"
        )
    report = check(graph, answer.plan)
    if not report.accepted:
        raise PlanRejectedError(f"{case.network}: the checker rejects the plan: {report}")
    return answer.plan


def _update_error(
    before: Mapping[str, torch.Tensor],
    ours: Mapping[str, torch.Tensor],
    theirs: Mapping[str, torch.Tensor],
) -> float:
    worst = 0.0
    for name, expected in theirs.items():
        change = float((expected - before[name]).abs().max())
        difference = float((ours[name] - expected).abs().max())
        worst = max(worst, difference / change if change else float(difference > 0))
    return worst
