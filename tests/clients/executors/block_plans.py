"""A network of inverted residual blocks, and plans that run each block's backward in strips."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from examples.mcunet import Block, InvertedResidual
from memplan.ir.channel_strips import CHANNEL_STRIPS
from memplan.ir.check import check
from memplan.ir.graph import Alternative, OpGraph
from memplan.ir.plan import Plan
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.tracing.settings import TraceSettings
from tests.clients.executors.bodies import block_body
from tests.clients.executors.training import Traced, traced_module
from tests.support.models import randomise
from tests.support.naive_plan import naive_plan

__all__ = ["MASKS", "Optimizer", "block_plan", "blocks_of", "network", "without_blocks"]

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


def without_blocks(graph: OpGraph) -> OpGraph:
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
