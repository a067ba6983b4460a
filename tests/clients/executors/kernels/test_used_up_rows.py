"""Results that are written last, wherever they lie over what died, and rows of the host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from memplan.clients.executors.torch import ArenaExecutor, run_step
from memplan.ir.check import check
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.tracing.settings import TraceSettings
from tests.clients.executors.calls import close
from tests.clients.executors.kernels.test_row_strips import (
    forward_plan,
    offered,
    traced_network,
    training_network,
)
from tests.clients.executors.training import (
    against_autograd,
    full_mask,
    random_inputs,
    random_plan,
)
from tests.ir.check.bases import with_buffer, with_level, with_totals
from tests.support.int8_networks import Excited, Mixed, Quantized, Residual, quantized
from tests.support.strip_networks import STRIP_NETWORKS, InvertedResidual

STREAMED = TraceSettings(mode="infer", input_streamed=True)


def at(plan: Plan, places: dict[int, int]) -> Plan:
    """Return the plan with buffers elsewhere, and the arena that it has then."""
    for place, offset in places.items():
        plan = with_buffer(plan, place, offset=offset)
    arena = max(buffer.offset + buffer.size_bytes for buffer in plan.buffers)
    return with_level(with_totals(plan, arena_bytes=arena), "arena_bytes", value=arena)


def over_the_operand(graph: OpGraph, plan: Plan, operation: str) -> Iterator[tuple[int, Plan]]:
    """Yield the plan with a result at several offsets over its used-up operand and workspace."""
    step = next(step for step in plan.body if step.operation == operation)
    way = next(w for w in graph.operation[operation].alternatives if w.name == step.alternative)
    assert way.uses_up is not None
    operand, workspace = step.reads[way.uses_up], step.workspace
    assert operand is not None and workspace is not None
    places, end = {}, 0
    for place in (operand, workspace, *(b.id for b in plan.buffers)):
        if place not in places:
            places[place] = end
            end += -(-plan.buffers[place].size_bytes // 16) * 16
    size = plan.buffers[step.writes[0]].size_bytes
    free = places[workspace] + plan.buffers[workspace].size_bytes - size
    for offset in sorted({0, 16, free // 32 * 16, free // 16 * 16}):
        moved = at(plan, {**places, step.writes[0]: offset})
        report = check(graph, moved)
        assert report.accepted, report
        yield offset, moved


def between(block: nn.Module, channels: int) -> nn.Module:
    """Return a block of four channels between others, so that both of its ends lie in the arena."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), block, nn.MaxPool2d(2), nn.Conv2d(channels, 2, 1)
    )


def used_up(graph: OpGraph) -> list[tuple[str, str]]:
    return [one for one in offered(graph) if one[1].endswith("used_up")]


@pytest.mark.parametrize("micro_batch", [1, 3])
@pytest.mark.parametrize(
    ("module", "size"),
    [
        (between(InvertedResidual(4, 24, 3, 5), 3), (18, 13)),
        (between(InvertedResidual(4, 24, 5, stride=2), 5), (17, 10)),
        (STRIP_NETWORKS["two blocks and a stem"][0](), (45, 46)),
    ],
)
def test_wherever_the_result_lies(
    module: nn.Module, size: tuple[int, int], micro_batch: int
) -> None:
    case = traced_network(module, torch.randn(3, 3, *size))
    inputs = random_inputs(case.graph, 3)
    with torch.no_grad():
        expected = case.module(next(iter(inputs.values())))
    found = used_up(case.graph)
    assert found
    for choice in found:
        plan = forward_plan(case.graph, dict([choice]), 3, micro_batch, in_place=False)
        results = []
        for _, moved in over_the_operand(case.graph, plan, choice[0]):
            executor = ArenaExecutor(case.graph, moved, case.weights, debug=True)
            for _ in range(2):
                results.append(executor.step(inputs)[case.graph.outputs[0]])
        close(results[0], expected, 1e-5)
        assert all(torch.equal(results[0], result) for result in results)


def integers(network: type[nn.Module], *, streamed: bool = False) -> Quantized:
    size = {Residual: 32, Mixed: 17, Excited: 16}[network]
    return quantized(network, size=size, mode="infer", input_streamed=streamed)


