"""The executor against autograd, with dead bytes poisoned, under plans that choose at random."""

from __future__ import annotations

import pytest
import torch

from memplan.clients.executors.torch import (
    ArenaExecutor,
    compare,
    forward_outputs,
    model_outputs,
    model_step,
    run_step,
)
from memplan.ir.errors import DataError, ModelError, PlanRejectedError
from memplan.ir.request import LayerUpdate
from tests.clients.executors.training import (
    against_autograd,
    full_mask,
    random_inputs,
    random_mask,
    random_plan,
    traced,
)
from tests.support.models import MODELS


@pytest.mark.parametrize("name", sorted(MODELS))
def test_full_update_equals_autograd_and_the_module(name: str) -> None:
    case = traced(name)
    inputs = random_inputs(case.graph, 2, classes=case.classes)
    mask = full_mask(case.graph)
    plan = random_plan(case.graph, 2, 2, mask, seed=1)
    result, comparison = against_autograd(case.graph, plan, case.weights, inputs)
    assert comparison.ok, comparison.problem
    assert set(result.updated) == {p.parameter for p in comparison.parameters}
    original = compare(result, model_step(case.module, case.graph, mask, case.weights, inputs))
    assert original.ok, original.problem


@pytest.mark.parametrize(
    ("batch", "micro_batch", "optimizer"),
    [(4, 2, "sgd"), (3, 1, "momentum"), (4, 4, "momentum"), (4, 2, "adam"), (2, 2, "adam")],
)
@pytest.mark.parametrize("name", ["mobilenet", "causal", "densenet"])
def test_optimizers_and_micro_batches_over_three_steps(
    name: str, batch: int, micro_batch: int, optimizer: str
) -> None:
    case = traced(name, optimizer)
    inputs = random_inputs(case.graph, batch, classes=case.classes)
    plan = random_plan(case.graph, batch, micro_batch, full_mask(case.graph), seed=batch)
    _, comparison = against_autograd(case.graph, plan, case.weights, inputs, steps=3)
    assert comparison.ok, comparison.problem


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", ["plain_cnn", "mobilenet", "causal", "normed", "unet"])
def test_masks_with_slices(name: str, optimizer: str, seed: int) -> None:
    case = traced(name, optimizer)
    inputs = random_inputs(case.graph, 4, classes=case.classes)
    mask = random_mask(case.graph, seed)
    micro_batch = (4, 2, 1)[seed % 3]
    plan = random_plan(case.graph, 4, micro_batch, mask, seed)
    result, comparison = against_autograd(case.graph, plan, case.weights, inputs, steps=2)
    assert comparison.ok, comparison.problem
    for update in mask:
        weight = case.graph.layer[update.layer].weight
        if weight is None or update.weight not in ("input", "output"):
            continue
        tensor = case.graph.tensor[weight]
        dim = next(rule.dim for rule in tensor.slices if rule.axis == update.weight)
        assert dim is not None
        changed = (result.updated[weight] != case.weights[weight]).movedim(dim, 0).flatten(1).any(1)
        assert set(changed.nonzero().flatten().tolist()) <= set(update.channels)


@pytest.mark.parametrize("name", ["dropped", "encoder_dropout"])
def test_dropout_is_independent_of_micro_batch_and_recomputation(name: str) -> None:
    case = traced(name)
    inputs = random_inputs(case.graph, 4, classes=case.classes)
    losses = set()
    for micro_batch, seed in ((4, 0), (2, 1), (1, 2)):
        plan = random_plan(case.graph, 4, micro_batch, full_mask(case.graph), seed)
        result, comparison = against_autograd(case.graph, plan, case.weights, inputs, seed=11)
        assert comparison.ok, comparison.problem
        losses.add(round(result.loss or 0.0, 4))
    assert len(losses) == 1
    other = run_step(case.graph, plan, case.weights, inputs, seed=12)
    assert round(other.loss or 0.0, 4) not in losses


def test_batch_norm_over_batch_statistics() -> None:
    case = traced("resnet", "momentum", "train")
    inputs = random_inputs(case.graph, 4, classes=case.classes)
    plan = random_plan(case.graph, 4, 4, full_mask(case.graph), seed=2)
    result, comparison = against_autograd(case.graph, plan, case.weights, inputs)
    assert comparison.ok, comparison.problem
    module = case.module.train()
    expected = dict(module.named_buffers())
    before = {name: value.clone() for name, value in expected.items()}
    module(next(inputs[t.id] for t in case.graph.tensors if t.role == "input"))
    means = [name for name in expected if name.endswith("running_mean")]
    for name in means:
        assert torch.allclose(result.states[name], expected[name], atol=1e-5)
        assert not torch.allclose(expected[name], before[name], atol=1e-5)
    module.load_state_dict(before, strict=False)


