"""Max-pools by positions against ATen's by indices: every bit, ties and NaN included."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from memplan.clients.executors.torch.kernels import pooling
from memplan.ir.errors import ModelError
from tests.clients.executors.calls import execute
from tests.support.graph_interpreter.pooling import max_pool_input_gradient
from tests.support.graph_interpreter.pooling import max_pool_positions as positions_by_indices

aten = torch.ops.aten

#: Kernel, stride, padding, dilation, whether the last window may be partial; size of the image.
WINDOWS: dict[str, tuple[Any, ...]] = {
    "plain": ([2, 2], [2, 2], [0, 0], [1, 1], False, (8, 10)),
    "overlapping": ([3, 3], [2, 2], [1, 1], [1, 1], False, (15, 16)),
    "all overlapping": ([3, 3], [1, 1], [1, 1], [1, 1], False, (7, 6)),
    "gaps": ([2, 2], [3, 4], [0, 0], [1, 1], False, (11, 12)),
    "ceil": ([3, 3], [2, 2], [0, 0], [1, 1], True, (8, 10)),
    "ceil and padding": ([3, 2], [2, 3], [1, 1], [1, 1], True, (8, 9)),
    "dilated": ([3, 2], [1, 2], [1, 0], [2, 3], False, (9, 11)),
    "dilated with ceil": ([2, 3], [2, 2], [1, 1], [3, 1], True, (10, 9)),
    "row": ([1, 4], [1, 2], [0, 2], [1, 1], False, (1, 21)),
    "largest": ([16, 16], [7, 7], [8, 8], [1, 1], False, (16, 16)),
    "global": ([6, 5], [6, 5], [0, 0], [1, 1], False, (6, 5)),
    "volume": ([2, 3, 2], [2, 1, 2], [1, 1, 0], [1, 1, 1], False, (5, 6, 4)),
    "dilated volume": ([2, 2, 2], [1, 2, 1], [0, 1, 1], [2, 1, 2], True, (5, 6, 7)),
}  # fmt: skip
VALUES = ("normal", "ties", "zeros", "NaN", "infinite", "constant")


def values(kind: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(len(kind))
    x = torch.randn(shape, generator=generator)
    where = torch.rand(shape, generator=generator)
    if kind == "ties":
        x = x.relu().round()
    elif kind == "zeros":  # of both signs: equal, but not the same bits
        x = torch.where(where < 0.5, -0.0, 0.0)
    elif kind == "NaN":
        x[where < 0.2] = math.nan
    elif kind == "infinite":
        x[where < 0.6] = -math.inf
        x[where > 0.9] = math.inf
    elif kind == "constant":
        x = torch.full(shape, -math.inf)
    return x.to(dtype)


def same_bits(actual: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether tensors agree in every bit, but for the payload of NaN."""
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[actual.itemsize]
    numbers = ~expected.isnan()
    return torch.equal(~actual.isnan(), numbers) and torch.equal(
        actual[numbers].view(bits), expected[numbers].view(bits)
    )


@pytest.fixture(params=[None, 40], ids=["one block", "small blocks"])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param is not None:
        monkeypatch.setattr(pooling, "CHUNK_ELEMENTS", request.param)


LAYOUTS = [(window, torch.contiguous_format) for window in WINDOWS] + [
    # Of volumes with channels last, ATen's index for a window full of -inf lies outside of it.
    (window, torch.channels_last)
    for window, (*_, size) in WINDOWS.items()
    if len(size) == 2
]


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(("window", "layout"), LAYOUTS)
@pytest.mark.parametrize("kind", VALUES)
def test_max_pool(window: str, layout: torch.memory_format, kind: str) -> None:
    *geometry, size = WINDOWS[window]
    flat = len(size) == 2
    forward = aten.max_pool2d_with_indices if flat else aten.max_pool3d_with_indices
    backward = (
        aten.max_pool2d_with_indices_backward if flat else aten.max_pool3d_with_indices_backward
    )
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        x = values(kind, (2, 3, *size), dtype).contiguous(memory_format=layout)
        expected, indices = forward(x, *geometry)
        output = torch.full_like(expected, 7.0)
        target = "aten.max_pool2d.default" if flat else "aten.max_pool3d.default"
        execute(target, [x, *geometry], outs=[output])
        assert same_bits(output, expected)

        positions = torch.full_like(indices, 255, dtype=torch.uint8)
        execute("memplan.max_pool_positions", [x, *geometry], outs=[positions])
        assert torch.equal(positions, positions_by_indices(None, x, *geometry))

        gy = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3)).to(dtype)
        gy[0, 0] = -0.0
        gy = gy.contiguous(memory_format=layout)
        gradient = backward(gy, x, *geometry, indices)
        given = [gy, positions, list(x.shape), *geometry]
        gx = torch.full_like(x, math.nan)
        execute("memplan.max_pool_input_gradient", given, outs=[gx])
        assert same_bits(gx, gradient)
        assert same_bits(max_pool_input_gradient(None, *given), gradient)


