"""A case made ready for the boards: planned, exported, and run on the host in both executors."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.mcu_case import Case, plan_case, trace_case
from memplan.clients import pipeline
from memplan.clients.cli.samples import random_inputs
from memplan.clients.executors.c.agreement import agreement
from memplan.clients.executors.c.device import encode_samples
from memplan.clients.executors.c.host import HostResult, Variant, build_host, run_host
from memplan.clients.executors.c.values import first_values, input_parts
from memplan.clients.executors.torch import ArenaExecutor, run_step
from memplan.clients.export.c import Project, write_project
from memplan.clients.export.c.plan_source import input_names
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.tracing.weights import build_weights

__all__ = ["HostFacts", "Prepared", "prepare"]


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the host's build computed, and how far that is from the torch executor.

    Attributes:
        results: results.bin.
        loss_error: largest difference of a loss, relative.
        update_error: the same of an updated parameter after the first step, as a part of its
            largest change; integers are the same, but for one unit at a tie (``agreement``).
            (Later steps begin with other last digits, and a ReLU near zero then opens in one of
            the two alone.)
        changed: part of the updated elements that the first step changes.
        differing: variants of the host's build that gave other bits.
    """

    results: bytes
    loss_error: float
    update_error: float
    changed: float
    differing: tuple[Variant, ...] = ()

    @property
    def torch_error(self) -> float:
        """The larger of both errors; infinite where one of them is no number."""
        errors = (self.loss_error, self.update_error)
        return max(math.inf if math.isnan(error) else error for error in errors)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A case, ready for the boards.

    Attributes:
        batches: samples as the program wants them; see ``device.Batch``.
    """

    case: Case
    graph: OpGraph
    plan: Plan
    project: Project
    batches: tuple[list[list[bytes]], ...]
    host: HostFacts


def prepare(
    case: Case,
    folder: Path,
    batches: int,
    tell: Callable[[str], None],
    variants: Sequence[Variant] = ("unshared",),
) -> Prepared:
    """Plan, export, and run on the host.

    Args:
        folder: the project goes into ``folder/name``.
        batches: how many training steps, each on samples of its own.
        tell: is told what begins.
        variants: of the host's build; they must give the same bits.

    Raises:
        MemplanError: there is no plan, no kernel, or no compiler, or a sanitizer stops a variant.
    """
    model = pipeline.load_model(case.factory)
    graph = trace_case(case, model)
    weights = build_weights(graph, model.read_weights)
    tell(f"{case.name}: plan for {case.ram_bytes:,} B of RAM")
    began = time.monotonic()
    plan = plan_case(case, graph)
    tell(
        f"{case.name}: an arena of {plan.totals.arena_bytes:,} B after "
        f"{time.monotonic() - began:.0f} s; export, and run on this machine"
    )

    folder.mkdir(parents=True, exist_ok=True)
    samples = [random_inputs(graph, case.batch, seed) for seed in range(batches)]
    parts = [input_parts(graph, plan, input_names(graph, plan), inputs) for inputs in samples]
    project = write_project(
        graph,
        plan,
        first_values(graph, plan, weights),
        folder / case.name,
        samples=encode_samples(parts),
        force=True,
    )

    def run(variant: Variant, batches: Sequence[Mapping[str, torch.Tensor]]) -> HostResult:
        ids = (project.input_ids, project.parameter_ids, project.output_ids)
        return run_host(build_host(project.folder, variant), graph, plan, ids, weights, batches)

    host, first = run("host", samples), run("host", samples[:1])
    differing = tuple(
        variant for variant in variants if run(variant, samples).results != host.results
    )
    expected = run_step(graph, plan, weights, samples[0], measure_scratch=False)
    return Prepared(
        case=case,
        graph=graph,
        plan=plan,
        project=project,
        batches=tuple(parts),
        host=HostFacts(
            results=host.results,
            loss_error=_loss_error(host, graph, plan, weights, samples),
            update_error=agreement(graph, weights, first, expected).worst_error,
            changed=_changed(first.updated, weights),
            differing=differing,
        ),
    )


def _loss_error(
    host: HostResult,
    graph: OpGraph,
    plan: Plan,
    weights: Mapping[str, torch.Tensor],
    samples: list[dict[str, torch.Tensor]],
) -> float:
    executor = ArenaExecutor(graph, plan, weights)
    losses = [float(executor.step(inputs)[graph.outputs[0]]) for inputs in samples]
    return max(
        abs(ours - theirs) / max(abs(theirs), 1e-6)
        for ours, theirs in zip(host.losses, losses, strict=True)
    )


def _changed(after: Mapping[str, torch.Tensor], before: Mapping[str, torch.Tensor]) -> float:
    changed = sum(int((value != before[name]).sum()) for name, value in after.items())
    return changed / max(1, sum(value.numel() for value in after.values()))