def test_streamed_inputs_are_loaded_for_each_trip() -> None:
    case = traced("plain_cnn")
    inputs = random_inputs(case.graph, 6, classes=case.classes)
    plans = [
        random_plan(case.graph, 6, 2, full_mask(case.graph), 4, stream_inputs=streamed)
        for streamed in (False, True)
    ]
    assert plans[1].totals.arena_bytes < plans[0].totals.arena_bytes
    for plan in plans:
        _, comparison = against_autograd(case.graph, plan, case.weights, inputs)
        assert comparison.ok, comparison.problem


@pytest.mark.parametrize("name", ["mobilenet", "unet", "causal"])
def test_inference(name: str) -> None:
    case = traced(name, mode="infer")
    inputs = random_inputs(case.graph, 6, classes=case.classes)
    trips = []
    plan = random_plan(case.graph, 6, 2, (), seed=0)
    result = run_step(
        case.graph, plan, case.weights, inputs, debug=True,
        on_outputs=lambda trip, outputs: trips.append((trip, outputs)),
    )  # fmt: skip
    (output,) = result.outputs.values()
    (expected, *_) = model_outputs(case.module, case.graph, inputs)
    assert float(expected.std()) > 1e-3
    # The graph's outputs may be flatter than the module's: views are not operations.
    assert torch.allclose(
        output.view_as(expected), expected, atol=1e-5 * float(expected.abs().max())
    )
    reference = forward_outputs(case.graph, 6, case.weights, inputs)
    assert torch.allclose(output, reference[case.graph.outputs[0]], atol=1e-5)
    assert [trip for trip, _ in trips] == [0, 1, 2]
    assert torch.equal(torch.cat([next(iter(part.values())) for _, part in trips]), output)
    assert result.loss is None
    assert not result.updated


def test_state_lives_in_the_arena_between_steps() -> None:
    case = traced("resnet", "adam")
    inputs = random_inputs(case.graph, 2, classes=case.classes)
    plan = random_plan(case.graph, 2, 1, full_mask(case.graph), seed=5)
    executor = ArenaExecutor(case.graph, plan, case.weights)
    losses = [float(executor.step(inputs)[case.graph.outputs[0]]) for _ in range(4)]
    assert losses[-1] < losses[0]
    once = run_step(case.graph, plan, case.weights, inputs, steps=4, measure_scratch=False)
    assert once.loss == losses[-1]
    for name, value in executor.parameters().items():
        assert torch.equal(value, once.updated[name])
    steps = [value for name, value in executor.states().items() if name.endswith(".step")]
    assert steps
    assert {int(value) for value in steps} == {4}


def test_scratch_is_measured_in_a_step_that_is_undone() -> None:
    case = traced("resnet")
    inputs = random_inputs(case.graph, 2, classes=case.classes)
    plan = random_plan(case.graph, 2, 2, full_mask(case.graph), seed=6)
    executor = ArenaExecutor(case.graph, plan, case.weights)
    before = executor.parameters()
    report = executor.measure_scratch(inputs)
    for name, value in executor.parameters().items():
        assert torch.equal(value, before[name])
    assert report.peak_bytes == report.operations[0].peak_bytes
    assert "conv" in report.operations[0].target
    # A 3x3 convolution of 8 channels at 16x16 computes its result outside of the arena first.
    assert report.peak_bytes >= 2 * 8 * 16 * 16 * 4
    sizes = [entry.peak_bytes for entry in report.operations]
    assert sizes == sorted(sizes, reverse=True)


def test_gradients_are_shown_before_the_update() -> None:
    case = traced("plain_cnn")
    inputs = random_inputs(case.graph, 4, classes=case.classes)
    plan = random_plan(case.graph, 4, 2, full_mask(case.graph), seed=7)
    seen: dict[str, torch.Tensor] = {}
    result = run_step(
        case.graph, plan, case.weights, inputs, keep_gradients=True,
        on_gradient=lambda name, gradient: seen.update({name: gradient}),
    )  # fmt: skip
    assert set(seen) == set(result.updated)
    for name, gradient in seen.items():
        step = case.weights[name] - 0.01 * gradient
        assert torch.allclose(result.updated[name], step, atol=1e-7)
        assert torch.equal(result.gradients[name], gradient)


def test_poison_finds_a_buffer_that_dies_too_early() -> None:
    case = traced("plain_cnn")
    inputs = random_inputs(case.graph, 2, classes=case.classes)
    plan = random_plan(case.graph, 2, 2, full_mask(case.graph), seed=8)
    victim = max(
        (b for b in plan.buffers if b.scope == "body" and b.tensor and ".gradient" not in b.tensor),
        key=lambda b: b.end_step - b.start_step if b.tensor in case.graph.producer else 0,
    )
    assert victim.end_step - victim.start_step > 3
    short = victim.model_copy(update={"end_step": victim.start_step + 2})
    buffers = tuple(short if b.id == victim.id else b for b in plan.buffers)
    broken = plan.model_copy(update={"buffers": buffers})
    try:
        _, comparison = against_autograd(case.graph, broken, case.weights, inputs)
    except ModelError:
        return  # poisoned indices
    assert not comparison.ok


