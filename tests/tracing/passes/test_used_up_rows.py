"""Where chains of rows may use up what they begin with, or take rows of the input from the host."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from memplan.ir.errors import ModelError
from memplan.ir.graph import Alternative, Operation, OpGraph
from memplan.ir.row_strips import INPUT_ROWS, StripEntry, read_program
from memplan.tracing import TraceSettings
from memplan.tracing.loaders import load_module
from memplan.tracing.passes import row_strips
from memplan.tracing.trace import trace
from tests.support.graph_interpreter import run_step
from tests.support.models import randomise
from tests.support.strip_networks import STRIP_NETWORKS, InvertedResidual

STREAMED = TraceSettings(mode="infer", input_streamed=True)
RESIDENT = TraceSettings(mode="infer")


def traced(
    module: nn.Module, x: torch.Tensor, settings: TraceSettings = RESIDENT
) -> tuple[OpGraph, nn.Module]:
    module = randomise(module).eval()
    return trace(load_module(module, (x,)), settings), module


def network(name: str, settings: TraceSettings = RESIDENT) -> tuple[OpGraph, nn.Module]:
    build, x = STRIP_NETWORKS[name]
    return traced(build(), x, settings)


def ways_of(graph: OpGraph, ending: str) -> list[tuple[Operation, Alternative]]:
    return [
        (operation, way)
        for operation in graph.operations
        for way in operation.alternatives
        if way.name.startswith("rows") and way.name.endswith(ending)
    ]


def entries_of(way: Alternative) -> tuple[StripEntry, ...]:
    return read_program(way.arguments)


def row_bytes(entry: StripEntry) -> int:
    return entry.shape[0] * entry.shape[2] * 4


def start_of(graph: OpGraph, way: Alternative) -> str:
    (start,) = {o.tensor for o in way.reads if graph.tensor[o.tensor].role != "parameter"}
    return start


def bytes_of(graph: OpGraph, operation: Operation, way: Alternative) -> int:
    """Return what lives while a chain of one sample runs."""
    result = graph.tensor[operation.writes[0]].size_bytes.at(1)
    varying = {o.tensor for o in way.reads if graph.tensor[o.tensor].role != "parameter"}
    operand = sum(graph.tensor[name].size_bytes.at(1) for name in varying)
    if way.uses_up is not None:
        return max(operand + way.workspace_bytes.fixed, result)
    return operand + way.workspace_bytes.fixed + (0 if way.in_place else result)


@pytest.mark.parametrize("name", STRIP_NETWORKS)
def test_what_is_used_up_is_the_start_and_there_is_room(name: str) -> None:
    graph, _ = network(name)
    for operation, way in ways_of(graph, "used_up"):
        assert way.uses_up is not None
        assert way.reads[way.uses_up].tensor == start_of(graph, way)
        assert not way.in_place
        assert operation.writes[0] not in graph.outputs
        (*_, last) = entries_of(way)
        assert last.place is not None and last.place.rows == 1
        others = {w.name: w for w in operation.alternatives}
        plainer = others.get(way.name.removesuffix("_used_up"))
        if plainer is not None:
            assert bytes_of(graph, operation, way) < bytes_of(graph, operation, plainer)
            assert (way.macs, way.moved_bytes) == (plainer.macs, plainer.moved_bytes)
            # The same rings, and a row of the result.
            added = way.workspace_bytes.fixed - plainer.workspace_bytes.fixed
            assert 0 <= added - row_bytes(last) < 8 or added == 0
    for _, way in ways_of(graph, ""):
        assert ("used_up" in way.name) == (way.uses_up is not None)


@pytest.mark.parametrize("name", STRIP_NETWORKS)
def test_what_is_offered_does_not_count_on_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start may be needed later: every other way is there as it would be without."""
    graph, _ = network(name)
    monkeypatch.setattr(row_strips, "used_up_recipe", lambda *_: None)
    without, _ = network(name)
    for operation, plain in zip(graph.operations, without.operations, strict=True):
        others = tuple(way for way in operation.alternatives if way.uses_up is None)
        assert others == plain.alternatives


def test_a_result_of_the_network_is_none_that_waits() -> None:
    for name in STRIP_NETWORKS:
        graph, _ = network(name)
        last = graph.producer[graph.outputs[0]]
        assert all(way.uses_up is None for way in last.alternatives)