def test_a_gradient_that_is_one_number() -> None:
    geometry = [[3, 3], [2, 2], [1, 1], [1, 1], False]
    x = torch.randn(2, 3, 9, 9)
    y, indices = aten.max_pool2d_with_indices(x, *geometry)
    positions = positions_by_indices(None, x, *geometry)
    gy = torch.tensor(0.3).expand(y.shape)
    (gx,) = execute(
        "memplan.max_pool_input_gradient", [gy, positions, list(x.shape), *geometry], [x.shape]
    )
    expected = aten.max_pool2d_with_indices_backward(gy.contiguous(), x, *geometry, indices)
    assert same_bits(gx, expected)


@pytest.mark.parametrize("shape", [(2, 64, 64, 64), (1, 3, 512, 512)])
def test_memory_beside_the_arena_does_not_grow_with_the_image(shape: tuple[int, ...]) -> None:
    geometry = [[3, 3], [2, 2], [1, 1], [1, 1], False]
    x = torch.randn(shape)
    y, indices = aten.max_pool2d_with_indices(x, *geometry)
    positions = torch.empty(y.shape, dtype=torch.uint8)
    scratch: list[int] = []
    execute("aten.max_pool2d.default", [x, *geometry], [y.shape], scratch=scratch)
    execute("memplan.max_pool_positions", [x, *geometry], outs=[positions], scratch=scratch)
    (gx,) = execute(
        "memplan.max_pool_input_gradient", [y, positions, list(x.shape), *geometry], [x.shape],
        scratch=scratch,
    )  # fmt: skip
    assert same_bits(gx, aten.max_pool2d_with_indices_backward(y, x, *geometry, indices))
    assert max(scratch) <= 10 * pooling.CHUNK_ELEMENTS
    assert max(scratch) < y.nbytes


def test_pools_left_to_aten() -> None:
    integers = torch.randint(-5, 5, (2, 3, 6, 6))
    out = torch.zeros(2, 3, 3, 3, dtype=torch.int64)
    execute(
        "aten.max_pool2d.default", [integers, [2, 2], [2, 2], [0, 0], [1, 1], False], outs=[out]
    )
    assert torch.equal(out, torch.nn.functional.max_pool2d(integers, 2))
    x = torch.randn(2, 3, 34, 34)
    for arguments in ([[17, 17], [17, 17], [0, 0], [1, 1], False], [[17, 17]]):
        (large,) = execute("aten.max_pool2d.default", [x, *arguments], [(2, 3, 2, 2)])
        assert torch.equal(large, torch.nn.functional.max_pool2d(x, 17))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([[2, 2], [2, 2], [0, 0], [1, 1], False], "shape"),
        ([[3, 3], [2, 2], [2, 2], [1, 1], False], "pad"),
        ([[3], [2], [1], [1], False], "2 or 3 dimensions"),
        ([[17, 17], [17, 17], [8, 8], [1, 1], False], "at most 256"),
        ([[3, 3], [2], [1], [1], False], "2 or 3 dimensions"),
    ],
)
def test_pools_that_do_not_exist_are_refused(arguments: list[Any], problem: str) -> None:
    out = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(ModelError, match=problem):
        execute("memplan.max_pool_positions", [torch.zeros(1, 1, 9, 9), *arguments], outs=[out])
