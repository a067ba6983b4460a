"""Which depthwise convolutions may be computed over their operand, and what that costs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from memplan.ir.graph import Alternative, OpGraph
from memplan.tracing import TraceSettings
from memplan.tracing.passes.in_place_depthwise import IN_PLACE_DEPTHWISE, offer_in_place_depthwise
from tests.support.int8_networks import Residual, quantized
from tests.support.passes import graph_without, labels_for, same_step
from tests.support.strip_networks import InvertedResidual

INFER = TraceSettings(mode="infer")


def graph_of(convolution: nn.Module, height: int = 12) -> OpGraph:
    """Return the graph of a convolution of eight channels behind another."""
    module = nn.Sequential(nn.Conv2d(3, 8, 1), convolution, nn.Conv2d(8, 2, 1))
    return graph_without(module, (torch.randn(2, 3, height, 9),), settings=INFER)


def in_place(graph: OpGraph) -> list[Alternative]:
    return [
        way
        for operation in graph.operations
        for way in operation.alternatives
        if way.name == IN_PLACE_DEPTHWISE
    ]


@pytest.mark.parametrize(
    ("kernel", "padding", "dilation", "height", "rows"),
    [
        (3, 1, 1, 12, 2),
        (5, 2, 1, 12, 3),
        (7, 3, 1, 12, 4),
        (3, 2, 2, 12, 3),
        ((1, 5), (0, 2), 1, 12, 1),
        ((5, 1), (2, 0), 1, 12, 3),
        (7, 3, 1, 2, 2),  # no more rows than there are
        (1, 0, 1, 12, 1),
    ],
)
def test_where_size_and_stride_allow(
    kernel: int, padding: int, dilation: int, height: int, rows: int
) -> None:
    graph = graph_of(nn.Conv2d(8, 8, kernel, 1, padding, dilation, groups=8), height)
    (way,) = in_place(graph)
    operation = graph.operation["1"]
    plain = operation.alternatives[0]
    assert way.workspace_bytes.at(1) == way.workspace_bytes.at(7) == rows * 9 * 4
    assert (way.target, way.arguments, way.reads) == (plain.target, plain.arguments, plain.reads)
    assert way.macs == plain.macs
    # Each row goes into the ring once, and is read from there.
    assert way.moved_bytes.at(2) == plain.moved_bytes.at(2) + 2 * (2 * 8 * height * 9 * 4)
    (pair,) = way.in_place
    assert (way.reads[pair.read].tensor, operation.writes[pair.write]) == ("0", "1")
    assert not plain.in_place


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(8, 8, 3, 2, 1, groups=8),
        nn.Conv2d(8, 8, 3, (1, 2), 1, groups=8),
        nn.Conv2d(8, 8, 3, 1, 0, groups=8),
        nn.Conv2d(8, 8, 3, 1, 2, groups=8),
        nn.Conv2d(8, 8, 3, 1, 1, groups=4),
        nn.Conv2d(8, 8, 3, 1, 1),
        nn.Sequential(nn.Conv2d(8, 16, 3, 1, 1, groups=8), nn.Conv2d(16, 8, 1)),
        nn.ConvTranspose2d(8, 8, 3, 1, 1, groups=8),
    ],
)
def test_where_they_do_not(convolution: nn.Module) -> None:
    assert not in_place(graph_of(convolution))


def test_an_input_is_the_host_s() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, groups=3), nn.Conv2d(3, 2, 1))
    graph = graph_without(module, (torch.randn(2, 3, 8, 8),), settings=INFER)
    assert not in_place(graph)


def test_integers_have_a_ring_of_bytes() -> None:
    graph = quantized(Residual, size=16, mode="infer").graph
    (operation,) = [
        o for o in graph.operations if any(w.name == IN_PLACE_DEPTHWISE for w in o.alternatives)
    ]
    (way,) = in_place(graph)
    assert way.target == "memplan.conv_int8"
    assert way.workspace_bytes.at(3) == 2 * 8  # rows of 8 bytes, two of them
    assert operation.alternatives[0].workspace_bytes.at(3) == 0


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 2, padding=1)
        self.blocks = nn.Sequential(
            InvertedResidual(6, 24, 6, skip=True), InvertedResidual(6, 18, 4, kernel=5)
        )
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.blocks(torch.relu(self.stem(x))).mean((2, 3)))
        return y


def test_a_training_step_is_the_same() -> None:
    x = torch.randn(2, 3, 14, 14, generator=torch.Generator().manual_seed(0))
    without, graph = same_step(
        Network(), (x,), offer_in_place_depthwise, labels=labels_for(2, 3),
        prefer=(IN_PLACE_DEPTHWISE,), tolerance=1e-6,
    )  # fmt: skip
    assert len(in_place(graph)) == 2
    assert not in_place(without)
    # The backward's convolutions are none of these.
    for operation in graph.operations:
        if any(way.name == IN_PLACE_DEPTHWISE for way in operation.alternatives):
            assert operation.phase == "forward"
