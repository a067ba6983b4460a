"""Depthwise convolutions over their operand: the same bits, with the pair in use and without."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from memplan.clients.executors.torch import ArenaExecutor
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.tracing.settings import TraceSettings
from tests.clients.executors.calls import close
from tests.clients.executors.kernels.test_row_strips import forward_plan, traced_network
from tests.clients.executors.training import (
    against_autograd,
    full_mask,
    random_inputs,
    random_plan,
)
from tests.support.int8_networks import Residual, quantized
from tests.support.strip_networks import InvertedResidual


def in_place(graph: OpGraph) -> dict[str, str]:
    return {
        operation.id: way.name
        for operation in graph.operations
        for way in operation.alternatives
        if way.name == "in_place"
    }


def shares(plan: Plan, operation: str) -> bool:
    step = next(step for step in plan.body if step.operation == operation)
    operand = plan.buffers[step.reads[0] or 0]
    result = plan.buffers[step.writes[0]]
    return (operand.offset, operand.size_bytes) == (result.offset, result.size_bytes)


@pytest.mark.parametrize("micro_batch", [1, 3])
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (5, 1), (7, 1), (3, 2), (5, 3)])
def test_float32(kernel: int, dilation: int, micro_batch: int) -> None:
    module = InvertedResidual(3, 12, 4, kernel, dilation=dilation)
    case = traced_network(module, torch.randn(3, 3, 13, 9))
    inputs = random_inputs(case.graph, 3)
    choose = in_place(case.graph)
    assert choose
    found = []
    for names, pair in (({}, True), (choose, False), (choose, True)):
        plan = forward_plan(case.graph, names, 3, micro_batch, in_place=pair)
        if names:
            assert all(shares(plan, operation) == pair for operation in names)
        executor = ArenaExecutor(case.graph, plan, case.weights, debug=True)
        for _ in range(2):
            found.append(executor.step(inputs)[case.graph.outputs[0]])
    assert all(torch.equal(found[0], result) for result in found)
    with torch.no_grad():
        close(found[0], case.module(next(iter(inputs.values()))), 1e-5)


@pytest.mark.parametrize("micro_batch", [1, 2])
def test_int8(micro_batch: int) -> None:
    case = quantized(Residual, size=16, mode="infer")
    choose = in_place(case.graph)
    assert choose
    found = []
    for names, pair in (({}, True), (choose, False), (choose, True)):
        plan = forward_plan(case.graph, names, 4, micro_batch, in_place=pair)
        assert all(shares(plan, operation) == pair for operation in names)
        executor = ArenaExecutor(case.graph, plan, case.weights, debug=True)
        found.append(executor.step(case.inputs)[case.graph.outputs[0]])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_training_steps_that_use_the_pair() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, padding=1), nn.ReLU6(), InvertedResidual(4, 24, 4, 5, skip=True),
        nn.Flatten(), nn.Linear(4 * 7 * 7, 3),
    )  # fmt: skip
    case = traced_network(module, torch.randn(2, 3, 14, 14), TraceSettings(batch=2))
    inputs = random_inputs(case.graph, 2, classes=3)
    (operation,) = in_place(case.graph)
    plans = (random_plan(case.graph, 2, 1, full_mask(case.graph), seed) for seed in range(80))
    plan = next(
        plan
        for plan in plans
        if any((s.operation, s.alternative) == (operation, "in_place") for s in plan.body)
        and shares(plan, operation)
    )
    _, comparison = against_autograd(case.graph, plan, case.weights, inputs, steps=2)
    assert comparison.ok, comparison.problem
