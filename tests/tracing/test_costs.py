"""MACs against counted loops; moved bytes against operands counted by hand."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memplan.ir.graph import OpGraph
from memplan.tracing import TraceSettings
from tests.support.passes import graph_without


def counted_convolution(layer: Any, x: tuple[int, ...]) -> int:
    """Count the multiplications of a convolution, one by one.

    Positions in the padding count: a kernel multiplies there as anywhere.
    """
    y = layer(torch.zeros(x)).shape
    count = 0
    if isinstance(layer, nn.ConvTranspose2d):
        for _n, c, _h, _w in product(*map(range, x)):
            group = c // (layer.in_channels // layer.groups)
            width = layer.out_channels // layer.groups
            for _o in range(group * width, (group + 1) * width):
                for _kernel in product(*map(range, layer.kernel_size)):
                    count += 1
        return count
    for _n, o, _h, _w in product(*map(range, y)):
        group = o // (layer.out_channels // layer.groups)
        width = layer.in_channels // layer.groups
        for _c in range(group * width, (group + 1) * width):
            for _kernel in product(*map(range, layer.kernel_size)):
                count += 1
    return count


CONVOLUTIONS: dict[str, Any] = {
    "plain": lambda: nn.Conv2d(4, 6, 3),
    "padded": lambda: nn.Conv2d(4, 6, 3, padding=1),
    "strided": lambda: nn.Conv2d(4, 6, 3, stride=2),
    "dilated": lambda: nn.Conv2d(4, 6, 2, dilation=3),
    "grouped": lambda: nn.Conv2d(4, 8, 3, groups=2),
    "depthwise": lambda: nn.Conv2d(4, 4, 3, groups=4, padding=1),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 3, stride=2),
    "transposed in groups": lambda: nn.ConvTranspose2d(4, 6, 3, groups=2),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@pytest.mark.parametrize("batch", [1, 3])
def test_convolutions(kind: str, batch: int) -> None:
    layer = CONVOLUTIONS[kind]()
    module = nn.Sequential(nn.Conv2d(2, 4, 1), layer, nn.Flatten())
    graph = graph_without(module, (torch.randn(2, 2, 5, 5),))
    expected = counted_convolution(layer, (batch, 4, 5, 5))
    for name in ("1", "1.input_gradient", "1.weight.gradient"):
        assert graph.operation[name].alternatives[0].macs.at(batch) == expected, name
    assert graph.layer["1"].forward_macs.at(batch) == expected


def macs(graph: OpGraph, batch: int, *phases: str) -> int:
    return sum(
        operation.alternatives[0].macs.at(batch)
        for operation in graph.operations
        if operation.phase in phases
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tokens", [0, 7])
def test_linear_layers(bias: bool, tokens: int) -> None:
    shape = (2, tokens, 5) if tokens else (2, 5)
    graph = graph_without(
        nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 6, bias)), (torch.randn(shape),)
    )
    rows = 3 * (tokens or 1)
    counted = sum(1 for _ in product(range(rows), range(4), range(6)))
    assert graph.operation["1"].alternatives[0].macs.at(3) == counted
    assert graph.operation["1.input_gradient"].alternatives[0].macs.at(3) == counted
    assert graph.operation["1.weight.gradient"].alternatives[0].macs.at(3) == counted
    # The first layer's input needs no gradient.
    assert macs(graph, 3, "backward") == 2 * counted + rows * 5 * 4


class Attention(nn.Module):
    def __init__(self, spelled_out: bool) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(6, 8)
        self.spelled_out = spelled_out

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = (p(x).view(n, t, 2, 4).transpose(1, 2) for p in (self.q, self.k, self.v))
        if self.spelled_out:
            y: Tensor = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v)
        return y.transpose(1, 2).flatten(2)


def test_attention() -> None:
    x = (torch.randn(2, 5, 6),)
    whole, steps = graph_without(Attention(False), x), graph_without(Attention(True), x)
    pairs = list(product(range(3), range(2), range(5), range(5)))  # sample, head, query, key
    forward = sum(2 * 4 for _ in pairs)
    linear = 3 * (3 * 5 * 6 * 8)
    assert macs(whole, 3, "forward") == macs(steps, 3, "forward") == forward + linear
    # The one-operation backward recomputes queries times keys.
    backward = sum(3 * 4 + 2 * 4 for _ in pairs)
    assert macs(whole, 3, "backward") == backward + linear
    assert macs(steps, 3, "backward") == 2 * forward + linear


def test_moved_bytes_count_operands_as_viewed() -> None:
    module = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    graph = graph_without(module, (torch.randn(2, 6),))
    linear, relu = graph.operation["0"].alternatives[0], graph.operation["0.relu"].alternatives[0]
    assert linear.moved_bytes.at(5) == 4 * (5 * 6 + 6 * 8 + 8 + 5 * 8)
    assert relu.moved_bytes.at(5) == 4 * 2 * 5 * 8
    update = graph.operation["0.weight.update"].alternatives[0]
    assert update.moved_bytes.at(5) == 4 * 3 * 6 * 8, "weight and gradient read, weight written"


def test_part_of_a_tensor_and_broadcast_elements() -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x[:, :3] * y

    graph = graph_without(
        Half(), (torch.randn(2, 8), torch.randn(2, 1)), settings=TraceSettings(mode="infer")
    )
    (operation,) = graph.operations
    assert operation.alternatives[0].moved_bytes.at(5) == 4 * (5 * 3 + 5 + 5 * 3)


def test_fused_update_counts_its_gradient() -> None:
    graph = graph_without(nn.Sequential(nn.Linear(6, 20)), (torch.randn(2, 6),))
    plain, fused, *_ = graph.operation["0.weight.update"].alternatives
    gradient = graph.operation["0.weight.gradient"].alternatives[0]
    assert (plain.macs.at(4), fused.macs.at(4)) == (0, gradient.macs.at(4))
    moved = 4 * (6 * 20 + 4 * 20 + 4 * 6 + 6 * 20)  # weight, gy, x read; weight written
    assert fused.moved_bytes.at(4) == moved
