"""Graphs compute what eager autograd computes: loss, every gradient, every update."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from memplan.ir.graph import OpGraph
from memplan.ir.request import LayerUpdate
from memplan.tracing import LoadedModel, TraceSettings, trace
from memplan.tracing.loaders import load_module
from tests.support.graph_interpreter import full_mask, initial_weights, run_step
from tests.support.models import DROPOUT, MODELS, TRANSFORMERS, Case, build
from tests.support.training import Eager, eager_step, folded_gradient, make_labels, same_dropout

torch.set_num_threads(1)
ALL = {**MODELS, **TRANSFORMERS, **DROPOUT}
RATE = 0.5


def load(case: Case, train: bool = False) -> LoadedModel:
    module, example = build(case, 2)
    return load_module(module.train(train), tuple(example.values()))


def settings(case: Case, **options: Any) -> TraceSettings:
    return TraceSettings(loss=case.loss, target=case.target, learning_rate=RATE, **options)


@cache
def graph_of(name: str) -> tuple[OpGraph, LoadedModel]:
    model = load(ALL[name])
    return trace(model, settings(ALL[name])), model


@cache
def eager_of(name: str, batch: int) -> tuple[Eager, dict[str, torch.Tensor]]:
    """Return an eager step and the graph's inputs for it."""
    case = ALL[name]
    _, model = graph_of(name)
    module, inputs = build(case, batch)
    labels = make_labels(case, module, inputs)
    eager = eager_step(case, module, inputs, labels)
    eager.values.update(model.read_weights())
    values = dict(zip((spec.name for spec in model.inputs), inputs.values(), strict=True))
    return eager, {**values, **labels}


def assert_same_step(
    graph: OpGraph,
    eager: Eager,
    inputs: dict[str, torch.Tensor],
    mask: dict[str, LayerUpdate] | None = None,
    **options: Any,
) -> None:
    """Compare loss and the change of every parameter under a mask."""
    mask = full_mask(graph) if mask is None else mask
    batch = next(iter(inputs.values())).shape[0]
    outcome = run_step(graph, eager.values, inputs, batch=batch, mask=mask, **options)
    assert outcome.loss == pytest.approx(eager.loss, rel=1e-9)
    before = initial_weights(graph, eager.values)
    for name, after in outcome.parameters.items():
        expected = expected_gradient(graph, eager, mask, name)
        change = (before[name] - after) / RATE
        scale = max(expected.abs().max().item(), 1e-3)
        assert (change - expected).abs().max().item() <= 1e-9 * scale, name


def expected_gradient(
    graph: OpGraph, eager: Eager, mask: dict[str, LayerUpdate], name: str
) -> torch.Tensor:
    """Return the masked gradient of a parameter of the graph."""
    nothing = torch.zeros([size.at(1) for size in graph.tensor[name].shape], dtype=torch.float64)
    layer = next((part for part in graph.layers if name in (part.weight, part.bias)), None)
    update = mask.get(layer.id) if layer is not None else None
    if layer is None or update is None:
        return nothing
    gradient = folded_gradient(graph, eager, name)
    if name == layer.bias:
        return gradient if update.bias else nothing
    if update.weight in ("none", "whole"):
        return gradient if update.weight == "whole" else nothing
    dim = next(cut.dim for cut in graph.tensor[name].slices if cut.axis == update.weight)
    assert dim is not None
    chosen = torch.tensor(update.channels)
    return nothing.index_copy(dim, chosen, gradient.index_select(dim, chosen))


def partial_mask(graph: OpGraph, axis: str) -> dict[str, LayerUpdate]:
    """Return a mask that takes every second channel along an axis, or the bias, or nothing."""
    mask = {}
    for position, layer in enumerate(graph.layers):
        found = next((part for part in layer.axes if part.name == axis), None)
        if found is not None:
            mask[layer.id] = LayerUpdate(
                layer=layer.id,
                weight=found.name,
                bias=layer.bias is not None and position % 2 == 0,
                channels=tuple(range(1, found.channels, 2)),
            )
        elif layer.bias is not None:
            mask[layer.id] = LayerUpdate(layer=layer.id, bias=True)
    return mask


@pytest.mark.parametrize("name", ALL)
def test_full_update_and_its_other_ways(name: str) -> None:
    graph, _ = graph_of(name)
    eager, inputs = eager_of(name, 3)
    assert graph.batch_symbolic
    updated = {t for layer in graph.layers for t in (layer.weight, layer.bias) if t is not None}
    trained = {n for n, g in eager.gradients.items() if g.abs().max() > 1e-7}
    origins = [graph.tensor[t].source for t in updated]
    assert None not in origins
    sources = {name for origin in origins if origin is not None for name in origin.names}
    assert trained <= sources
    assert_same_step(graph, eager, inputs)
    assert_same_step(graph, eager, inputs, prefer=("from_bits", "fused"))


