"""Row strips in planned memory, with dead bytes poisoned, against the module and autograd."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import memplan
from memplan.clients.executors.torch import ArenaExecutor, run_step
from memplan.clients.executors.torch.arguments import resolve_arguments
from memplan.ir.check import check
from memplan.ir.errors import ModelError
from memplan.ir.graph import Alternative, LocalArgument, OpGraph
from memplan.ir.plan import Plan
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.ir.row_strips import read_program
from memplan.tracing.settings import TraceSettings
from tests.clients.executors.calls import close, execute
from tests.clients.executors.training import (
    Traced,
    against_autograd,
    full_mask,
    random_inputs,
    random_plan,
    traced_module,
)
from tests.support.int8_networks import Excited, Mixed, Residual, quantized
from tests.support.models import randomise
from tests.support.naive_plan import naive_plan
from tests.support.strip_networks import STRIP_NETWORKS, InvertedResidual

INFER = TraceSettings(mode="infer")


def traced_network(module: nn.Module, x: Tensor, settings: TraceSettings = INFER) -> Traced:
    return traced_module(randomise(module).eval(), {"x": x}, settings)


def forward_body(graph: OpGraph, choose: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what the outputs need, each operation by the alternative named."""
    wanted = set(graph.outputs)
    body = []
    for operation in reversed(graph.operations):
        if operation.phase != "forward" or wanted.isdisjoint(operation.writes):
            continue
        name = choose.get(operation.id, "plain")
        way = next(way for way in operation.alternatives if way.name == name)
        wanted.update(operand.tensor for operand in way.reads)
        body.append((operation.id, name))
    return body[::-1]


def forward_plan(
    graph: OpGraph, choose: Mapping[str, str], batch: int, micro_batch: int, in_place: bool = True
) -> Plan:
    request = PlanRequest(
        budget_bytes=2**40,
        batch=batch,
        compute_limit=None,
        # What lies there for the whole batch cannot be used up.
        stream_inputs=any("used_up" in name for name in choose.values()),
    )
    plan = naive_plan(
        graph,
        request,
        (),
        micro_batch=micro_batch,
        body=forward_body(graph, choose),
        reuse=True,
        in_place=in_place,
    )
    report = check(graph, plan)
    assert report.accepted, report
    return plan


def offered(graph: OpGraph) -> list[tuple[str, str]]:
    return [
        (operation.id, way.name)
        for operation in graph.operations
        for way in operation.alternatives
        if way.target == "memplan.row_strips"
    ]


def only(graph: OpGraph, keep: Callable[[Alternative], bool]) -> OpGraph:
    """Return a graph with some of its alternatives."""
    operations = tuple(
        operation.model_copy(update={"alternatives": tuple(filter(keep, operation.alternatives))})
        for operation in graph.operations
    )
    return OpGraph.from_json(graph.model_copy(update={"operations": operations}).to_json())


@pytest.mark.parametrize("micro_batch", [1, 3])
@pytest.mark.parametrize("name", STRIP_NETWORKS)
def test_every_program_gives_what_the_module_gives(name: str, micro_batch: int) -> None:
    build, x = STRIP_NETWORKS[name]
    case = traced_network(build(), x)
    inputs = random_inputs(case.graph, 3)
    (given,) = inputs.values()
    with torch.no_grad():
        expected = case.module(given)
    names = offered(case.graph)
    assert names
    for choice in names:
        plan = forward_plan(case.graph, dict([choice]), 3, micro_batch)
        executor = ArenaExecutor(case.graph, plan, case.weights, debug=True)
        for _ in range(2):  # nothing is left over from a step
            outputs = executor.step(inputs)
            close(outputs[case.graph.outputs[0]], expected, 1e-5)


