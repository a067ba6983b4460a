"""Traced modules, their weights, random samples, masks and plans to train them under."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from memplan.clients.executors.torch import (
    Comparison,
    StepResult,
    autograd_step,
    compare,
    run_step,
)
from memplan.clients.executors.torch.geometry import DTYPES
from memplan.ir.check import check
from memplan.ir.graph import Layer, OpGraph, WeightSource
from memplan.ir.plan import Plan
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.tracing.loaders.export import load_module
from memplan.tracing.settings import TraceSettings
from memplan.tracing.trace import trace
from tests.clients.executors.bodies import random_body
from tests.support.models import COUPLED, DROPOUT, MODELS, TRANSFORMERS, build
from tests.support.naive_plan import naive_plan

__all__ = [
    "Traced",
    "against_autograd",
    "full_mask",
    "random_inputs",
    "random_mask",
    "random_plan",
    "traced",
    "traced_module",
    "weights_of",
]


@dataclass(frozen=True)
class Traced:
    """A module, its graph and the weights that the graph asks for."""

    module: nn.Module
    graph: OpGraph
    weights: dict[str, torch.Tensor]
    classes: int


def traced_module(
    module: nn.Module, inputs: Mapping[str, torch.Tensor], settings: TraceSettings, classes: int = 4
) -> Traced:
    """Trace a module as it is, train or eval mode included."""
    graph = trace(load_module(module, tuple(inputs.values())), settings)
    return Traced(module, graph, weights_of(graph, module), classes)


@cache
def traced(
    name: str, optimizer: Any = "sgd", batch_norm: Any = "frozen", mode: Any = "train"
) -> Traced:
    """Trace one of the shared small models; those with dropout in train mode."""
    case = {**MODELS, **DROPOUT, **TRANSFORMERS, "coupled": COUPLED}[name]
    module, inputs = build(case, double=False)
    loss: Any = case.loss
    target: Any = case.target
    settings = TraceSettings(
        mode=mode, loss=loss, target=target, optimizer=optimizer, batch_norm=batch_norm
    )
    module.train(mode == "train" and (name in DROPOUT or batch_norm == "train"))
    return traced_module(module, inputs, settings, case.classes)


def random_plan(
    graph: OpGraph,
    batch: int,
    micro_batch: int,
    mask: Sequence[LayerUpdate],
    seed: int,
    **request: Any,
) -> Plan:
    """Return a plan with random alternatives and recomputation that the checker accepts."""
    settings = {"budget_bytes": 2**40, "batch": batch, "compute_limit": None, **request}
    wanted = PlanRequest(update=tuple(mask) if graph.mode == "train" else "auto", **settings)
    trips = batch // micro_batch
    plan = naive_plan(
        graph,
        wanted,
        mask,
        micro_batch=micro_batch,
        body=random_body(graph, mask, trips, seed, streamed=wanted.stream_inputs),
        reuse=True,
        in_place=True,
    )
    report = check(graph, plan)
    assert report.accepted, report
    return plan


def weights_of(graph: OpGraph, module: nn.Module) -> dict[str, torch.Tensor]:
    """Return what the graph's sources say, by their formulas."""
    named = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    values = {}
    for tensor in graph.tensors:
        source = tensor.source
        if source is not None and source.kind != "zeros":
            values[tensor.id] = _value(source, named).detach().clone()
    return values


def _value(source: WeightSource, named: Mapping[str, torch.Tensor]) -> torch.Tensor:
    if source.kind == "copy":
        return named[source.names[0]]
    *_, variance = source.names
    std = (named[variance] + source.epsilon).sqrt()
    if source.kind == "folded_weight":
        weight, gamma, _ = source.names
        scale = (named[gamma] if gamma else torch.ones_like(std)) / std
        if not weight:
            return scale
        shape = [1] * named[weight].dim()
        shape[1 if source.transposed else 0] = -1
        return named[weight] * scale.view(shape)
    bias, beta, gamma, mean, _ = source.names
    scale = (named[gamma] if gamma else torch.ones_like(std)) / std
    shift = (named[bias] if bias else torch.zeros_like(std)) - named[mean]
    return shift * scale + (named[beta] if beta else torch.zeros_like(std))


def random_inputs(
    graph: OpGraph, batch: int, *, classes: int = 2, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Return samples and labels for a batch; integers are below ``classes``."""
    generator = torch.Generator().manual_seed(seed)
    inputs = {}
    for tensor in graph.tensors:
        if tensor.role in ("input", "label"):
            shape = [size.at(batch) for size in tensor.shape]
            dtype = DTYPES[tensor.dtype]
            if dtype.is_floating_point:
                inputs[tensor.id] = torch.randn(shape, generator=generator).to(dtype)
            else:
                inputs[tensor.id] = torch.randint(0, classes, shape, generator=generator).to(dtype)
    return inputs


def full_mask(graph: OpGraph) -> tuple[LayerUpdate, ...]:
    """Return the mask that updates everything."""
    return tuple(_whole(layer) for layer in graph.layers)


def random_mask(graph: OpGraph, seed: int) -> tuple[LayerUpdate, ...]:
    """Return a mask with slices along every axis that layers offer; the last layer is in it."""
    choose = random.Random(seed)
    mask: list[LayerUpdate] = []
    for layer in graph.layers:
        options: list[LayerUpdate | None] = [None, _whole(layer)]
        if layer.bias is not None:
            options.append(LayerUpdate(layer=layer.id, bias=True))
        for axis in layer.axes:
            count = choose.randint(1, max(1, axis.channels // 2))
            channels = tuple(sorted(choose.sample(range(axis.channels), count)))
            bias = layer.bias is not None and choose.random() < 0.5
            sliced = LayerUpdate(layer=layer.id, bias=bias, weight=axis.name, channels=channels)
            options += [sliced, sliced]
        picked = choose.choice(options)
        if picked is not None:
            mask.append(picked)
    return tuple(mask) or (_whole(graph.layers[-1]),)


def _whole(layer: Layer) -> LayerUpdate:
    return LayerUpdate(
        layer=layer.id,
        bias=layer.bias is not None,
        weight="none" if layer.weight is None else "whole",
    )


def against_autograd(
    graph: OpGraph,
    plan: Plan,
    weights: Mapping[str, torch.Tensor],
    inputs: Mapping[str, torch.Tensor],
    *,
    steps: int = 1,
    seed: int = 3,
    debug: bool = True,
) -> tuple[StepResult, Comparison]:
    """Run a plan with dead bytes poisoned, and compare with autograd."""
    result = run_step(
        graph, plan, weights, inputs, seed=seed, debug=debug, steps=steps, keep_gradients=True
    )
    reference = autograd_step(graph, plan.mask, plan.batch, weights, inputs, seed, steps=steps)
    return result, compare(result, reference)
