"""Blocks whose backward runs channel by channel, against autograd and against the plain step."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn

from examples.mcunet import Block, InvertedResidual
from memplan.clients.executors.torch import autograd_step, compare, run_step
from memplan.ir.answer import Answer
from memplan.ir.channel_strips import CHANNEL_STRIPS
from memplan.ir.check import check
from memplan.ir.errors import GraphError
from memplan.ir.graph import Alternative, OpGraph
from memplan.ir.plan import Plan
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.ir.units import Affine
from memplan.solver import solve
from memplan.tracing.settings import TraceSettings
from tests.clients.executors.bodies import block_body
from tests.clients.executors.training import (
    Traced,
    against_autograd,
    full_mask,
    random_inputs,
    random_mask,
    random_plan,
    traced_module,
)
from tests.support.int8_networks import Residual, quantized
from tests.support.models import randomise
from tests.support.naive_plan import naive_plan

Optimizer = Literal["sgd", "momentum", "adam"]

SLICE = LayerUpdate(layer="2.layers.0", weight="input", channels=(0, 3), bias=True)
BIASES = tuple(
    LayerUpdate(layer=f"{block}.layers.{index}", bias=True)
    for block in (2, 3)
    for index in (0, 2, 4)
)
MASKS = {
    "biases": (*BIASES, LayerUpdate(layer="0", bias=True)),
    "slice": (
        LayerUpdate(layer="0", weight="whole", bias=True),
        SLICE,
        *(update for update in BIASES if update.layer != SLICE.layer),
        LayerUpdate(layer="6", weight="whole", bias=True),
    ),
    "one depthwise bias": (LayerUpdate(layer="0", bias=True), BIASES[1]),
}


def network(optimizer: Optimizer = "sgd", kernel: int = 5) -> Traced:
    module = nn.Sequential(
        nn.Conv2d(2, 4, 1), nn.ReLU6(), InvertedResidual(Block(4, 3, 4, kernel, 1, True)),
        InvertedResidual(Block(4, 5, 6, 3, 2, False)),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip
    settings = TraceSettings(batch=3, learning_rate=0.05, optimizer=optimizer)
    inputs = {"x": torch.zeros(2, 2, 9, 8)}
    return traced_module(randomise(module).eval(), inputs, settings, 3)


def blocks_of(graph: OpGraph, plan: Plan) -> dict[str, Alternative]:
    """Return the channel strips that a plan takes, by operation."""
    found = {}
    for step in plan.body:
        operation = graph.operation[step.operation]
        way = next(way for way in operation.alternatives if way.name == step.alternative)
        if way.target == CHANNEL_STRIPS:
            found[operation.id] = way
    return found


def block_plan(graph: OpGraph, mask: tuple[LayerUpdate, ...], batch: int, micro_batch: int) -> Plan:
    """Return a plan that takes the strips of every block, with all that they can cover."""
    asked = PlanRequest(budget_bytes=2**40, batch=batch, update=mask, compute_limit=None)
    body = block_body(graph, mask, batch // micro_batch)
    plan = naive_plan(
        graph, asked, mask, micro_batch=micro_batch, body=body, reuse=True, in_place=True
    )
    report = check(graph, plan)
    assert report.accepted, report
    return plan


@pytest.mark.parametrize("mask_name", ["full", *MASKS])
@pytest.mark.parametrize(("batch", "micro_batch"), [(1, 1), (3, 3), (3, 1)])
def test_blocks_in_strips_train_as_autograd_does(
    mask_name: str, batch: int, micro_batch: int
) -> None:
    case = network()
    mask = MASKS.get(mask_name) or full_mask(case.graph)
    graph = case.graph
    plan = block_plan(graph, mask, batch, micro_batch)
    covered = [name for way in blocks_of(graph, plan).values() for name in way.covers]
    assert len(blocks_of(graph, plan)) == 2
    assert len(covered) == {"full": 6, "biases": 4, "slice": 5, "one depthwise bias": 0}[mask_name]
    inputs = random_inputs(graph, batch, classes=3)
    result, verdict = against_autograd(graph, plan, case.weights, inputs, steps=2)
    assert verdict.ok, verdict
    assert all(name not in {step.operation for step in plan.body} for name in covered)
    assert result.gradients is not None


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_other_optimizers_in_strips(optimizer: Optimizer) -> None:
    case = network(optimizer)
    mask = full_mask(case.graph)
    graph = case.graph
    plan = block_plan(graph, mask, 3, 3)
    assert all(len(way.covers) == 3 for way in blocks_of(graph, plan).values())
    inputs = random_inputs(graph, 3, classes=3)
    _, verdict = against_autograd(graph, plan, case.weights, inputs, steps=2)
    assert verdict.ok, verdict


@pytest.mark.parametrize("seed", range(6))
def test_any_mixture_trains_as_autograd_does(seed: int) -> None:
    case = network(kernel=7)
    mask = random_mask(case.graph, seed)
    plan = random_plan(case.graph, 3, 3 if seed % 2 else 1, mask, seed=seed)
    inputs = random_inputs(case.graph, 3, classes=3)
    _, verdict = against_autograd(case.graph, plan, case.weights, inputs)
    assert verdict.ok, verdict


def test_a_tight_plan_takes_the_strips() -> None:
    case = network()
    mask = MASKS["slice"]

    def solved(graph: OpGraph, budget: int) -> Answer:
        asked = PlanRequest(budget_bytes=budget, batch=1, update=mask, time_limit_seconds=3.0)
        return solve(graph, asked)

    without = only_plain_blocks(case.graph)
    bound = solved(without, 1).lower_bound_bytes
    assert solved(without, bound - 1).status == "infeasible"
    plan = solved(case.graph, bound - 1).plan
    assert plan is not None
    assert check(case.graph, plan).accepted
    assert blocks_of(case.graph, plan)
    inputs = random_inputs(case.graph, 1, classes=3)
    _, verdict = against_autograd(case.graph, plan, case.weights, inputs, steps=3)
    assert verdict.ok, verdict


def only_plain_blocks(graph: OpGraph) -> OpGraph:
    """Return the graph without channel strips."""
    operations = tuple(
        operation.model_copy(
            update={
                "alternatives": tuple(
                    way for way in operation.alternatives if way.target != CHANNEL_STRIPS
                )
            }
        )
        for operation in graph.operations
    )
    return graph.model_copy(update={"operations": operations})


@pytest.mark.parametrize("micro_batch", [4, 2])
@pytest.mark.parametrize("sliced", [False, True])
def test_int8_blocks_train_as_fake_quantization_does(micro_batch: int, sliced: bool) -> None:
    case = quantized(Residual, size=8)
    mask = full_mask(case.graph)
    if sliced:
        part = LayerUpdate(layer="wide", weight="input", channels=(0, 2, 5), bias=True)
        mask = tuple(part if update.layer == "wide" else update for update in mask)
    plan = block_plan(case.graph, mask, 4, micro_batch)
    ((_, way),) = blocks_of(case.graph, plan).items()
    assert len(way.covers) == 3
    result = run_step(case.graph, plan, case.weights, case.inputs, keep_gradients=True, debug=True)
    reference = autograd_step(case.graph, plan.mask, plan.batch, case.weights, case.inputs)
    verdict = compare(result, reference)
    assert verdict.ok, verdict.problem
    assert int((result.updated["wide.weight"] != case.weights["wide.weight"]).sum()) > 5


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        (12, (0, 1), "stride"),
        (12, (2, 2), "fit together"),
        (15, None, "covers 2 updates and has 1"),
        (15, ("memplan.clear",), "in place of"),
        (9, None, "x goes with"),
    ],
)
def test_strips_that_do_not_fit_are_refused(argument: int, value: object, message: str) -> None:
    graph = network().graph
    with pytest.raises(GraphError, match=message):
        _changed(graph, argument, value)


def test_a_workspace_that_is_too_small_is_refused() -> None:
    graph = network().graph
    with pytest.raises(GraphError, match="planes need"):
        _changed(graph, None, None)


def _changed(graph: OpGraph, argument: int | None, value: object) -> OpGraph:
    operations = []
    for operation in graph.operations:
        ways = []
        for way in operation.alternatives:
            wanted = "strips_weight_biases_update" if argument == 9 else "strips_biases_update"
            if way.name == wanted:
                arguments = list(way.arguments)
                workspace = way.workspace_bytes
                if argument is None:
                    workspace = Affine(workspace.fixed - 4)
                else:
                    arguments[argument] = value  # type: ignore[call-overload]
                way = way.model_copy(
                    update={"arguments": tuple(arguments), "workspace_bytes": workspace}
                )
            ways.append(way)
        operations.append(operation.model_copy(update={"alternatives": tuple(ways)}))
    return OpGraph.from_json(graph.model_copy(update={"operations": tuple(operations)}).to_json())
