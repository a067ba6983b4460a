"""Row strips: the same numbers, and bytes and MACs by an account of single rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from memplan.ir.graph import Alternative, Operation, OpGraph
from memplan.ir.row_strips import Place, StripEntry, read_program
from memplan.tracing import TraceSettings
from memplan.tracing.passes.row_strips import MOST_SEGMENTS, offer_row_strips
from tests.support.graph_interpreter import run_step
from tests.support.models import randomise
from tests.support.passes import graph_without, labels_for, same_step
from tests.support.strip_networks import STRIP_NETWORKS, InvertedResidual

INFER = TraceSettings(mode="infer")
NAMES = ("rows_4", "rows_3", "rows_2", "rows")


def strips(graph: OpGraph) -> list[tuple[Operation, Alternative]]:
    return [
        (operation, way)
        for operation in graph.operations
        for way in operation.alternatives
        if way.target == "memplan.row_strips"
    ]


def inferred(name: str) -> OpGraph:
    build, x = STRIP_NETWORKS[name]
    return graph_without(randomise(build()), (x,), settings=INFER)


@pytest.mark.parametrize("name", STRIP_NETWORKS)
def test_outputs_are_those_of_the_module(name: str) -> None:
    build, x = STRIP_NETWORKS[name]
    module = randomise(build())
    graph = graph_without(module, (x,), settings=INFER)
    assert strips(graph)
    values = dict(module.named_parameters())
    (input_,) = [tensor.id for tensor in graph.tensors if tensor.role == "input"]
    for names in (NAMES, NAMES[::-1]):
        step = run_step(graph, values, {input_: x}, batch=x.shape[0], prefer=names)
        assert len(step.executed) < len(graph.operations)
        torch.testing.assert_close(
            step.outputs[graph.outputs[0]], module(x).detach(), rtol=1e-5, atol=1e-5
        )


def test_a_training_step_is_the_same() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(3, 8, 3, 2, padding=1), nn.ReLU6(),
                InvertedResidual(8, 32, 8, skip=True), InvertedResidual(8, 48, 8, stride=2),
            )  # fmt: skip
            self.head = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.head(self.body(x).mean((2, 3)))
            return y

    x = torch.randn(3, 3, 18, 18, generator=torch.Generator().manual_seed(0))
    without, graph = same_step(
        Network(), (x,), offer_row_strips, labels=labels_for(3, 4), tolerance=1e-5, prefer=NAMES
    )
    assert strips(graph)
    assert not strips(without)
    # All else is as it was: every other alternative is still there, under the same names.
    for before, after in zip(without.operations, graph.operations, strict=True):
        kept = after.alternatives[: len(before.alternatives)]
        assert (before.id, before.alternatives) == (after.id, kept)


def replay(entries: Sequence[StripEntry], rows_of: Sequence[int | None]) -> list[int]:
    """Compute single rows in rings of so many rows; return how many rows each entry computed.

    Written from the rule in ``memplan.ir.targets``, with its own arithmetic.

    Raises:
        LookupError: a row is not there (any more).
    """
    following = [0] * len(entries)
    slots: dict[tuple[Any, int], tuple[int, int]] = {}

    def slot(index: int, row: int) -> tuple[Any, int]:
        rows, place = rows_of[index], entries[index].place
        if rows is None or place is None:
            return ("output", row)
        return (place.offset_bytes, row % rows)

    def compute(index: int, row: int) -> None:
        entry = entries[index]
        window = entry.window
        needed = [
            row * window.stride - window.padding + i * window.dilation for i in range(window.kernel)
        ]
        for source in entry.locals():
            height = entries[source].shape[1]
            while following[source] <= needed[-1] and following[source] < height:
                compute(source, following[source])
        for source in entry.locals():
            for one in needed:
                inside = 0 <= one < entries[source].shape[1]
                if inside and slots.get(slot(source, one)) != (source, one):
                    raise LookupError(f"row {one} of entry {source}")
        slots[slot(index, row)] = (index, row)
        assert following[index] == row, "rows come in order, none twice"
        following[index] = row + 1

    for row in range(entries[-1].shape[1]):
        compute(len(entries) - 1, row)
    return following


@pytest.mark.parametrize("name", STRIP_NETWORKS)
def test_rings_hold_what_is_needed_and_not_a_row_more(name: str) -> None:
    for _, way in strips(inferred(name)):
        entries = read_program(way.arguments)
        rows = [None if entry.place is None else entry.place.rows for entry in entries]
        replay(entries, rows)
        places: dict[Place, int] = {}
        for entry in entries:
            if entry.place is not None:
                places[entry.place] = entry.shape[0] * entry.shape[2] * 4
        for place in places:
            fewer = [
                None if own is None else own - (entry.place == place)
                for own, entry in zip(rows, entries, strict=True)
            ]
            if place.rows == 1:
                continue
            with pytest.raises(LookupError):
                replay(entries, fewer)
        # They lie one behind the other, and the workspace ends with the last.
        end = 0
        for place in sorted(places, key=lambda place: place.offset_bytes):
            assert place.offset_bytes == end
            end += place.rows * places[place]
        assert (way.workspace_bytes.fixed, way.workspace_bytes.per_sample) == (end, 0)


def test_workspace_by_hand() -> None:
    operation, way = strips(inferred("7x7"))[0]
    # 7 rows of the wide tensor, one of the depthwise result, one of the projected: the output may
    # take the place of the input, which the sum still reads.
    assert way.workspace_bytes.fixed == 4 * 9 * (7 * 24 + 24 + 4)
    (_, strided) = strips(inferred("stride 2"))[0]
    assert strided.workspace_bytes.fixed == 4 * (3 * 24 * 10 + 24 * 5)
    (_, dilated) = strips(inferred("dilation"))[0]
    assert dilated.workspace_bytes.fixed == 4 * 9 * (5 * 24 + 24 + 4)
    (_, basic) = strips(inferred("basic blocks"))[0]
    assert way.name == basic.name == "rows"
    assert operation.alternatives[0].workspace_bytes.fixed == 0


def counted_macs(entry: StripEntry, way: Alternative, graph: OpGraph, rows: int) -> int:
    """Count a convolution's products, one result at a time."""
    if entry.target != "aten.convolution.default":
        return 0
    weight: Any = entry.arguments[1]
    shape = [s.at(1) for s in graph.tensor[way.reads[weight.operand].tensor].shape]
    count = 0
    for _ in range(entry.shape[0] * rows * entry.shape[2]):
        count += shape[1] * shape[2] * shape[3]
    return count