@pytest.mark.parametrize("name", ALL)
def test_micro_batches(name: str) -> None:
    graph, _ = graph_of(name)
    eager, inputs = eager_of(name, 4)
    assert_same_step(graph, eager, inputs, micro_batch=2)
    assert_same_step(graph, eager, inputs, micro_batch=1, prefer=("from_bits", "fused"))


@pytest.mark.parametrize("axis", ["input", "output"])
@pytest.mark.parametrize("name", ALL)
def test_partial_updates(name: str, axis: str) -> None:
    graph, _ = graph_of(name)
    eager, inputs = eager_of(name, 4)
    mask = partial_mask(graph, axis)
    assert_same_step(graph, eager, inputs, mask)
    prefer = ("from_bits", "saved_slice", "fused_saved_slice")
    assert_same_step(graph, eager, inputs, mask, prefer=prefer, micro_batch=2)


def test_a_bias_alone_needs_no_saved_input() -> None:
    graph, _ = graph_of("plain_cnn")
    eager, inputs = eager_of("plain_cnn", 3)
    first = graph.layers[0]
    mask = {first.id: LayerUpdate(layer=first.id, bias=True)}
    assert_same_step(graph, eager, inputs, mask)
    ran = run_step(graph, eager.values, inputs, batch=3, mask=mask).executed
    assert not [name for name in ran if name.endswith("weight.gradient")]


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("micro_batch", [4, 2])
def test_optimizers(optimizer: str, micro_batch: int) -> None:
    case = ALL["plain_cnn"]
    model = load(case)
    graph = trace(model, settings(case, optimizer=optimizer))
    module, inputs = build(case, 4)
    labels = make_labels(case, module, inputs)
    eager = eager_step(case, module, inputs, labels)
    if optimizer == "momentum":
        torch_optimizer: Any = torch.optim.SGD(module.parameters(), lr=RATE, momentum=0.9)
    else:
        torch_optimizer = torch.optim.Adam(module.parameters(), lr=RATE)
    for name, parameter in module.named_parameters():
        parameter.grad = eager.gradients[name]
    torch_optimizer.step()
    for prefer in ((), ("fused",)):
        outcome = run_step(
            graph, eager.values, {model.inputs[0].name: next(iter(inputs.values())), **labels},
            batch=4, micro_batch=micro_batch, prefer=prefer,
        )  # fmt: skip
        for name, parameter in module.named_parameters():
            torch.testing.assert_close(
                outcome.parameters[name], parameter.data, rtol=1e-7, atol=1e-9
            )
        if optimizer == "adam":
            assert all(s == 1 for n, s in outcome.states.items() if n.endswith(".step"))


@pytest.mark.parametrize("name", ["bn_cnn", "resnet", "densenet", "autoencoder"])
def test_batch_norm_over_batch_statistics(name: str) -> None:
    case = ALL[name]
    model = load(case)
    graph = trace(model, settings(case, batch_norm="train"))
    assert graph.batch_coupled_by
    assert not [op for op in graph.operations if op.phase == "apply"]
    module, inputs = build(case, 4)
    labels = make_labels(case, module, inputs)
    for part in module.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.train()
    eager = eager_step(case, module, inputs, labels)
    named = {model.inputs[0].name: next(iter(inputs.values())), **labels}
    assert_same_step(graph, eager, named)
    states = run_step(graph, eager.values, named, batch=4).states
    assert states
    for key, after in states.items():
        torch.testing.assert_close(after, eager.buffers[key], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", DROPOUT)
def test_active_dropout(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = ALL[name]
    graph = trace(load(case, train=True), settings(case))
    assert [op for op in graph.operations if op.alternatives[0].target == "memplan.dropout"]
    module, inputs = build(case, 4)
    labels = make_labels(case, module, inputs)
    module.train()
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.eval()
    with same_dropout(monkeypatch):
        eager = eager_step(case, module, inputs, labels)
    named = {**inputs, **labels}
    assert_same_step(graph, eager, named)
    assert_same_step(graph, eager, named, micro_batch=2, prefer=("fused",))


@pytest.mark.parametrize("name", ["distilbert", "gpt2", "vit", "mobilevit"])
def test_train_mode(name: str) -> None:
    """Dropouts as they stand in the models, attention's included; here they drop nothing."""
    graph = trace(load(ALL[name], train=True), settings(ALL[name]))
    eager, inputs = eager_of(name, 3)
    assert_same_step(graph, eager, inputs)
    targets = {way.target for op in graph.operations for way in op.alternatives}
    assert {"memplan.dropout", "memplan.dropout_backward"} <= targets


@pytest.mark.parametrize("name", [*MODELS, *DROPOUT, "gpt2", "vit"])
def test_inference(name: str) -> None:
    case = ALL[name]
    graph = trace(load(case, train=name in DROPOUT), TraceSettings(mode="infer"))
    assert {op.phase for op in graph.operations} <= {"constant", "forward"}
    eager, inputs = eager_of(name, 3)
    outcome = run_step(graph, eager.values, inputs, batch=3)
    found = outcome.outputs[graph.outputs[0]].flatten()
    torch.testing.assert_close(found, eager.output.flatten(), rtol=1e-9, atol=1e-9)
