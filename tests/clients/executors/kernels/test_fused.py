"""Updates whose gradient exists a few rows at a time, against the gradient computed whole."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from memplan.clients.executors.torch.kernels import RUNNING, RunState
from memplan.ir.errors import ModelError
from memplan.ir.request import LayerUpdate
from tests.clients.executors.calls import close, execute, whole
from tests.clients.executors.kernels.convolutions import CONVOLUTIONS, Convolution, expect

Axis = Literal["whole", "output", "input"]


@pytest.mark.parametrize("rows", [1, 2, 4, 100])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "accumulate"])
@pytest.mark.parametrize("axis", ["whole", "output", "input"])
def test_fused_linear_update_equals_the_unfused_one(axis: Axis, optimizer: str, rows: int) -> None:
    gy, x = torch.randn(10, 6), torch.randn(10, 5)
    channels = () if axis == "whole" else (0, 2, 3)
    mask = LayerUpdate(layer="l", weight=axis, channels=channels)
    shape = {"whole": (6, 5), "output": (3, 5), "input": (6, 3)}[axis]
    inputs = x[:, list(channels)].contiguous() if axis == "input" else x
    (g,) = execute("memplan.linear_weight_gradient", [gy, inputs], [shape], update=mask)
    states, numbers = {
        "sgd": (0, [0.1]),
        "momentum": (1, [0.1, 0.9]),
        "adam": (2, [0.1, 0.9, 0.99, 1e-6]),
        "accumulate": (0, []),
    }[optimizer]
    start = torch.randn(shape)
    results, seen = [], []
    for fused in (False, True):
        w = start.clone()
        extra = [torch.zeros(shape) for _ in range(states)]
        if optimizer == "adam":
            extra.append(torch.zeros((), dtype=torch.int64))
        for _ in range(2):
            if not fused:
                arguments = [w, g, *extra, *numbers]
                execute(f"memplan.{optimizer}", arguments, mutates=[w, *extra], trips=2)
            else:
                program = [
                    f"memplan.{optimizer}",
                    "memplan.linear_weight_gradient",
                    [w, RUNNING, *extra, *numbers],
                    [gy, inputs],
                ]
                state = RunState(on_gradient_rows=lambda _, first, part: seen.append(first))
                execute(
                    "memplan.fused", program, mutates=[w, *extra], update=mask, trips=2,
                    workspace_bytes=min(rows, shape[0]) * shape[1] * 4, state=state,
                )  # fmt: skip
        results.append((w, *extra))
    for plain, fused_result in zip(*results, strict=True):
        assert torch.allclose(plain.double(), fused_result.double(), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(results[0][0], start)
    starts = list(range(0, shape[0], min(rows, shape[0])))
    assert seen == ([] if optimizer == "accumulate" else 2 * starts)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize(
    ("case", "axis"),
    # Grouped convolutions are cut along their output channels only.
    [(c, axis) for c in CONVOLUTIONS for axis in ("whole", "output", "input")
     if axis != "input" or c.groups == 1],
)  # fmt: skip
def test_fused_convolution_update(case: Convolution, axis: Axis, rows: int) -> None:
    x, w, _, _, gy, _, gw = expect(case)
    channels = () if axis == "whole" else (0, 2, 3)
    mask = LayerUpdate(layer="l", weight=axis, channels=channels)
    inputs, part, g = x, w, gw
    if axis != "whole":
        dim = int((axis == "input") != case.transposed)
        part = w.index_select(dim, torch.tensor(channels)).contiguous()
        g = gw.index_select(dim, torch.tensor(channels))
        if axis == "input" or case.groups == w.shape[0]:
            inputs = x[:, list(channels)].contiguous()
    changed = part.clone()
    program = [
        "memplan.sgd",
        "memplan.conv_weight_gradient",
        [changed, RUNNING, 0.1],
        [gy, inputs, list(w.shape), *case.geometry],
    ]
    execute(
        "memplan.fused", program, mutates=[changed], update=mask,
        workspace_bytes=rows * part[0].numel() * 4,
    )  # fmt: skip
    close(part - changed, 0.1 * g, 1e-4)


@pytest.mark.parametrize("rows", [1, 3, 7])
@pytest.mark.parametrize("channels", [(), (0, 3)])
def test_fused_embedding_update(channels: tuple[int, ...], rows: int) -> None:
    indices = torch.tensor([[1, 2, 2], [6, 0, 3]])
    gy = torch.randn(2, 3, 4)
    expected = torch.ops.aten.embedding_dense_backward(gy, indices, 7, 3, False)
    mask = whole()
    if channels:
        mask = LayerUpdate(layer="l", weight="output", channels=channels)
        expected = expected[:, list(channels)]
    table = torch.randn_like(expected)
    changed = table.clone()
    program = [
        "memplan.sgd",
        "memplan.embedding_weight_gradient",
        [changed, RUNNING, 0.1],
        [gy, indices, 7, 3],
    ]
    execute(
        "memplan.fused", program, mutates=[changed], update=mask,
        workspace_bytes=rows * table.shape[1] * 4,
    )  # fmt: skip
    close(table - changed, 0.1 * expected, 1e-4)


def test_fused_needs_a_workspace_of_at_least_one_row() -> None:
    program = ["memplan.sgd", "memplan.linear_weight_gradient", [torch.ones(2, 3), RUNNING, 0.1],
               [torch.ones(4, 2), torch.ones(4, 3)]]  # fmt: skip
    with pytest.raises(ModelError, match="workspace"):
        execute("memplan.fused", program, mutates=[torch.ones(2, 3)], workspace_bytes=8)