@pytest.mark.parametrize("name", STRIP_NETWORKS)
def test_macs_and_moved_bytes(name: str) -> None:
    graph = inferred(name)
    for operation, way in strips(graph):
        entries = read_program(way.arguments)
        computed = replay(entries, [None if e.place is None else e.place.rows for e in entries])
        counted = sum(
            counted_macs(entry, way, graph, rows)
            for entry, rows in zip(entries, computed, strict=True)
        )
        assert way.macs.at(1) == counted
        assert way.macs.at(5) == 5 * counted
        position = [op.id for op in graph.operations].index(operation.id)
        inside = graph.operations[position + 1 - len(entries) : position + 1]
        plain = [op.alternatives[0] for op in inside]
        if computed == [entry.shape[1] for entry in entries]:
            assert counted == sum(one.macs.at(1) for one in plain)
            assert way.moved_bytes.at(3) == sum(one.moved_bytes.at(3) for one in plain)
        else:
            assert name in ("rows left over", "stride 2, even", "two blocks and a stem", "pools",
                            "pools with odd ends")  # fmt: skip
            assert counted <= sum(one.macs.at(1) for one in plain)
            assert way.moved_bytes.at(3) < sum(one.moved_bytes.at(3) for one in plain)


def test_a_chain_reads_its_input_and_weights_alone() -> None:
    graph = inferred("two blocks and a stem")
    found = strips(graph)
    names = {"rows", "rows_used_up", "rows_2", "rows_2_used_up", "rows_3"}
    assert {way.name for _, way in found} == names
    for operation, way in found:
        varying = {o.tensor for o in way.reads if graph.tensor[o.tensor].role != "parameter"}
        assert len(varying) == 1
        assert len(way.reads) > 1
        assert len(operation.alternatives) <= 1 + MOST_SEGMENTS
    whole = max(found, key=lambda pair: len(pair[1].arguments))[1]
    assert any(graph.tensor[operand.tensor].role == "input" for operand in whole.reads)


def test_less_is_offered_only_where_it_is_less() -> None:
    graph = inferred("two blocks and a stem")
    for operation, way in strips(graph):
        (start,) = [o.tensor for o in way.reads if graph.tensor[o.tensor].role != "parameter"]
        ends = graph.tensor[start].size_bytes.at(1)
        if not way.in_place:
            ends += graph.tensor[operation.writes[0]].size_bytes.at(1)
        entries = read_program(way.arguments)
        # Some plain operation inside has more in its operand and result.
        widest = max(entry.shape[0] * entry.shape[1] * entry.shape[2] * 4 for entry in entries[:-1])
        assert ends + way.workspace_bytes.fixed < widest + max(
            graph.tensor[start].size_bytes.at(1), widest
        )


def test_what_others_read_is_no_line_buffer() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = InvertedResidual(4, 24, 4)
            self.other = nn.Conv2d(24, 2, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            wide = self.block.first(self.block.expand(x))
            y = self.block.project(self.block.second(self.block.depthwise(wide)))
            return y, self.other(wide.mean((2, 3), keepdim=True))

    graph = graph_without(randomise(Two()), (torch.randn(2, 4, 12, 9),), settings=INFER)
    wide = {name for name, t in graph.tensor.items() if "first" in name or "expand" in name}
    for _, way in strips(graph):
        assert wide & {operand.tensor for operand in way.reads}


def test_small_images_gain_nothing() -> None:
    graph = graph_without(
        randomise(InvertedResidual(4, 24, 4)), (torch.randn(2, 4, 1, 9),), settings=INFER
    )
    assert not strips(graph)  # a row is all of it


def test_in_place_only_where_rows_are_used_up() -> None:
    # A stem, so that the block's input is no input of the network, which is the host's.
    def graph_of(block: nn.Module, channels: int) -> OpGraph:
        stem = nn.Conv2d(3, channels, 3, padding=1)
        x = torch.randn(2, 3, 16, 12)
        return graph_without(randomise(nn.Sequential(stem, block)), (x,), settings=INFER)

    def pairs(graph: OpGraph) -> dict[str, list[str]]:
        return {
            way.name: [way.reads[pair.read].tensor for pair in way.in_place]
            for operation, way in strips(graph)
            if operation.writes[0] in graph.outputs
        }

    assert pairs(graph_of(InvertedResidual(4, 24, 4, skip=True), 4))["rows"] == ["0"]
    assert pairs(graph_of(InvertedResidual(4, 24, 4), 4))["rows"] == ["0"]
    assert pairs(graph_of(InvertedResidual(4, 24, 5), 4))["rows"] == []
    # The 5x5 branch reads the two rows above a row that is written already.
    build, _ = STRIP_NETWORKS["late reader"]
    assert pairs(graph_of(build(), 6))["rows"] == []
    for name in ("rows", "rows_2"):
        assert pairs(inferred("inverted residual")).get(name, []) == []