@pytest.mark.parametrize("micro_batch", [1, 2])
@pytest.mark.parametrize("network", [Residual, Mixed])
def test_integers_wherever_they_lie(network: type[nn.Module], micro_batch: int) -> None:
    case = integers(network)
    plain = forward_plan(case.graph, {}, 4, micro_batch)
    expected = ArenaExecutor(case.graph, plain, case.weights).step(case.inputs)
    found = used_up(case.graph)
    assert found
    for choice in found:
        plan = forward_plan(case.graph, dict([choice]), 4, micro_batch, in_place=False)
        for _, moved in over_the_operand(case.graph, plan, choice[0]):
            result = ArenaExecutor(case.graph, moved, case.weights, debug=True).step(case.inputs)
            for name in case.graph.outputs:
                assert torch.equal(result[name], expected[name])


def streamed(graph: OpGraph) -> list[tuple[str, str]]:
    return [one for one in offered(graph) if one[1].endswith("streamed")]


@pytest.mark.parametrize("micro_batch", [1, 3])
@pytest.mark.parametrize("name", STRIP_NETWORKS)
def test_an_input_without_bytes(name: str, micro_batch: int) -> None:
    build, x = STRIP_NETWORKS[name]
    case = traced_network(build(), x, STREAMED)
    graph, inputs = case.graph, random_inputs(case.graph, 3)
    ((input_, given),) = inputs.items()
    with torch.no_grad():
        expected = case.module(given)
    for operation, way in streamed(graph):
        plan = forward_plan(graph, {operation: way}, 3, micro_batch)
        assert all(buffer.tensor != input_ for buffer in plan.buffers)
        executor = ArenaExecutor(graph, plan, case.weights, debug=True)
        for _ in range(2):
            close(executor.step(inputs)[graph.outputs[0]], expected, 1e-5)
        again = {input_: given.flip(0)}
        close(executor.step(again)[graph.outputs[0]], expected.flip(0), 1e-5)
        plainer = way.removesuffix("_streamed")
        if (operation, plainer) in offered(graph):
            resident = forward_plan(graph, {operation: plainer}, 3, micro_batch)
            assert plan.totals.arena_bytes <= resident.totals.arena_bytes
            live = [
                one.live_bytes[[step.operation for step in one.body].index(operation)]
                for one in (plan, resident)
            ]
            assert live[0] < live[1]


@pytest.mark.parametrize("network", [Residual, Excited])
def test_streamed_integers(network: type[nn.Module]) -> None:
    case = integers(network, streamed=True)
    graph = case.graph
    plain = forward_plan(graph, {}, 4, 2)
    expected = ArenaExecutor(graph, plain, case.weights).step(case.inputs)
    found = streamed(graph)
    assert found
    for operation, way in found:
        plan = forward_plan(graph, {operation: way}, 4, 2)
        result = ArenaExecutor(graph, plan, case.weights, debug=True).step(case.inputs)
        assert all(torch.equal(result[name], expected[name]) for name in graph.outputs)


@pytest.mark.parametrize("stream_inputs", [False, True])
@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_training_steps_with_all_that_is_offered(micro_batch: int, stream_inputs: bool) -> None:
    settings = TraceSettings(batch=2, input_streamed=True)
    case = traced_network(training_network(), torch.randn(2, 3, 18, 18), settings)
    graph = case.graph
    inputs = random_inputs(graph, 4, classes=4)
    mask = full_mask(graph)[-2:]
    wanted = {"used_up", "streamed"}
    for seed in range(60):
        plan = random_plan(graph, 4, micro_batch, mask, seed, stream_inputs=stream_inputs)
        found = {step.alternative.rsplit("rows", 1)[-1] for step in plan.body}
        new = {word for word in wanted if any(name.endswith(word) for name in found)}
        if not new:
            continue
        wanted -= new
        _, comparison = against_autograd(graph, plan, case.weights, inputs, steps=2)
        assert comparison.ok, comparison.problem
        if not wanted:
            break
    assert not wanted


def test_what_is_kept_outside_is_the_result() -> None:
    """Rows wait outside of the arena here: on the host that is simpler, and it is measured."""
    build, x = STRIP_NETWORKS["two blocks and a stem"]
    case = traced_network(build(), x)
    choice = used_up(case.graph)[0]
    plan = forward_plan(case.graph, dict([choice]), 1, 1)
    result = run_step(case.graph, plan, case.weights, random_inputs(case.graph, 1), seed=0)
    (written,) = case.graph.operation[choice[0]].writes
    assert result.scratch is not None
    assert result.scratch.peak_bytes >= case.graph.tensor[written].size_bytes.at(1)
