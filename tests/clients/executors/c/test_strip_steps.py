"""Whole steps in which rows, rings and used-up operands share the arena, in C."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from memplan.clients.executors.c.agreement import agreement
from memplan.clients.executors.torch import run_step
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.tracing.settings import TraceSettings
from tests.clients.executors.c.projects import Exported, export
from tests.clients.executors.kernels.test_row_strips import (
    forward_plan,
    only,
    traced_network,
    training_network,
)
from tests.clients.executors.training import full_mask, random_inputs, random_plan
from tests.support.int8_networks import Residual, quantized
from tests.support.strip_networks import InvertedResidual

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None or shutil.which("make") is None, reason="no C compiler or no make"
)


def four_ways() -> nn.Module:
    """Return a network of which each part is computed in a way of its own."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, padding=1), nn.ReLU6(),
        InvertedResidual(8, 32, 8, skip=True),
        InvertedResidual(8, 24, 12, kernel=5, stride=2),
        InvertedResidual(12, 16, 12, kernel=5, dilation=2),
        nn.Conv2d(12, 4, 3),
    )  # fmt: skip


#: Operation -> how it is computed.
WAYS = {
    "0.hardtanh": "rows_streamed",
    "0.add": "rows",
    "3.project": "rows_used_up",
    "4.depthwise": "in_place",
}


def in_place_pairs(graph: OpGraph, plan: Plan) -> set[str]:
    """Return the operations whose result takes the first byte of an operand."""
    return {
        step.operation
        for step in plan.body
        for write in step.writes
        for read in step.reads
        if read is not None and plan.buffers[read].offset == plan.buffers[write].offset
    }


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> tuple[Exported, Mapping[str, torch.Tensor]]:
    settings = TraceSettings(mode="infer", input_streamed=True)
    case = traced_network(four_ways(), torch.randn(2, 3, 40, 23), settings)
    plan = forward_plan(case.graph, WAYS, 4, 2)
    assert {"0.add", "4.depthwise"} <= in_place_pairs(case.graph, plan)
    assert all(buffer.tensor != "input" for buffer in plan.buffers)
    exported = export(case, plan, tmp_path_factory.mktemp("four") / "project")
    return exported, random_inputs(case.graph, 4)


def test_each_way_gives_what_the_torch_executor_gives(
    four: tuple[Exported, Mapping[str, torch.Tensor]],
) -> None:
    exported, inputs = four
    expected = run_step(
        exported.graph, exported.plan, exported.weights, inputs, measure_scratch=False
    )
    found = exported.run([inputs])
    name = exported.graph.outputs[0]
    torch.testing.assert_close(found.outputs[name], expected.outputs[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", ["filled", "unshared", "asan"])
def test_every_variant_gives_the_same_bits(
    variant: Any, four: tuple[Exported, Mapping[str, torch.Tensor]]
) -> None:
    exported, inputs = four
    batches = [inputs, {name: value.flip(0) for name, value in inputs.items()}]
    assert exported.run(batches, variant).results == exported.run(batches).results


def test_integers_are_exactly_those_of_the_torch_executor(tmp_path: Path) -> None:
    case = quantized(Residual, size=32, mode="infer", input_streamed=True)
    graph = case.graph
    plan = forward_plan(graph, {"stem": "rows_streamed", "stem.add": "rows"}, 4, 2)
    assert any(step.alternative == "rows_streamed" for step in plan.body)
    exported = export(case, plan, tmp_path / "project")
    found = exported.run([case.inputs])
    expected = run_step(graph, plan, case.weights, dict(case.inputs), measure_scratch=False)
    for name, value in found.outputs.items():
        torch.testing.assert_close(value, expected.outputs[name], rtol=1e-6, atol=1e-6)


def test_training_steps_with_partly_updated_weights_inside(tmp_path: Path) -> None:
    case = traced_network(training_network(), torch.randn(2, 3, 18, 18), TraceSettings(batch=2))
    graph = only(case.graph, lambda way: not way.covers)
    inputs = random_inputs(graph, 4, classes=4)
    plans = (random_plan(graph, 4, 2, full_mask(graph), seed) for seed in range(40))
    plan = next(p for p in plans if sum("rows" in step.alternative for step in p.body) > 1)
    exported = export(case, plan, tmp_path / "project")
    expected = run_step(graph, plan, case.weights, inputs, steps=2, measure_scratch=False)
    found = exported.run([inputs] * 2, "asan")
    verdict = agreement(graph, case.weights, found, expected)
    assert verdict.ok, (verdict.worst, verdict.worst_error)