def test_the_output_is_the_computation_that_is_there_at_the_end() -> None:
    """The loss is computed again for its other result; that copy of the loss dies at once."""
    case = traced("plain_cnn")
    inputs = random_inputs(case.graph, 2, classes=case.classes)
    plan = random_plan(case.graph, 2, 2, full_mask(case.graph), seed=8)
    loss = case.graph.producer[case.graph.outputs[0]].id
    first = max(index for index, step in enumerate(plan.body) if step.operation == loss)
    kept = plan.body[first].writes[0]
    again = plan.body[first].model_copy(update={"computation": plan.body[first].computation + 1})
    buffers = [
        # Everything after the second computation happens one step later.
        b.model_copy(
            update={
                "start_step": b.start_step + (b.start_step > first),
                "end_step": max(
                    b.end_step + (b.end_step > first),
                    first + 2 if b.id in again.reads else 0,
                ),
            }
        )
        for b in plan.buffers
    ]
    writes = []
    for number in again.writes:
        top = max(b.offset + b.size_bytes for b in buffers)
        writes.append(len(buffers))
        buffers.append(
            buffers[number].model_copy(
                update={
                    "id": len(buffers),
                    "computation": again.computation,
                    "offset": -(-top // 64) * 64,
                    "start_step": first + 1,
                    "end_step": first + 2,
                }
            )
        )
    body = (
        *plan.body[: first + 1],
        again.model_copy(update={"writes": tuple(writes)}),
        *plan.body[first + 1 :],
    )
    twice = plan.model_copy(
        update={
            "body": body,
            "buffers": tuple(buffers),
            "totals": plan.totals.model_copy(
                update={"arena_bytes": max(b.offset + b.size_bytes for b in buffers)}
            ),
        }
    )
    assert buffers[kept].end_step == len(body)
    result = run_step(case.graph, twice, case.weights, inputs, debug=True)
    assert result.loss == run_step(case.graph, plan, case.weights, inputs).loss


def test_bad_data_is_refused_with_the_name_of_what_is_wrong() -> None:
    case = traced("plain_cnn")
    graph, weights = case.graph, case.weights
    inputs = random_inputs(graph, 2, classes=case.classes)
    plan = random_plan(graph, 2, 2, full_mask(graph), seed=9)
    name = next(iter(weights))
    with pytest.raises(DataError, match="missing"):
        run_step(graph, plan, {k: v for k, v in weights.items() if k != name}, inputs)
    with pytest.raises(DataError, match=name.split(".")[0]):
        run_step(graph, plan, {**weights, name: torch.zeros(1)}, inputs)
    image = next(t.id for t in graph.tensors if t.role == "input")
    with pytest.raises(DataError, match="missing"):
        run_step(graph, plan, weights, {k: v for k, v in inputs.items() if k != image})
    with pytest.raises(DataError, match="the graph says float32"):
        run_step(graph, plan, weights, {**inputs, image: inputs[image].double()})
    with pytest.raises(DataError, match="finite"):
        run_step(graph, plan, weights, {**inputs, image: inputs[image] * float("nan")})


def test_plans_that_do_not_fit_the_graph_are_refused() -> None:
    case = traced("plain_cnn")
    plan = random_plan(case.graph, 2, 2, full_mask(case.graph), seed=10)
    index = next(i for i, b in enumerate(plan.buffers) if b.tensor in case.graph.producer)
    for change, problem in (({"offset": 2}, "alignment"), ({"size_bytes": 4}, "bytes")):
        buffers = list(plan.buffers)
        buffers[index] = buffers[index].model_copy(update=change)
        broken = plan.model_copy(update={"buffers": tuple(buffers)})
        with pytest.raises(PlanRejectedError, match=problem):
            ArenaExecutor(case.graph, broken, case.weights)
    step = plan.body[0].model_copy(update={"alternative": "nothing"})
    with pytest.raises(PlanRejectedError, match="alternative"):
        ArenaExecutor(
            case.graph, plan.model_copy(update={"body": (step, *plan.body[1:])}), case.weights
        )


def test_a_frozen_layer_stays_as_it_is() -> None:
    case = traced("plain_cnn")
    last = case.graph.layers[-1]
    mask = (LayerUpdate(layer=last.id, bias=True),)
    inputs = random_inputs(case.graph, 2, classes=case.classes)
    plan = random_plan(case.graph, 2, 2, mask, seed=11)
    result, comparison = against_autograd(case.graph, plan, case.weights, inputs)
    assert comparison.ok, comparison.problem
    assert set(result.updated) == {last.bias}
