"""The comparison itself: it must fail where it should, and say when it shows nothing."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from memplan.clients.executors.torch import (
    autograd_step,
    compare,
    model_step,
    run_step,
    sound_weights,
)
from memplan.ir.errors import DataError, RequestError
from tests.clients.executors.training import (
    full_mask,
    random_inputs,
    random_mask,
    random_plan,
    traced,
)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_autograd_step_is_torch_optim_on_the_module(optimizer: str) -> None:
    case = traced("plain_cnn", optimizer)
    inputs = random_inputs(case.graph, 3, classes=case.classes)
    reference = autograd_step(case.graph, full_mask(case.graph), 3, case.weights, inputs, steps=2)
    module = copy.deepcopy(case.module)
    parameters = list(module.parameters())
    chosen: torch.optim.Optimizer = torch.optim.Adam(parameters, lr=0.01)
    if optimizer != "adam":
        decay = 0.9 if optimizer == "momentum" else 0.0
        chosen = torch.optim.SGD(parameters, lr=0.01, momentum=decay)
    image, labels = (
        next(inputs[t.id] for t in case.graph.tensors if t.role == role)
        for role in ("input", "label")
    )
    for _ in range(2):
        chosen.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(image), labels)
        torch.autograd.backward(loss)
        chosen.step()
    assert abs(reference.loss - loss.item()) < 1e-5
    for name, parameter in module.named_parameters():
        assert torch.allclose(reference.updated[name], parameter.detach(), atol=1e-6)
        assert not torch.equal(reference.updated[name], reference.initial[name])


def test_wrong_updates_gradients_losses_and_statistics_fail() -> None:
    case = traced("resnet", "sgd", "train")
    inputs = random_inputs(case.graph, 4, classes=case.classes)
    mask = full_mask(case.graph)
    plan = random_plan(case.graph, 4, 4, mask, seed=0)
    result = run_step(case.graph, plan, case.weights, inputs, keep_gradients=True)
    reference = autograd_step(case.graph, mask, 4, case.weights, inputs)
    assert compare(result, reference).ok
    assert result.loss is not None
    name = case.graph.layers[-1].weight or ""
    wrong = {
        "differ": replace(result, updated={**result.updated, name: case.weights[name]}),
        name: replace(result, gradients={**result.gradients, name: 1.01 * result.gradients[name]}),
        "loss": replace(result, loss=1.01 * result.loss),
        "one side": replace(result, updated={k: v for k, v in result.updated.items() if k != name}),
        "statistics": replace(result, states={k: v + 0.1 for k, v in result.states.items()}),
        "parameters differ": replace(
            result, updated={**result.updated, name: result.updated[name] * float("nan")}
        ),
    }
    for word, broken in wrong.items():
        comparison = compare(broken, reference)
        assert not comparison.ok
        assert word in comparison.problem


def test_agreement_about_nothing_is_vacuous() -> None:
    case = traced("plain_cnn")
    mask = full_mask(case.graph)
    # Without weights only the last bias has a gradient.
    weights = {name: value * 0 for name, value in case.weights.items()}
    inputs = random_inputs(case.graph, 2, classes=case.classes)
    inputs = {k: v * 0 if v.is_floating_point() else v for k, v in inputs.items()}
    plan = random_plan(case.graph, 2, 2, mask, seed=0)
    comparison = compare(
        run_step(case.graph, plan, weights, inputs, keep_gradients=True),
        autograd_step(case.graph, mask, 2, weights, inputs),
    )
    assert comparison.vacuous
    assert not comparison.ok
    assert "vacuous" in comparison.problem
    # The same plan says more with other weights.
    inputs = random_inputs(case.graph, 2, classes=case.classes)
    weights = sound_weights(case.graph, weights)
    comparison = compare(
        run_step(case.graph, plan, weights, inputs, keep_gradients=True),
        autograd_step(case.graph, mask, 2, weights, inputs),
    )
    assert comparison.ok, comparison.problem
    assert not any(parameter.silent for parameter in comparison.parameters)


def test_the_mask_cuts_the_reference() -> None:
    case = traced("mobilenet", "adam")
    inputs = random_inputs(case.graph, 2, classes=case.classes)
    mask = random_mask(case.graph, 2)
    reference = autograd_step(case.graph, mask, 2, case.weights, inputs)
    whole = autograd_step(case.graph, full_mask(case.graph), 2, case.weights, inputs)
    for update in mask:
        name = case.graph.layer[update.layer].weight
        if name is None or update.weight not in ("input", "output"):
            continue
        rule = next(r for r in case.graph.tensor[name].slices if r.axis == update.weight)
        chosen = torch.tensor(update.channels)
        assert rule.dim is not None
        kept = reference.gradients[name].index_select(rule.dim, chosen)
        assert torch.equal(kept, whole.gradients[name].index_select(rule.dim, chosen))
        rest = reference.gradients[name].index_fill(rule.dim, chosen, 0.0)
        assert not rest.any()
        moved = (reference.updated[name] - reference.initial[name]).index_fill(rule.dim, chosen, 0)
        assert not moved.any()


def test_what_cannot_be_compared_is_refused() -> None:
    case = traced("dropped")
    inputs = random_inputs(case.graph, 2, classes=case.classes)
    with pytest.raises(DataError, match="dropout"):
        model_step(case.module, case.graph, full_mask(case.graph), case.weights, inputs)
    infer = traced("plain_cnn", mode="infer")
    with pytest.raises(RequestError, match="train"):
        autograd_step(infer.graph, (), 2, infer.weights, inputs)
    other = traced("resnet")
    plain = traced("plain_cnn")
    inputs = random_inputs(plain.graph, 2, classes=plain.classes)
    with pytest.raises(DataError, match="module"):
        model_step(other.module, plain.graph, full_mask(plain.graph), plain.weights, inputs)
