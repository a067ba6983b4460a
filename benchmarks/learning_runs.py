"""Ways of adapting the network, planned, exported as C, and run on this machine."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.learning_network import Rates, Subject
from memplan.clients import pipeline
from memplan.clients.executors.c.host import HostResult, build_host, run_host
from memplan.clients.executors.c.values import first_values
from memplan.clients.export.c import Project, write_project
from memplan.ir.check import require
from memplan.ir.errors import PlanRejectedError
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.ir.request import LayerUpdate

__all__ = [
    "BIASES",
    "BIASES_AND_HEAD",
    "BUDGET",
    "FLOAT",
    "FULL",
    "HEAD",
    "PLANNED",
    "Learner",
    "Method",
    "Prepared",
    "plan_for",
]

BUDGET = "256KB"
#: More than any plan of this network needs.
_PLENTY = "4MB"
#: The rate of the graph that is planned; plans hold for all rates.
_PLANNED_RATES = Rates(0.01)


@dataclass(frozen=True, slots=True)
class Method:
    """What is updated; without ``update``: all biases, and the head's weight."""

    name: str
    update: pipeline.Word | None = None
    budget: str = BUDGET
    int8: bool = True

    def mask(self, graph: OpGraph) -> pipeline.Update:
        """Return what to ask the planner for."""
        if self.update is not None:
            return self.update
        *layers, head = graph.layers
        biases = (LayerUpdate(layer=layer.id, bias=True) for layer in layers if layer.bias)
        return (*biases, LayerUpdate(layer=head.id, bias=True, weight="whole"))


HEAD = Method("head only", "last-layer")
BIASES = Method("biases only", "bias")
BIASES_AND_HEAD = Method("biases and head")
PLANNED = Method(f"planned for {BUDGET}", "auto")
FULL = Method("everything", "full", _PLENTY)
FLOAT = Method("everything, in float32", "full", _PLENTY, int8=False)


def plan_for(subject: Subject, method: Method, seconds: float) -> Plan:
    """Plan one training step at batch 1.

    Args:
        seconds: of the search, in deterministic time.

    Raises:
        PlanRejectedError: no plan is found.
    """
    graph = subject.graph(_PLANNED_RATES, int8=method.int8)
    options = pipeline.RequestOptions(
        budget=method.budget,
        batch=1,
        update=method.mask(graph),
        time_limit_seconds=seconds,
        deterministic=True,
        workers=1,
    )
    answer = pipeline.solve(graph, pipeline.build_request(graph, options))
    if answer.plan is None:
        raise PlanRejectedError(f"{method.name}: no plan within {method.budget} was found")
    return answer.plan


class Learner:
    """A plan as a program of this machine.

    Neither learning rates nor the scaling of steps have a part in what a plan decides: one plan
    serves them all, and the checker confirms it for each.
    """

    def __init__(self, subject: Subject, method: Method, plan: Plan, folder: Path) -> None:
        self.subject = subject
        self.method = method
        self.plan = plan
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)

    def prepared(self, rates: Rates, *, aware: bool = True) -> Prepared:
        """Export with these learning rates.

        Raises:
            ModelError: an operation has no kernel.
        """
        graph = self.subject.graph(rates, int8=self.method.int8, aware=aware)
        certificate = self.plan.certificate.model_copy(update={"graph_hash": graph.content_hash()})
        plan = self.plan.model_copy(update={"certificate": certificate})
        require(graph, plan)
        weights = self.subject.weights(graph)
        fresh = self.folder.with_name(f"{self.folder.name}.fresh")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.parent.mkdir(parents=True, exist_ok=True)
        project = write_project(graph, plan, first_values(graph, plan, weights), fresh)
        digest = hashlib.sha256()
        for name in project.files:
            content = (fresh / name).read_bytes()
            digest.update(content)
            _replace(self.folder / name, content)
        shutil.rmtree(fresh)
        return Prepared(
            self.subject, graph, plan, weights, project, self.folder, digest.hexdigest()
        )


@dataclass(frozen=True)
class Prepared:
    """A project that trains, with all that its results are compared with.

    Attributes:
        digest: of all files of the project: equal ones compute the same.
    """

    subject: Subject
    graph: OpGraph
    plan: Plan
    weights: dict[str, torch.Tensor]
    project: Project
    folder: Path
    digest: str

    def batches(self, images: Sequence[int]) -> list[dict[str, torch.Tensor]]:
        """Return what each step is given: one image and its label."""
        data = self.subject.data
        ids = {t.role: t.id for t in self.graph.tensors if t.role in ("input", "label")}
        return [
            {ids["input"]: data.images[i : i + 1], ids["label"]: data.labels[i : i + 1]}
            for i in images
        ]

    def run(self, images: Sequence[int]) -> HostResult:
        """Build, and train on images one after the other, from the pre-trained weights.

        Raises:
            HostError: the project does not build or run.
        """
        ids = (self.project.input_ids, self.project.parameter_ids, self.project.output_ids)
        program = build_host(self.folder)
        batches = self.batches(images)
        return run_host(program, self.graph, self.plan, ids, self.weights, batches)


def _replace(target: Path, content: bytes) -> None:
    """Write a file, unless it has these bytes: make goes by the times of files."""
    if not target.is_file() or target.read_bytes() != content:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