def test_a_result_larger_than_its_start_finds_no_room() -> None:
    def graph_of(channels: int) -> OpGraph:
        module = nn.Sequential(InvertedResidual(4, 32, channels), nn.MaxPool2d(8))
        return traced(module, torch.randn(2, 4, 16, 9))[0]

    # Row r of the result needs row r + 1 of the wide tensor, so that r + 2 rows are spent then.
    assert ways_of(graph_of(3), "used_up")
    assert ways_of(graph_of(4), "used_up")
    assert not ways_of(graph_of(5), "used_up")  # (r + 1) * 5 <= (r + 2) * 4 up to row 3 only
    assert not ways_of(graph_of(8), "used_up")


def test_strides_and_missing_padding_make_room() -> None:
    def graph_of(block: nn.Module) -> OpGraph:
        return traced(nn.Sequential(block, nn.MaxPool2d(2)), torch.randn(2, 4, 17, 9))[0]

    strided = graph_of(InvertedResidual(4, 32, 4, stride=2))
    ((_, way),) = ways_of(strided, "used_up")
    ring = 4 * (3 * 32 * 9 + 32 * 5 + 4 * 5)
    assert way.workspace_bytes.fixed == ring
    assert ways_of(graph_of(InvertedResidual(4, 32, 4, padding=0)), "used_up")


def test_nothing_is_streamed_unless_that_is_asked_for() -> None:
    for name in ("two blocks and a stem", "basic blocks"):
        graph, _ = network(name)
        assert not ways_of(graph, "streamed")
        targets = {e.target for _, w in ways_of(graph, "") for e in entries_of(w)}
        assert INPUT_ROWS not in targets


@pytest.mark.parametrize("name", STRIP_NETWORKS)
def test_streamed_chains_begin_at_the_input_and_do_not_read_it(name: str) -> None:
    graph, _ = network(name, STREAMED)
    (input_,) = [tensor for tensor in graph.tensors if tensor.role == "input"]
    found = ways_of(graph, "streamed")
    assert found
    for operation, way in found:
        assert all(operand.tensor != input_.id for operand in way.reads)
        first, *others = entries_of(way)
        assert (first.target, first.arguments) == (INPUT_ROWS, (input_.id,))
        assert tuple(size.fixed for size in input_.shape[1:]) == first.shape
        assert all(entry.target != INPUT_ROWS for entry in others)
        assert first.place is not None
        plainer = {w.name: w for w in operation.alternatives}.get(
            way.name.removesuffix("_streamed")
        )
        if plainer is not None:
            ring = first.place.rows * row_bytes(first)
            added = way.workspace_bytes.fixed - plainer.workspace_bytes.fixed
            # Less, where a row of the result need no longer mind that it may lie over the input.
            assert 0 < added <= ring
            assert added == ring or any(len(entry.locals()) > 1 for entry in others)
            assert way.macs == plainer.macs
            assert bytes_of(graph, operation, way) < bytes_of(graph, operation, plainer)
    for _, way in ways_of(graph, "used_up"):
        assert all(entry.target != INPUT_ROWS for entry in entries_of(way))


def test_a_chain_that_begins_later_is_not_streamed() -> None:
    graph, _ = network("two blocks and a stem", STREAMED)
    for operation, way in ways_of(graph, ""):
        starts = {o.tensor for o in way.reads if graph.tensor[o.tensor].role == "activation"}
        assert bool(starts) != (way.name.endswith("streamed") or _reads_input(graph, way)), (
            operation.id
        )


def _reads_input(graph: OpGraph, way: Alternative) -> bool:
    return any(graph.tensor[operand.tensor].role == "input" for operand in way.reads)


def test_what_takes_no_rows_is_refused() -> None:
    with pytest.raises(ModelError, match="no chain of operations takes the input row by row"):
        traced(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), torch.randn(2, 3, 4), STREAMED)


@pytest.mark.parametrize("name", STRIP_NETWORKS)
def test_numbers_are_those_of_the_module(name: str) -> None:
    graph, module = network(name, STREAMED)
    x = STRIP_NETWORKS[name][1]
    (input_,) = [tensor.id for tensor in graph.tensors if tensor.role == "input"]
    for ending in ("used_up", "streamed"):
        names = tuple(sorted({way.name for _, way in ways_of(graph, ending)}, reverse=True))
        for micro_batch in (1, 3):
            step = run_step(
                graph,
                dict(module.named_parameters()),
                {input_: x},
                batch=3,
                micro_batch=micro_batch,
                prefer=names,
            )
            expected = module(x).detach()[-micro_batch:]
            torch.testing.assert_close(
                step.outputs[graph.outputs[0]], expected, rtol=1e-5, atol=1e-5
            )
