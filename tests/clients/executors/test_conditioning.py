"""The reference in float64, and with the rounding of float32 imitated, on every kind of model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from memplan.clients.executors.torch import (
    Precision,
    autograd_step,
    compare,
    sound_originals,
)
from memplan.clients.executors.torch.conditioning import as_result
from memplan.tracing.weights import build_weights
from tests.clients.executors.training import full_mask, random_inputs, traced
from tests.support.models import DROPOUT, MODELS

NAMES = [*MODELS, *DROPOUT, "coupled"]


@pytest.mark.parametrize("name", NAMES)
def test_float64_agrees_with_float32(name: str) -> None:
    case = traced(name)
    inputs = random_inputs(case.graph, 2, classes=case.classes)
    mask = full_mask(case.graph)
    plain = autograd_step(case.graph, mask, 2, case.weights, inputs)
    exact = autograd_step(case.graph, mask, 2, case.weights, inputs, precision=Precision())
    rough = autograd_step(case.graph, mask, 2, case.weights, inputs, precision=Precision(0))
    assert compare(as_result(plain), exact).ok
    assert compare(as_result(rough), exact).ok
    for other in (exact, rough):
        for parameter, value in plain.updated.items():
            assert other.updated[parameter].dtype == value.dtype
            assert torch.equal(other.initial[parameter], plain.initial[parameter])
    some = max(plain.gradients, key=lambda p: float(plain.gradients[p].abs().max()))
    assert not torch.equal(exact.gradients[some], rough.gradients[some])
    again = autograd_step(case.graph, mask, 2, case.weights, inputs, precision=Precision(0))
    assert torch.equal(again.gradients[some], rough.gradients[some])
    spoilt = {**plain.gradients, some: 1.01 * plain.gradients[some]}
    assert not compare(replace(as_result(plain), gradients=spoilt), exact).ok


@pytest.mark.parametrize(("optimizer", "batch_norm"), [("adam", "frozen"), ("momentum", "train")])
def test_several_steps_with_every_optimizer(optimizer: str, batch_norm: str) -> None:
    case = traced("bn_cnn", optimizer, batch_norm)
    inputs = random_inputs(case.graph, 4, classes=case.classes)
    mask = full_mask(case.graph)
    plain = autograd_step(case.graph, mask, 4, case.weights, inputs, steps=2)
    exact = autograd_step(case.graph, mask, 4, case.weights, inputs, steps=2, precision=Precision())
    comparison = compare(as_result(plain), exact)
    # A bias before batch norm over batch statistics has a gradient of zero, and noise in float32.
    assert {p.parameter for p in comparison.parameters if not p.ok} <= {"8.bias"}
    assert {name: value.dtype for name, value in exact.states.items()} == {
        name: value.dtype for name, value in plain.states.items()
    }


@pytest.mark.parametrize("name", ["bn_cnn", "encoder", "plain_cnn"])
def test_redrawn_models_and_their_graphs_start_from_the_same(name: str) -> None:
    case = traced(name)
    originals = {
        key: value.detach()
        for key, value in (*case.module.named_parameters(), *case.module.named_buffers())
    }
    drawn = sound_originals(case.graph, originals, seed=3)
    assert drawn.keys() == originals.keys()
    weights = build_weights(case.graph, lambda: drawn)
    parameters = [t.id for t in case.graph.tensors if t.role == "parameter"]
    assert parameters
    for parameter in parameters:
        assert not torch.equal(weights[parameter], case.weights[parameter])
    for key, _ in case.module.named_buffers():
        assert drawn[key] is originals[key]
    again = sound_originals(case.graph, originals, seed=3)
    assert all(torch.equal(drawn[key], again[key]) for key in drawn)
