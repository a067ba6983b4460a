"""Graphs of one module with and without a pass, and their steps on the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from memplan.ir.graph import Alternative, Operation, OpGraph
from memplan.ir.graph import Tensor as GraphTensor
from memplan.ir.request import LayerUpdate
from memplan.tracing import LoadedModel, TraceSettings
from memplan.tracing.capture import capture
from memplan.tracing.draft import Draft
from memplan.tracing.layers import assign_layers
from memplan.tracing.loaders import load_module
from memplan.tracing.lower import lower
from memplan.tracing.lower_to_graph import to_graph
from memplan.tracing.optimizer import add_optimizer
from memplan.tracing.passes import (
    PASSES_AFTER_LAYERS,
    PASSES_AFTER_OPTIMIZER,
    PASSES_BEFORE_LAYERS,
)
from memplan.tracing.trace import prepare
from tests.support.graph_interpreter import Outcome, initial_weights, run_step
from tests.support.models import randomise

__all__ = [
    "assert_equals_autograd",
    "graph_without",
    "labels_for",
    "largest_difference",
    "lowered",
    "same_step",
    "targets",
    "ways",
]

SETTINGS = TraceSettings(learning_rate=1.0)


def lowered(
    module: nn.Module, inputs: tuple[Tensor, ...], settings: TraceSettings = SETTINGS
) -> tuple[Draft, LoadedModel]:
    """Return a module as it is before any pass over the draft."""
    model = load_module(module, inputs)
    forward, loss, outputs = prepare(model, settings)
    captures = [capture(forward, settings, loss, outputs, batch) for batch in (2, 3, 5)]
    return lower(forward, captures), model


def graph_without(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    *left_out: Callable[[Draft], None],
    settings: TraceSettings = SETTINGS,
) -> OpGraph:
    """Return the graph of a module with some passes left out."""
    draft, _ = lowered(module, inputs, settings)
    for rewrite in PASSES_BEFORE_LAYERS:
        if rewrite not in left_out:
            rewrite(draft)
    assign_layers(draft)
    for rewrite in PASSES_AFTER_LAYERS:
        if rewrite not in left_out:
            rewrite(draft)
    add_optimizer(draft, settings)
    for rewrite in PASSES_AFTER_OPTIMIZER:
        if rewrite not in left_out:
            rewrite(draft)
    return to_graph(draft, settings, 2)


def same_step(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    rewrite: Callable[[Draft], None],
    *,
    labels: Tensor | None = None,
    tolerance: float = 0.0,
    prefer: tuple[str, ...] = (),
    mask: Mapping[str, LayerUpdate] | None = None,
    settings: TraceSettings = SETTINGS,
) -> tuple[OpGraph, OpGraph]:
    """Assert that a step is the same with and without a pass; return both graphs.

    Args:
        tolerance: largest difference of a parameter, relative to its largest value; 0: bitwise.
        prefer: alternatives to take in the graph with the pass.
    """
    randomise(module)
    without = graph_without(module, inputs, rewrite, settings=settings)
    graph = graph_without(module, inputs, settings=settings)
    steps = []
    for one, names in ((without, ()), (graph, prefer)):
        given = {t.id: x for t, x in zip(_inputs(one), inputs, strict=False)}
        if labels is not None:
            given["labels"] = labels
        steps.append(
            run_step(
                one,
                {**dict(module.named_parameters()), **dict(module.named_buffers())},
                given,
                batch=inputs[0].shape[0],
                prefer=names,
                mask=mask,
            )
        )
    assert abs(steps[0].loss - steps[1].loss) <= tolerance
    assert largest_difference(*steps) <= tolerance
    assert any(
        (steps[1].parameters[name] != dict(module.named_parameters())[name]).any()
        for name in steps[1].parameters
    )
    return without, graph


def assert_equals_autograd(
    graph: OpGraph,
    module: nn.Module,
    x: Tensor,
    labels: Tensor,
    loss: Tensor,
    *,
    mask: Mapping[str, LayerUpdate] | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-6,
) -> Outcome:
    """Assert that a step moves every parameter by its gradient of ``loss``; return the step."""
    parameters = dict(module.named_parameters())
    values = {**parameters, **dict(module.named_buffers())}
    (input_,) = _inputs(graph)
    given = {input_.id: x, "labels": labels}
    step = run_step(graph, values, given, batch=x.shape[0], mask=mask)
    before = initial_weights(graph, values)
    torch.autograd.backward(loss)
    for key, after in step.parameters.items():
        torch.testing.assert_close(before[key] - after, parameters[key].grad, rtol=rtol, atol=atol)
    return step


def _inputs(graph: OpGraph) -> list[GraphTensor]:
    return [tensor for tensor in graph.tensors if tensor.role == "input"]


def largest_difference(first: Outcome, second: Outcome) -> float:
    """Return the largest relative difference between parameters after two steps."""
    assert first.parameters.keys() == second.parameters.keys()
    worst = 0.0
    for name, value in first.parameters.items():
        scale = max(1e-12, value.abs().max().item())
        worst = max(worst, (value - second.parameters[name]).abs().max().item() / scale)
    return worst


def targets(graph: OpGraph) -> list[str]:
    """Return the plain target of every operation."""
    return [operation.alternatives[0].target for operation in graph.operations]


def ways(graph: OpGraph, name: str) -> list[tuple[Operation, Alternative]]:
    """Return the alternatives of a name with their operations."""
    return [
        (operation, way)
        for operation in graph.operations
        for way in operation.alternatives
        if way.name == name
    ]


def labels_for(batch: int, classes: int) -> Tensor:
    return torch.arange(batch) % classes
