"""Steps of int8 graphs in the arena against fake quantization by autograd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from memplan.clients.executors.torch import (
    Reference,
    StepResult,
    autograd_step,
    compare,
    forward_outputs,
    run_step,
)
from memplan.clients.executors.torch.integer_inputs import integer_inputs
from memplan.ir.check import check
from memplan.ir.errors import RequestError
from memplan.ir.plan import Plan
from memplan.ir.request import LayerUpdate, PlanRequest
from tests.clients.executors.training import full_mask, random_mask, random_plan
from tests.support.int8_networks import Excited, Mixed, Quantized, Residual, quantized
from tests.support.naive_plan import naive_plan

NETWORKS: list[tuple[type[nn.Module], int]] = [(Residual, 8), (Mixed, 17), (Excited, 6)]


def plain_plan(case: Quantized, mask: Sequence[LayerUpdate]) -> Plan:
    update: Any = tuple(mask) or "auto"
    wanted = PlanRequest(budget_bytes=2**30, batch=4, update=update)
    plan = naive_plan(case.graph, wanted, mask, micro_batch=4)
    assert check(case.graph, plan).accepted
    return plan


def both(case: Quantized, plan: Plan, **options: Any) -> tuple[StepResult, Reference]:
    result = run_step(case.graph, plan, case.weights, case.inputs, keep_gradients=True, **options)
    return result, autograd_step(case.graph, plan.mask, plan.batch, case.weights, case.inputs)


@pytest.mark.parametrize(("network", "size"), NETWORKS)
@pytest.mark.parametrize("micro_batch", [4, 2, 1])
def test_a_full_update_agrees(network: type[nn.Module], size: int, micro_batch: int) -> None:
    case = quantized(network, size=size)
    plan = random_plan(case.graph, 4, micro_batch, full_mask(case.graph), seed=micro_batch)
    result, reference = both(case, plan, debug=True)
    found = compare(result, reference)
    assert found.ok, found.problem
    assert reference.integers
    assert set(reference.integers) <= set(result.integers)
    moved = sum(int((result.updated[n] != case.weights[n]).sum()) for n in reference.rates)
    assert moved > 20


@pytest.mark.parametrize("seed", range(6))
def test_slices_agree(seed: int) -> None:
    network, size = NETWORKS[seed % 3]
    case = quantized(network, size=size)
    mask = random_mask(case.graph, seed)
    plan = random_plan(case.graph, 4, (4, 2)[seed % 2], mask, seed)
    found = compare(*both(case, plan, debug=True))
    assert not found.differs, found.problem


@pytest.mark.parametrize("axis", ["input", "output"])
def test_a_slice_changes_its_channels_only(axis: Any) -> None:
    case = quantized(Residual)
    channels = (0, 2, 3, 5)
    mask = [LayerUpdate(layer="wide", bias=True, weight=axis, channels=channels)]
    plan = plain_plan(case, mask)
    result, reference = both(case, plan, debug=True)
    assert compare(result, reference).ok
    changed = (result.updated["wide.weight"] != case.weights["wide.weight"]).flatten(2).any(2)
    other = changed.any(1 if axis == "output" else 0)
    assert set(other.nonzero().flatten().tolist()) <= set(channels)
    assert bool(other.any())


def test_quantization_aware_scaling_chooses_the_step() -> None:
    """With it, an integer moves as its real weight does; without, by unit**2 less."""
    aware, plain = (quantized(Residual, quantization_aware_scaling=on) for on in (True, False))
    mask = full_mask(aware.graph)
    plan = plain_plan(plain, mask)
    found = compare(*both(plain, plan))
    assert not found.differs, found.problem
    reference = autograd_step(aware.graph, mask, 4, aware.weights, aware.inputs)
    other = autograd_step(plain.graph, mask, 4, plain.weights, plain.inputs)
    name = "narrow.weight"
    known = aware.graph.tensor[name].quantization
    assert known is not None
    unit = aware.weights[known.scales or ""].double().view(-1, 1, 1, 1)
    assert torch.allclose(reference.rates[name], 4.0 / unit)
    assert torch.allclose(other.rates[name], 4.0 * unit)
    moved = (reference.updated[name].double() - reference.initial[name]) * unit
    exact = -4.0 * reference.gradients[name].double()
    inside = reference.updated[name].abs() < 127
    assert float(((moved - exact).abs() / unit)[inside].max()) <= 0.5 + 1e-6


def test_what_is_wrong_is_seen() -> None:
    case = quantized(Residual)
    plan = plain_plan(case, full_mask(case.graph))
    result, reference = both(case, plan)
    assert compare(result, reference).ok
    integers = {name: value.clone() for name, value in result.integers.items()}
    integers["narrow"].flatten()[5] += 1
    found = compare(replace(result, integers=integers), reference)
    assert not found.ok
    assert "1 of 6 int8 tensors differ, narrow first, in 1 of" in found.problem
    updated = {name: value.clone() for name, value in result.updated.items()}
    updated["wide.weight"].flatten()[3] += 1
    found = compare(replace(result, updated=updated), reference)
    assert not found.ok
    assert "wide.weight" in found.problem


def test_a_rounding_at_a_tie_may_go_either_way() -> None:
    case = quantized(Residual)
    plan = plain_plan(case, full_mask(case.graph))
    result, reference = both(case, plan)
    rates = dict(reference.rates)
    gradients = {name: value.clone() for name, value in reference.gradients.items()}
    gradients["wide.weight"].flatten()[0] = float(0.5 / rates["wide.weight"].flatten()[0])
    start = reference.initial["wide.weight"].flatten()[0]
    for step in (0, 1, 2):
        updated = {name: value.clone() for name, value in result.updated.items()}
        updated["wide.weight"].flatten()[0] = start - step
        moved = replace(result, updated=updated, gradients=gradients)
        expected = replace(reference, gradients=gradients)
        assert compare(moved, expected).ok == (step < 2)


def test_an_inference_agrees() -> None:
    case = quantized(Mixed, size=17, mode="infer")
    plan = plain_plan(case, ())
    result = run_step(case.graph, plan, case.weights, case.inputs, debug=True)
    expected = forward_outputs(case.graph, 4, case.weights, case.inputs)
    for name, value in expected.items():
        assert torch.equal(result.outputs[name], value)


def test_the_int8_loss_is_near_that_of_the_float_model() -> None:
    case = quantized(Residual)
    reference = autograd_step(case.graph, full_mask(case.graph), 4, case.weights, case.inputs)
    module = case.model.forward
    named = case.model.read_weights()
    for name in [n for n, _ in module.named_parameters()] + [n for n, _ in module.named_buffers()]:
        owner: Any = module
        *path, last = name.split(".")
        for part in path:
            owner = getattr(owner, part)
        setattr(
            owner, last, nn.Parameter(named[name]) if last in ("weight", "bias") else named[name]
        )
    logits = module(next(iter(case.inputs.values())))[0]
    labels = next(value for value in case.inputs.values() if not value.is_floating_point())
    loss = float(nn.functional.cross_entropy(logits, labels).detach())
    assert reference.loss == pytest.approx(loss, abs=0.03)


def test_samples_become_integers_by_the_graphs_scale() -> None:
    case = quantized(Residual)
    (image,) = [tensor for tensor in case.graph.tensors if tensor.role == "input"]
    assert image.quantization is not None
    made = integer_inputs(case.graph, case.inputs)[image.id]
    assert made.dtype == torch.int8
    assert {int(made.min()), int(made.max())} == {-128, 127}
    back = (made.float() - image.quantization.zero_point) * image.quantization.scale
    assert float((back - case.inputs[image.id]).abs().max()) <= 0.51 * image.quantization.scale
    again = integer_inputs(case.graph, {**case.inputs, image.id: made})[image.id]
    assert torch.equal(again, made)


def test_several_steps_are_not_compared() -> None:
    case = quantized(Residual)
    with pytest.raises(RequestError, match="one step"):
        autograd_step(case.graph, full_mask(case.graph), 4, case.weights, case.inputs, steps=2)
