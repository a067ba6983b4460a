"""Operations of ours that belong to layers without geometry: tables, linear ones, norms."""

from __future__ import annotations

from typing import Any

import torch

from memplan.ir.request import LayerUpdate
from tests.clients.executors.calls import close, execute, whole


def test_embedding_and_its_gradient() -> None:
    table = torch.randn(7, 4)
    indices = torch.tensor([[1, 2, 2], [6, 0, 3]])
    (y,) = execute("aten.embedding.default", [table, indices, 3], [[2, 3, 4]])
    assert torch.equal(y, table[indices])
    gy = torch.randn(2, 3, 4)
    expected = torch.ops.aten.embedding_dense_backward(gy, indices, 7, 3, False)
    (g,) = execute("aten.embedding_dense_backward.default", [gy, indices, 7, 3, False], [[7, 4]])
    close(g, expected)
    (g,) = execute("memplan.embedding_weight_gradient", [gy, indices, 7, 3], [[7, 4]])
    close(g, expected)
    mask = LayerUpdate(layer="l", weight="output", channels=(0, 3))
    (g,) = execute("memplan.embedding_weight_gradient", [gy, indices, 7, 3], [[7, 2]], update=mask)
    close(g, expected[:, [0, 3]])
    assert not g[3].any()


def test_linear_weight_gradient_whole_and_in_slices() -> None:
    gy, x = torch.randn(10, 6), torch.randn(10, 5)
    expected = gy.t() @ x
    (g,) = execute("memplan.linear_weight_gradient", [gy, x], [[6, 5]], update=whole())
    close(g, expected)
    mask = LayerUpdate(layer="l", weight="output", channels=(0, 5))
    (g,) = execute("memplan.linear_weight_gradient", [gy, x], [[2, 5]], update=mask)
    close(g, expected[[0, 5]])
    mask = LayerUpdate(layer="l", weight="input", channels=(1, 2))
    for inputs in (x, x[:, 1:3].contiguous()):
        (g,) = execute("memplan.linear_weight_gradient", [gy, inputs], [[6, 2]], update=mask)
        close(g, expected[:, 1:3])


def test_gather_channels() -> None:
    x = torch.randn(2, 5, 3)
    mask = LayerUpdate(layer="l", weight="input", channels=(1, 4))
    (y,) = execute("memplan.gather_channels", [x, 1], [[2, 2, 3]], update=mask)
    assert torch.equal(y, x[:, [1, 4]])


def test_layer_norm_gradients_one_by_one() -> None:
    x = torch.randn(4, 3, 6, requires_grad=True)
    w, b = torch.randn(6, requires_grad=True), torch.randn(6, requires_grad=True)
    y, mean, rstd = torch.native_layer_norm(x, [6], w, b, 1e-5)
    gy = torch.randn_like(y)
    gx, gw, gb = torch.autograd.grad(y, (x, w, b), gy)
    saved = [gy, x.detach(), mean.detach(), rstd.detach()]
    (g,) = execute("memplan.layer_norm_input_gradient", [*saved, w.detach(), [6]], [[4, 3, 6]])
    close(g, gx)
    (g,) = execute("memplan.layer_norm_weight_gradient", [*saved, [6]], [[6]])
    close(g, gw)
    (g,) = execute("memplan.layer_norm_bias_gradient", [gy, [6]], [[6]])
    close(g, gb)
    bare = torch.native_layer_norm(x, [6], None, None, 1e-5)[0]
    (g,) = execute("memplan.layer_norm_input_gradient", [*saved, None, [6]], [[4, 3, 6]])
    close(g, torch.autograd.grad(bare, x, gy)[0])


def test_batch_norm_over_batch_statistics_and_running_averages() -> None:
    norm: Any = torch.nn.BatchNorm2d(4, momentum=0.3)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    x = torch.randn(3, 4, 5, 5) * 2 + 1
    before = [norm.running_mean.clone(), norm.running_var.clone(), norm.num_batches_tracked.clone()]
    expected = norm(x).detach()
    weights = [norm.weight.detach(), norm.bias.detach()]
    y, mean, rstd = execute("memplan.batch_norm_train", [x, *weights, 1e-5], [x.shape, [4], [4]])
    close(y, expected)
    execute(
        "memplan.update_running_statistics",
        [*before[:2], mean, rstd, 0.3, 75, 1e-5],
        mutates=before,
    )
    close(before[0], norm.running_mean)
    close(before[1], norm.running_var)
    assert int(before[2]) == 1