def stemmed(block: nn.Module, channels: int) -> nn.Module:
    """Return a block whose input is none of the host's, and something that reads its output."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1), block, nn.MaxPool2d(2), nn.Conv2d(channels, 2, 1)
    )


@pytest.mark.parametrize("kernel", [3, 7])
@pytest.mark.parametrize("skip", [False, True])
def test_rows_in_the_bytes_of_the_input(skip: bool, kernel: int) -> None:
    module = stemmed(InvertedResidual(4, 24, 4, kernel, skip=skip), 4)
    case = traced_network(module, torch.randn(2, 3, 18, 13))
    inputs = random_inputs(case.graph, 2)
    end = "1.project.add" if skip else "1.project"
    end = next(name for name, _ in offered(case.graph) if name in (end, "0.add"))
    results, shared = [], []
    for in_place in (False, True):
        plan = forward_plan(case.graph, {end: "rows"}, 2, 2, in_place)
        step = next(step for step in plan.body if step.operation == end)
        result = plan.buffers[step.writes[0]]
        places = {plan.buffers[r].offset for r in step.reads if r is not None}
        shared.append(result.offset in places)
        executor = ArenaExecutor(case.graph, plan, case.weights, debug=True)
        results.append(executor.step(inputs)[case.graph.outputs[0]])
    assert shared == [False, True]
    assert torch.equal(*results)
    with torch.no_grad():
        close(results[0], case.module(next(iter(inputs.values()))), 1e-5)


def test_an_unsafe_pair_would_be_seen() -> None:
    """The pair that the pass does not declare, declared by hand: the result is wrong."""
    build, _ = STRIP_NETWORKS["late reader"]
    case = traced_network(stemmed(build(), 6), torch.randn(2, 3, 14, 9))
    end = next(operation for operation, name in offered(case.graph) if name == "rows")
    way = next(w for w in case.graph.operation[end].alternatives if w.name == "rows")
    assert not way.in_place
    x = torch.randn(2, 6, 14, 9)
    results = []
    for same in (False, True):
        operand = x.clone()
        out = operand if same else torch.full_like(x, float("nan"))
        arguments = _resolved(case.graph, way, operand, case.weights)
        execute(way.target, arguments, outs=[out], workspace_bytes=way.workspace_bytes.fixed)
        results.append(out)
    with torch.no_grad():
        close(results[0], list(case.module.children())[1](x), 1e-5)
    assert not torch.allclose(results[0], results[1], rtol=1e-2, atol=1e-2)


def _resolved(
    graph: OpGraph, way: Alternative, x: Tensor, weights: Mapping[str, Tensor]
) -> list[object]:
    operands = [weights.get(operand.tensor, x) for operand in way.reads]
    return list(resolve_arguments(way, operands, x.shape[0])[0])


SMALL = TraceSettings(batch=2)


def training_network(channels: int = 8) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, 2, padding=1), nn.ReLU6(),
        InvertedResidual(channels, 32, channels, skip=True),
        InvertedResidual(channels, 48, 8, kernel=5, stride=2),
        nn.Flatten(), nn.Linear(8 * 5 * 5, 4),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_training_steps_with_partly_updated_weights_inside(seed: int) -> None:
    case = traced_network(training_network(), torch.randn(2, 3, 18, 18), SMALL)
    graph = only(case.graph, lambda way: not way.covers)
    inputs = random_inputs(graph, 4, classes=4)
    sliced = [
        LayerUpdate(layer="2.project", weight="input", channels=(1, 2, 7), bias=True),
        LayerUpdate(layer="3.expand", weight="output", channels=(0, 9, 33, 40)),
        LayerUpdate(layer="3.depthwise", weight="input", channels=(3, 4, 47)),
    ]
    mask = full_mask(graph) if seed % 2 else sliced
    plans = (random_plan(graph, 4, (4, 2, 1, 2)[seed], mask, 10 * seed + i) for i in range(10))
    plan = next(plan for plan in plans if any("rows" in step.alternative for step in plan.body))
    _, comparison = against_autograd(graph, plan, case.weights, inputs, steps=2)
    assert comparison.ok, comparison.problem


def entry(
    target: str, arguments: tuple[object, ...], window: tuple[int, ...], place: object
) -> list[object]:
    return [target, list(arguments), [], list(window), [2, 6, 4], torch.float32, place]


def test_a_ring_that_is_too_short_is_refused() -> None:
    x, w = torch.randn(1, 2, 6, 4), torch.randn(2, 1, 3, 3)

    def program(rows: int) -> list[object]:
        relu = entry("aten.relu.default", (x,), (1, 1, 0, 1), [0, rows])
        geometry = ([1, 1], [1, 1], [1, 1], False, [0, 0], 2)
        conv = (LocalArgument(local=0), w, None, *geometry)
        return [relu, entry("aten.convolution.default", conv, (3, 1, 1, 1), None)]

    (out,) = execute("memplan.row_strips", program(3), [[1, 2, 6, 4]], workspace_bytes=3 * 8 * 4)
    close(out, torch.conv2d(x.relu(), w, padding=1, groups=2), 1e-6)
    with pytest.raises(ModelError, match="row 0 of entry 0, which is gone"):
        execute("memplan.row_strips", program(2), [[1, 2, 6, 4]], workspace_bytes=3 * 8 * 4)
    with pytest.raises(ModelError, match="need 96 bytes of workspace"):
        execute("memplan.row_strips", program(3), [[1, 2, 6, 4]], workspace_bytes=3 * 8 * 4 - 1)
    with pytest.raises(ModelError, match="need 96 bytes of workspace"):
        execute("memplan.row_strips", program(3), [[1, 2, 6, 4]])
    with pytest.raises(ModelError, match="last entry"):
        execute("memplan.row_strips", program(3), [[1, 2, 7, 4]], workspace_bytes=3 * 8 * 4)
    together = program(3)
    for one in together:
        assert isinstance(one, list)
        one[6] = None
    with pytest.raises(ModelError, match="in place"):
        execute("memplan.row_strips", together, [[1, 2, 6, 4]])


def test_what_is_allocated_outside_are_windows_of_rows() -> None:
    build, x = STRIP_NETWORKS["two blocks and a stem"]
    case = traced_network(build(), x)
    graph = case.graph
    inputs = random_inputs(graph, 1)
    end, name = max(
        offered(graph), key=lambda one: len(graph.operation[one[0]].alternatives[-1].arguments)
    )
    peaks = []
    for choose in ({}, {end: name}):
        plan = forward_plan(graph, choose, 1, 1)
        result = run_step(graph, plan, case.weights, inputs, seed=0)
        assert result.scratch is not None
        peaks.append(result.scratch.peak_bytes)
    assert peaks[1] <= peaks[0]


def test_a_budget_below_any_plain_plan_is_kept_by_strips() -> None:
    case = traced_network(training_network(16), torch.randn(2, 3, 18, 18), TraceSettings(batch=1))
    graph = case.graph
    plain = only(graph, lambda way: way.target != "memplan.row_strips")
    limits: dict[str, Any] = {"batch": 1, "update": "last-layer", "time_limit": 4.0}
    least = memplan.plan(plain, budget=2**20, **limits)
    assert least.plan is not None
    budget = least.plan.certificate.lower_bound_bytes - 1
    answer = memplan.plan(graph, budget=budget, **limits)
    assert answer.plan is not None
    assert answer.plan.totals.arena_bytes <= budget
    assert any(step.alternative.startswith("rows") for step in answer.plan.body)
    inputs = random_inputs(graph, 1, classes=4)
    _, comparison = against_autograd(graph, answer.plan, case.weights, inputs, steps=2)
    assert comparison.ok, comparison.problem


@pytest.mark.parametrize(
    ("network", "size", "targets"),
    [
        (Residual, 32, {"memplan.conv_int8", "memplan.add_int8"}),
        (Mixed, 17, {"aten.max_pool2d.default", "memplan.avg_pool_int8", "memplan.dequantize"}),
        (Excited, 16, {"memplan.conv_int8", "aten.hardswish.default"}),
    ],
)
def test_integers_are_exactly_the_same(
    network: type[nn.Module], size: int, targets: set[str]
) -> None:
    case = quantized(network, size=size, mode="infer")
    graph, seen = case.graph, set()
    results = []
    for choice in [None, *offered(graph)]:
        plan = forward_plan(graph, dict([choice]) if choice else {}, 4, 2)
        executor = ArenaExecutor(graph, plan, case.weights, debug=True)
        results.append(executor.step(case.inputs)[graph.outputs[0]])
        assert torch.equal(results[0], results[-1])
        if choice is not None:
            ways = graph.operation[choice[0]].alternatives
            program = next(way for way in ways if way.name == choice[1]).arguments
            seen |= {entry.target for entry in read_program(program)}
    assert targets <= seen
