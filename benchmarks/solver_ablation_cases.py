"""The questions that the ablation of the solver asks: each technique matters to some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from benchmarks.joint_vs_sequential import trace_example
from benchmarks.planners.instances import chain, layered
from benchmarks.planners.ours import as_graph, as_request
from benchmarks.planners.problem import Problem
from benchmarks.planners.torch_graphs import traced
from examples.catalogue import Example, example
from memplan.ir.baseline import baseline_bytes
from memplan.ir.graph import OpGraph
from memplan.ir.request import PlanRequest
from memplan.solver.bounds import lower_bound
from memplan.solver.build_instance import build_instance

__all__ = ["CASES", "Case", "example_case", "problem_case", "step_case"]


@dataclass(frozen=True, slots=True)
class Case:
    """A graph and a request, without its time limit."""

    name: str
    graph: OpGraph
    request: PlanRequest


def problem_case(problem: Problem, part: float) -> Case:
    """Recomputation, order and addresses, at a part of the peak of the plain order."""
    request = as_request(int(part * problem.plain_peak_bytes), 1.0, workers=1)
    return Case(f"{problem.name} at {part:g}", as_graph(problem), request)


def _below_the_bound(problem: Problem) -> Case:
    """A budget of one byte less than every plan needs."""
    graph = as_graph(problem)
    least = lower_bound(build_instance(graph, as_request(1, 1.0), 1)).bytes
    request = as_request(least - 1, 1.0, workers=1)
    return Case(f"{problem.name} below its bound", graph, request)


def example_case(name: str, part: float, update: str) -> Case:
    """A training step of an example, at a part of the peak of the plain full update."""
    return step_case(example(name), part, update)


def step_case(entry: Example, part: float, update: str) -> Case:
    """The same of any network."""
    graph, name = trace_example(entry), entry.name
    budget = int(part * baseline_bytes(graph, graph.traced_batch))
    request = PlanRequest.model_validate(
        {"budget_bytes": budget, "batch": graph.traced_batch, "update": update, "workers": 1}
    )
    return Case(f"{name}, {update} update, at {part:g}", graph, request)


def _chain(operations: int, part: float) -> Case:
    return problem_case(chain(operations, 0), part)


def _layered(operations: int, seed: int, part: float) -> Case:
    return problem_case(layered(operations, seed), part)


#: By short name; tracing and drawing take place when a case is made.
CASES: Mapping[str, Callable[[], Case]] = {
    "chain-20": partial(_chain, 20, 0.6),
    "chain-40": partial(_chain, 40, 0.5),
    "chain-80": partial(_chain, 80, 0.5),
    "layered-20": partial(_layered, 20, 1, 0.7),
    "layered-40": partial(_layered, 40, 2, 0.6),
    "layered-200": partial(_layered, 200, 4, 0.6),
    "chain-80-tight": partial(_chain, 80, 0.18),
    "layered-200-tight": partial(_layered, 200, 4, 0.3),
    "infeasible": lambda: _below_the_bound(layered(40, 2)),
    "resnet8": partial(example_case, "resnet8", 0.18, "auto"),
    "ds-cnn": partial(example_case, "ds-cnn", 0.3, "full"),
    "mbv2-w0.35": partial(example_case, "mbv2-w0.35", 0.25, "auto"),
    "mcunet-5fps": partial(example_case, "mcunet-5fps", 0.1, "auto"),
    "mobilenet-v2-auto": partial(example_case, "mobilenet-v2", 0.02, "auto"),
    "densenet121": partial(example_case, "densenet121", 0.5, "full"),
    "bert-mini": partial(example_case, "bert-mini", 0.7, "full"),
    "unet": partial(example_case, "unet", 0.6, "full"),
    "mobilenet-v2": partial(example_case, "mobilenet-v2", 0.6, "full"),
    "lstm-32": lambda: problem_case(traced("lstm-32").problem, 0.8),
}
