"""The steps that are planned again: shared families, published networks, and examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from benchmarks.planners.instances import chain, layered
from benchmarks.planners.torch_graphs import traced
from benchmarks.solver_ablation_cases import Case, example_case, problem_case, step_case
from examples.catalogue import Example

__all__ = ["CASES"]


def _chain(operations: int, seed: int, part: float) -> Case:
    return problem_case(chain(operations, seed), part)


def _layered(operations: int, seed: int, part: float) -> Case:
    return problem_case(layered(operations, seed), part)


def _network(name: str, part: float) -> Case:
    return problem_case(traced(name).problem, part)


#: At 110 KB; at a tenth less nothing near the stored plan fits.
_CONCATENATION = Example("concatenation", "benchmarks.small_networks:concatenation", batch=4)

#: By name; each with the budget of the plan that is stored.
CASES: Mapping[str, Callable[[], Case]] = {
    "chain-40": partial(_chain, 40, 0, 0.5),
    "chain-80": partial(_chain, 80, 0, 0.5),
    "layered-80": partial(_layered, 80, 3, 0.5),
    "layered-200": partial(_layered, 200, 4, 0.5),
    "layered-500": partial(_layered, 500, 5, 0.5),
    "mobilenet-v2-224": partial(_network, "mobilenet-v2-224", 0.5),
    "resnet50-224": partial(_network, "resnet50-224", 0.5),
    "bert-small-128": partial(_network, "bert-small-128", 0.5),
    "concatenation-auto": partial(step_case, _CONCATENATION, 0.2, "auto"),
    "resnet8-auto": partial(example_case, "resnet8", 0.25, "auto"),
    "unet-auto": partial(example_case, "unet", 0.3, "auto"),
    "resnet18-auto": partial(example_case, "resnet18", 0.3, "auto"),
    "mbv2-w0.35-auto": partial(example_case, "mbv2-w0.35", 0.25, "auto"),
    "unet-full": partial(example_case, "unet", 0.6, "full"),
    "resnet18-full": partial(example_case, "resnet18", 0.8, "full"),
    "bert-mini-full": partial(example_case, "bert-mini", 0.65, "full"),
}
