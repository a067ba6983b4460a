"""What kernels allocate outside the arena: nothing, where the costs say so."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from memplan.clients.executors.torch.kernels import RUNNING
from memplan.ir.request import LayerUpdate
from tests.clients.executors.calls import execute, whole


def _scratch_cases() -> dict[str, tuple[str, list[Any], list[tuple[int, ...]], dict[str, Any]]]:
    image, kernel = torch.randn(4, 16, 32, 32), torch.randn(8, 16, 1, 1)
    gy, pointwise = torch.randn(4, 8, 32, 32), [[1, 1], [0, 0], [1, 1], False, [0, 0], 1]
    rows, columns, w = torch.randn(512, 64), torch.randn(512, 32), torch.randn(64, 32)
    large, table = (4, 16, 32, 32), torch.randn(100, 512)
    bias, indices, labels = torch.randn(8), torch.arange(64), torch.zeros(512, dtype=torch.int64)
    states = [torch.zeros(64, 32), torch.zeros(64, 32), torch.zeros((), dtype=torch.int64)]
    update, adam = torch.randn(64, 32), [0.1, 0.9, 0.99, 1e-6]
    return {
        "relu": ("aten.relu.default", [image], [large], {}),
        "add scalar": ("aten.add.Scalar", [image, 1.5], [large], {}),
        "add": ("aten.add.Tensor", [image, image], [large], {}),
        "hardtanh": ("aten.hardtanh.default", [image, 0.0, 6.0], [large], {}),
        "copy": ("aten.clone.default", [image.transpose(0, 1)], [(16, 4, 32, 32)], {}),
        "pad": ("aten.constant_pad_nd.default", [image, [1, 1], 0.0], [(4, 16, 32, 34)], {}),
        "sum": ("aten.sum.dim_IntList", [image, [0, 2, 3]], [(16,)], {}),
        "softmax": ("aten._softmax.default", [rows, 1, False], [(512, 64)], {}),
        "pool": ("aten.avg_pool2d.default", [image, [2, 2], [2, 2]], [(4, 16, 16, 16)], {}),
        "product": ("aten.mm.default", [rows.t(), columns], [(64, 32)], {}),
        "embedding": ("aten.embedding.default", [table, indices], [(64, 512)], {}),
        "table": (
            "memplan.embedding_weight_gradient", [torch.randn(64, 512), indices, 100, -1],
            [(100, 512)], {},
        ),
        "1x1": ("aten.convolution.default", [image, kernel, bias, *pointwise], [gy.shape], {}),
        "1x1 input": (
            "memplan.conv_input_gradient", [gy, kernel, list(image.shape), *pointwise], [large], {},
        ),
        "1x1 weight": (
            "memplan.conv_weight_gradient", [gy, image, list(kernel.shape), *pointwise],
            [(8, 16, 1, 1)], {"update": whole()},
        ),
        "linear": (
            "memplan.linear_weight_gradient", [rows, columns], [(64, 32)], {"update": whole()},
        ),
        "neighbours": (
            "memplan.linear_weight_gradient", [rows, columns], [(3, 32)],
            {"update": LayerUpdate(layer="l", weight="output", channels=(4, 5, 6))},
        ),
        "loss": ("aten.nll_loss_backward.default",
                 [torch.ones(()), rows, labels, None, 1, -100, torch.tensor(512.0)],
                 [(512, 64)], {}),
        "sgd": ("memplan.sgd", [w, update, 0.1], [], {"mutates": [w]}),
        "momentum": ("memplan.momentum", [w, update, states[0], 0.1, 0.9], [], {"mutates": [w]}),
        "adam": (
            "memplan.adam", [w, update, *states, *adam], [],
            {"mutates": [w, *states], "workspace_bytes": 256},
        ),
        "fused": (
            "memplan.fused",
            ["memplan.sgd", "memplan.linear_weight_gradient", [w, RUNNING, 0.1], [rows, columns]],
            [], {"mutates": [w], "update": whole(), "workspace_bytes": 1024},
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(_scratch_cases()))
def test_what_is_said_to_need_no_memory_outside_needs_none(name: str) -> None:
    target, arguments, shapes, options = _scratch_cases()[name]
    scratch: list[int] = []
    execute(target, arguments, shapes, scratch=scratch, **options)
    # Scalars become tensors of a few bytes; no result here is below 500 bytes.
    assert scratch[0] <= 64


def test_what_is_allocated_outside_is_seen() -> None:
    x, w = torch.randn(2, 8, 16, 16), torch.randn(8, 8, 3, 3)
    geometry = [[1, 1], [1, 1], [1, 1], False, [0, 0], 1]
    scratch: list[int] = []
    execute("aten.convolution.default", [x, w, None, *geometry], [x.shape], scratch=scratch)
    assert scratch[0] >= x.nbytes
