"""Blocks whose backward runs channel by channel, against autograd and against the plain step."""

from __future__ import annotations

import pytest

from memplan.clients.executors.torch import autograd_step, compare, run_step
from memplan.ir.answer import Answer
from memplan.ir.check import check
from memplan.ir.errors import GraphError
from memplan.ir.graph import OpGraph
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.ir.units import Affine
from memplan.solver import solve
from tests.clients.executors.block_plans import (
    MASKS,
    Optimizer,
    block_plan,
    blocks_of,
    network,
    without_blocks,
)
from tests.clients.executors.training import (
    against_autograd,
    full_mask,
    random_inputs,
    random_mask,
    random_plan,
)
from tests.support.int8_networks import Residual, quantized


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

    without = without_blocks(case.graph)
    bound = solved(without, 1).lower_bound_bytes
    assert solved(without, bound - 1).status == "infeasible"
    plan = solved(case.graph, bound - 1).plan
    assert plan is not None
    assert check(case.graph, plan).accepted
    assert blocks_of(case.graph, plan)
    inputs = random_inputs(case.graph, 1, classes=3)
    _, verdict = against_autograd(case.graph, plan, case.weights, inputs, steps=3)
    assert verdict.ok, verdict


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
