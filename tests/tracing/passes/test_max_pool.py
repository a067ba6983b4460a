from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memplan.ir.baseline import baseline_bytes
from memplan.tracing import TraceSettings
from memplan.tracing.passes.max_pool import max_pool_positions
from tests.support.passes import graph_without, labels_for, same_step, targets

OURS = ("memplan.max_pool_positions", "memplan.max_pool_input_gradient")


def pooled(channels: int, pool: nn.Module, flat: int, dimensions: int = 2) -> nn.Module:
    convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    return nn.Sequential(
        convolution(2, channels, 3, padding=1), nn.ReLU(), pool, nn.Flatten(), nn.Linear(flat, 3)
    )


#: A pool, its image and the elements that it makes of one channel.
POOLS: dict[str, tuple[nn.Module, tuple[int, ...], int]] = {
    "plain": (nn.MaxPool2d(2), (8, 6), 12),
    "overlapping": (nn.MaxPool2d(3, 2, 1), (9, 8), 20),
    "every place": (nn.MaxPool2d(3, 1, 1), (5, 5), 25),
    "dilated": (nn.MaxPool2d(2, 1, 1, dilation=3), (6, 7), 30),
    "ceil": (nn.MaxPool2d((3, 2), 2, ceil_mode=True), (8, 7), 16),
    "line": (nn.MaxPool1d(3, 2), (11,), 5),
    "volume": (nn.MaxPool3d(2, padding=1), (4, 3, 5), 18),
}


@pytest.mark.parametrize("name", POOLS)
def test_a_byte_per_output_gives_the_same_step(name: str) -> None:
    pool, size, count = POOLS[name]
    module = pooled(3, pool, 3 * count, len(size))
    x = torch.randn(4, 2, *size, generator=torch.Generator().manual_seed(0))  # relu: many ties
    without, graph = same_step(module, (x,), max_pool_positions, labels=labels_for(4, 3))
    assert any("with_indices" in target for target in targets(without))
    assert not any("with_indices" in target for target in targets(graph))
    assert not any(tensor.dtype == "int64" for tensor in graph.tensors if tensor.role != "label")
    (saved,) = (op for op in graph.operations if op.alternatives[0].target == OURS[0])
    (backward,) = (op for op in graph.operations if op.alternatives[0].target == OURS[1])
    assert saved.phase == "forward"
    assert saved.recomputable
    positions = graph.tensor[saved.writes[0]]
    assert positions.dtype == "uint8"
    assert positions.size_bytes.at(4) == 4 * 3 * count
    read = [operand.tensor for operand in backward.alternatives[0].reads]
    assert read[1:] == [positions.id]  # and neither the image nor the output


def test_what_the_operations_cost() -> None:
    module = pooled(4, nn.MaxPool2d(2), 4 * 9)
    graph = graph_without(module, (torch.randn(2, 2, 6, 6),))
    image, output = 4 * 36 * 4, 4 * 9 * 4  # bytes of one sample
    ways = {op.alternatives[0].target: op.alternatives[0] for op in graph.operations}
    moved = {
        "aten.max_pool2d.default": image + output,
        "memplan.max_pool_positions": image + output // 4,
        "memplan.max_pool_input_gradient": output + output // 4 + image,
    }
    for target, per_sample in moved.items():
        assert ways[target].macs.at(5) == 0
        assert ways[target].moved_bytes.at(5) == 5 * per_sample


def test_the_bytes_of_a_step() -> None:
    module = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 64, 3)
    )
    x = torch.randn(2, 2, 16, 16)
    outputs = 2 * 8 * 64
    for settings, saved in (
        (TraceSettings(), 7 * outputs),
        (TraceSettings(mode="infer"), 8 * outputs),
    ):
        before = graph_without(module, (x,), max_pool_positions, settings=settings)
        after = graph_without(module, (x,), settings=settings)
        assert baseline_bytes(before, 2) - baseline_bytes(after, 2) == saved


def test_the_positions_are_made_only_for_a_backward() -> None:
    module = pooled(3, nn.MaxPool2d(2), 27)
    graph = graph_without(module, (torch.randn(2, 2, 6, 6),), settings=TraceSettings(mode="infer"))
    assert "aten.max_pool2d.default" in targets(graph)
    assert not set(OURS) & set(targets(graph))


class Unpooled(nn.Module):
    """The indices serve another operation too."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 3, 3, padding=1)
        self.head = nn.Linear(3 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, indices = F.max_pool2d(self.convolution(x), 2, return_indices=True)
        repeated = y.repeat(1, 4, 1, 1) + indices.repeat(1, 4, 1, 1)
        scores: Tensor = self.head(repeated.flatten(1))
        return scores


def test_indices_that_something_else_reads_stay() -> None:
    for settings in (TraceSettings(), TraceSettings(mode="infer")):
        graph = graph_without(Unpooled(), (torch.randn(2, 2, 6, 6),), settings=settings)
        assert "aten.max_pool2d_with_indices.default" in targets(graph)
        assert not set(OURS) & set(targets(graph))


@pytest.mark.parametrize(
    ("pool", "size", "count"),
    [
        (nn.MaxPool2d(17, 3), (17, 17), 1),  # 289 positions
        (nn.MaxPool2d(2, 1, 1, dilation=3), (2, 5), 4),  # windows that have padding only
    ],
)
def test_windows_that_do_not_fit_stay(pool: nn.Module, size: tuple[int, int], count: int) -> None:
    graph = graph_without(pooled(3, pool, 3 * count), (torch.randn(2, 2, *size),))
    assert "aten.max_pool2d_with_indices_backward.default" in targets(graph)
    assert not set(OURS) & set(targets(graph))


class ChannelsLast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, -1).contiguous().movedim(-1, 1)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_channels_last(dimensions: int) -> None:
    pool = (nn.MaxPool2d, nn.MaxPool3d)[dimensions - 2](3, 2, 1)
    module = pooled(3, nn.Sequential(ChannelsLast(), pool), 3 * 3**dimensions, dimensions)
    x = torch.randn(4, 2, *[6] * dimensions)
    if dimensions == 2:
        _, graph = same_step(module, (x,), max_pool_positions, labels=labels_for(4, 3))
        positions = next(t for t in graph.tensors if t.dtype == "uint8")
        assert positions.strides[1].at(4) == 1
    else:  # ATen's index of a window full of -inf lies outside of it
        graph = graph_without(module, (x,))
        assert not set(OURS) & set(targets(graph))
