"""Every operation of ours, and every ATen operation with a way of its own, against plain torch."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F

from memplan.clients.executors.torch.kernels import KERNELS, RUNNING, RunState
from memplan.clients.executors.torch.kernels.aten import out_overload, resolve
from memplan.clients.executors.torch.kernels.dropout import keep_mask
from memplan.ir.errors import ModelError
from memplan.ir.request import LayerUpdate
from memplan.ir.targets import TARGETS
from memplan.ir.units import Affine
from tests.clients.executors.calls import execute, whole

Axis = Literal["whole", "output", "input"]


def close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 2e-5) -> None:
    assert actual.shape == expected.shape
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    assert scale > 0
    assert float((actual - expected).abs().max()) <= tolerance * scale


def test_every_operation_of_ours_has_a_kernel() -> None:
    assert {name for name in KERNELS if name.startswith("memplan.")} == TARGETS
    for name in KERNELS:
        if name.startswith("aten."):
            resolve(name)


@pytest.mark.parametrize(
    "target",
    [
        "aten.relu",
        "aten.nothing.default",
        "aten.relu.nothing",
        "aten.__class__.default",
        "aten.relu_.default",
        "aten.from_file.default",
        "os.system.default",
        "memplan.nothing",
        "",
    ],
)
def test_unknown_and_unsafe_targets_are_refused_by_name(target: str) -> None:
    with pytest.raises(ModelError, match="operation"):
        execute(target, [torch.ones(2)], [[2]])


def test_out_overloads_are_found_by_schema_and_generated_ones_are_not_used() -> None:
    found = out_overload("aten.threshold_backward.default")
    assert found is not None
    assert found[1] == ("grad_input",)
    assert out_overload("aten.relu.default") is None
    pooled = out_overload("aten.max_pool2d_with_indices.default")
    assert pooled is not None
    assert len(pooled[1]) == 2


def test_aten_elementwise_and_copies() -> None:
    x = torch.randn(3, 4, 5)
    (y,) = execute("aten.relu.default", [x], [[3, 4, 5]])
    assert torch.equal(y, x.relu())
    for name, function in (("add", torch.add), ("sub", torch.sub)):
        (y,) = execute(f"aten.{name}.Scalar", [x, 2.5, 3], [[3, 4, 5]])
        assert torch.equal(y, function(x, 2.5, alpha=3))
    (y,) = execute("aten.mul.Scalar", [x, 2.5], [[3, 4, 5]])
    assert torch.equal(y, x * 2.5)
    (y,) = execute("aten.div.Scalar", [x, 2.5], [[3, 4, 5]])
    assert torch.equal(y, x / 2.5)
    (y,) = execute("aten.add.Tensor", [x, x], [[3, 4, 5]], keywords={"alpha": 2})
    assert torch.equal(y, 3 * x)
    (y,) = execute("aten.clone.default", [x.transpose(0, 1)], [[4, 3, 5]])
    assert torch.equal(y, x.transpose(0, 1))
    (y,) = execute("aten._to_copy.default", [x], [[3, 4, 5]], dtype=torch.float64)
    assert torch.equal(y, x.double())
    (y,) = execute("aten.full.default", [[3], 7.0], [[3]])
    assert torch.equal(y, torch.full((3,), 7.0))
    (y,) = execute("aten.ones_like.default", [x], [[3, 4, 5]])
    assert torch.equal(y, torch.ones_like(x))


def test_aten_with_several_results() -> None:
    x = torch.randn(2, 3, 8, 8)
    y, indices = execute(
        "aten.max_pool2d_with_indices.default",
        [x, [2, 2], [2, 2]],
        outs=[torch.empty(2, 3, 4, 4), torch.empty(2, 3, 4, 4, dtype=torch.int64)],
    )
    expected, expected_indices = F.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(y, expected)
    assert torch.equal(indices, expected_indices)


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("aten.hardswish_backward.default", [torch.ones(3), torch.ones(3)]),
        ("aten.repeat.default", [torch.ones(3), [2]]),
        ("aten.std_mean.correction", [torch.ones(3, 2), [0]]),
    ],
)
def test_a_result_of_another_shape_is_an_error(target: str, arguments: list[Any]) -> None:
    with pytest.raises(ModelError, match=r"shape|tensors"):
        execute(target, arguments, [[4]])


def test_losses_that_grow_their_output_leave_the_bytes_behind_it_alone() -> None:
    arena = torch.full((64,), 7.0)
    x, y = torch.randn(3, 4), torch.randn(3, 4)
    out = torch.as_strided(arena, (), (), 5)
    execute("aten.mse_loss.default", [x, y, 1], outs=[out])
    assert torch.equal(out, F.mse_loss(x, y))
    arena[5] = 7.0
    assert bool((arena == 7.0).all())


@pytest.mark.parametrize("pad", [[1, 2], [1, 0, 2, 3], [-1, 2, 1, -1]])
def test_padding(pad: list[int]) -> None:
    x = torch.randn(2, 3, 5, 6)
    expected = F.pad(x, pad, value=1.5)
    (y,) = execute("aten.constant_pad_nd.default", [x, pad, 1.5], [expected.shape])
    assert torch.equal(y, expected)


def test_select_and_slice_backward() -> None:
    gy = torch.randn(3, 5)
    (y,) = execute("aten.select_backward.default", [gy, [3, 4, 5], 1, -1], [[3, 4, 5]])
    assert torch.equal(y, torch.ops.aten.select_backward(gy, [3, 4, 5], 1, -1))
    gy = torch.randn(3, 2, 5)
    for start, end, step in ((1, 3, 1), (0, 4, 2), (-3, 2**63 - 1, 2)):
        arguments = [gy, [3, 4, 5], 1, start, end, step]
        (y,) = execute("aten.slice_backward.default", arguments, [[3, 4, 5]])
        assert torch.equal(y, torch.ops.aten.slice_backward(*arguments))


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


# fmt: off
CONVOLUTIONS = [
    # in, out, kernel, stride, padding, dilation, transposed, output padding, groups
    (4, 6, (3, 3), [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
    (4, 6, (3, 2), [2, 1], [1, 0], [1, 2], False, [0, 0], 1),
    (4, 6, (1, 1), [1, 1], [0, 0], [1, 1], False, [0, 0], 1),
    (4, 6, (1, 1), [2, 2], [0, 0], [1, 1], False, [0, 0], 1),
    (4, 4, (3, 3), [1, 1], [1, 1], [1, 1], False, [0, 0], 4),
    (4, 6, (3, 3), [1, 1], [1, 1], [1, 1], False, [0, 0], 2),
    (4, 6, (2, 2), [2, 2], [0, 0], [1, 1], True, [0, 0], 1),
    (4, 6, (3, 3), [2, 2], [1, 1], [1, 1], True, [1, 1], 1),
]
# fmt: on


def _convolution(case: tuple) -> tuple[torch.Tensor, ...]:  # type: ignore[type-arg]
    inputs, outputs, kernel, stride, padding, dilation, transposed, output_padding, groups = case
    x = torch.randn(3, inputs, 7, 8, requires_grad=True)
    shape = (inputs, outputs // groups) if transposed else (outputs, inputs // groups)
    w = torch.randn(*shape, *kernel, requires_grad=True)
    bias = torch.randn(outputs)
    y = torch.convolution(x, w, bias, stride, padding, dilation, transposed, output_padding, groups)
    gy = torch.randn_like(y)
    gx, gw = torch.autograd.grad(y, (x, w), gy)
    return x.detach(), w.detach(), bias, y.detach(), gy, gx, gw


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution_and_its_gradients(case: tuple) -> None:  # type: ignore[type-arg]
    x, w, bias, y, gy, gx, gw = _convolution(case)
    geometry = case[3:]
    (result,) = execute("aten.convolution.default", [x, w, bias, *geometry], [y.shape])
    close(result, y)
    (result,) = execute("aten.convolution.default", [x, w, None, *geometry], [y.shape])
    close(result, y - bias.view(1, -1, 1, 1))
    (result,) = execute("memplan.conv_input_gradient", [gy, w, list(x.shape), *geometry], [x.shape])
    close(result, gx)
    (result,) = execute(
        "memplan.conv_weight_gradient", [gy, x, list(w.shape), *geometry], [w.shape],
        update=whole(),
    )  # fmt: skip
    close(result, gw)


@pytest.mark.parametrize("channels", [(0, 2), (1, 2), (3,)])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_slices_of_a_convolution(case: tuple, channels: tuple[int, ...]) -> None:  # type: ignore[type-arg]
    x, w, _, _, gy, _, gw = _convolution(case)
    transposed, groups = case[6], case[8]
    chosen = list(channels)
    arguments = [list(w.shape), *case[3:]]
    depthwise = groups == w.shape[0]
    output = LayerUpdate(layer="l", weight="output", channels=channels)
    expected = gw[:, chosen] if transposed else gw[chosen]
    (result,) = execute(
        "memplan.conv_weight_gradient", [gy, x, *arguments], [expected.shape], update=output
    )
    close(result, expected)
    if depthwise:
        gathered = [gy, x[:, chosen].contiguous(), *arguments]
        for axis in ("output", "input"):
            mask = LayerUpdate(layer="l", weight=axis, channels=channels)
            (result,) = execute(
                "memplan.conv_weight_gradient", gathered, [expected.shape], update=mask
            )
            close(result, expected)
    elif groups == 1:
        mask = LayerUpdate(layer="l", weight="input", channels=channels)
        expected = gw[chosen] if transposed else gw[:, chosen]
        for inputs in (x, x[:, chosen].contiguous()):
            (result,) = execute(
                "memplan.conv_weight_gradient", [gy, inputs, *arguments], [expected.shape],
                update=mask,
            )  # fmt: skip
            close(result, expected)


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


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 7, 7), (2, 200_000), (70_000, 1)])
@pytest.mark.parametrize(("low", "high"), [(0.0, None), (-0.5, 0.5), (None, 0.25)])
def test_bits(shape: tuple[int, ...], low: float | None, high: float | None) -> None:
    y = torch.randn(*shape)
    gy = torch.randn(*shape)
    per_sample = -(-math.prod(shape[1:]) // 8)
    bits = torch.full((shape[0] * per_sample,), 255, dtype=torch.uint8)
    execute("memplan.range_bits", [y, low, high], outs=[bits])
    inside = torch.ones(shape, dtype=torch.bool)
    if low is not None:
        inside &= y > low
    if high is not None:
        inside &= y < high
    expected = torch.where(inside, gy, torch.zeros(()))
    (g,) = execute("memplan.apply_bits", [gy, bits], [shape])
    assert torch.equal(g, expected)
    # In place, and through another order of dimensions.
    swapped = gy.clone().transpose(0, -1).contiguous().transpose(0, -1)
    execute("memplan.apply_bits", [swapped, bits], outs=[swapped])
    assert torch.equal(swapped, expected)


def test_bits_start_at_the_least_significant_one() -> None:
    bits = torch.zeros(4, dtype=torch.uint8)
    y = torch.tensor([[1.0, 0, 0, 1, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0, 0, 0, 0]])
    execute("memplan.range_bits", [y, 0.0, None], outs=[bits])
    assert bits.tolist() == [0b1001, 1, 0b10, 0]


def test_dropout_is_the_same_under_every_micro_batch() -> None:
    x = torch.randn(6, 3, 5)
    shape = [(Affine(0, 1), Affine(3), Affine(5))]
    (expected,) = execute(
        "memplan.dropout", [x, 0.4, 77], [x.shape], write_shapes=shape, state=RunState(seed=5)
    )
    kept = expected != 0
    assert torch.allclose(expected[kept], x[kept] / 0.6)
    assert 0.4 < float(kept.float().mean()) < 0.8
    for micro_batch in (1, 2, 3):
        parts: list[torch.Tensor] = []
        for trip in range(6 // micro_batch):
            part = x[trip * micro_batch : (trip + 1) * micro_batch]
            state = RunState(seed=5, trip=trip)
            parts += execute(
                "memplan.dropout", [part, 0.4, 77], [part.shape],
                write_shapes=shape, trips=6 // micro_batch, state=state,
            )  # fmt: skip
        assert torch.equal(torch.cat(parts), expected)
    other = execute("memplan.dropout", [x, 0.4, 78], [x.shape], state=RunState(seed=5))[0]
    assert not torch.equal(other != 0, kept)


def test_dropout_where_the_batch_is_not_the_first_dimension() -> None:
    x = torch.randn(3, 4, 5)
    shape = [(Affine(3), Affine(0, 1), Affine(5))]
    (expected,) = execute("memplan.dropout", [x, 0.5, 1], [x.shape], write_shapes=shape)
    parts = [
        execute(
            "memplan.dropout", [x[:, 2 * trip : 2 * trip + 2].contiguous(), 0.5, 1], [[3, 2, 5]],
            write_shapes=shape, trips=2, state=RunState(trip=trip),
        )[0]
        for trip in range(2)
    ]  # fmt: skip
    assert torch.equal(torch.cat(parts, 1), expected)
    strided = torch.empty(3, 5, 4).transpose(1, 2)
    execute("memplan.dropout", [x, 0.5, 1], outs=[strided], write_shapes=shape)
    assert torch.equal(strided, expected)
    in_place = x.clone()
    execute("memplan.dropout_backward", [in_place, 0.5, 1], outs=[in_place], write_shapes=shape)
    assert torch.equal(in_place, expected)


def test_dropout_keeps_the_share_that_it_should() -> None:
    for probability in (0.1, 0.5, 0.9):
        kept = keep_mask(3, 9, probability, 12345, 200_000).float()
        assert abs(float(kept.mean()) - (1 - probability)) < 0.005
        pairs = (kept[1:] - kept.mean()) * (kept[:-1] - kept.mean())
        assert abs(float(pairs.mean())) < 0.005
    assert keep_mask(0, 0, 0.0, 0, 10).all()
    assert not keep_mask(0, 0, 1.0, 0, 10).any()
    ends = [keep_mask(1, 2, 0.5, start, 64) for start in (0, 2**32)]
    assert not torch.equal(ends[0], ends[1])


def test_elementwise_program() -> None:
    x, y = torch.randn(4, 5), torch.randn(4, 5)
    program = [
        ["aten.add.Tensor", [x, y], [["alpha", 2]]],
        ["aten.relu.default", [RUNNING]],
        ["aten.mul.Tensor", [RUNNING, y]],
        ["aten.mul.Scalar", [RUNNING, 3.0]],
    ]
    (out,) = execute("memplan.elementwise", program, [[4, 5]])
    assert torch.equal(out, ((x + 2 * y).relu() * y) * 3.0)
    in_place = x.clone()
    program[0][1] = [in_place, y]
    execute("memplan.elementwise", program, outs=[in_place])
    assert torch.equal(in_place, out)


def _weights(count: int = 3) -> list[torch.Tensor]:
    return [torch.randn(6, 5) for _ in range(count)]


@pytest.mark.parametrize("workspace_bytes", [0, 4, 28, 4 * 30])
def test_adam_equals_torch_optim(workspace_bytes: int) -> None:
    w = torch.randn(6, 5)
    parameter = torch.nn.Parameter(w.clone())
    optimizer = torch.optim.Adam([parameter], lr=0.02, betas=(0.8, 0.95), eps=1e-6)
    first, second = torch.zeros(6, 5), torch.zeros(6, 5)
    step = torch.zeros((), dtype=torch.int64)
    for g in _weights():
        parameter.grad = g.clone()
        optimizer.step()
        execute(
            "memplan.adam", [w, g, first, second, step, 0.02, 0.8, 0.95, 1e-6],
            mutates=[w, first, second, step], workspace_bytes=workspace_bytes,
        )  # fmt: skip
    assert int(step) == 3
    close(w, parameter.detach(), 1e-6)


def test_sgd_momentum_and_accumulation_equal_torch_optim() -> None:
    w, v = torch.randn(6, 5), torch.randn(6, 5)
    plain, heavy = torch.nn.Parameter(w.clone()), torch.nn.Parameter(v.clone())
    velocity = torch.zeros(6, 5)
    for g in _weights():
        plain.grad = heavy.grad = g
        torch.optim.SGD([plain], lr=0.1).step()
        execute("memplan.sgd", [w, g, 0.1], mutates=[w])
    optimizer = torch.optim.SGD([heavy], lr=0.1, momentum=0.7)
    for g in _weights():
        heavy.grad = g
        optimizer.step()
        execute("memplan.momentum", [v, g, velocity, 0.1, 0.7], mutates=[v, velocity])
    close(w, plain.detach(), 1e-6)
    close(v, heavy.detach(), 1e-6)
    total = torch.full((6, 5), float("nan"))
    execute("memplan.clear", [total], mutates=[total])
    parts = _weights(4)
    for g in parts:
        execute("memplan.accumulate", [total, g], mutates=[total], trips=4)
    close(total, torch.stack(parts).mean(0))


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
     if axis != "input" or c[8] == 1],
)  # fmt: skip
def test_fused_convolution_update(case: tuple, axis: Axis, rows: int) -> None:  # type: ignore[type-arg]
    x, w, _, _, gy, _, gw = _convolution(case)
    transposed, groups = case[6], case[8]
    channels = () if axis == "whole" else (0, 2, 3)
    mask = LayerUpdate(layer="l", weight=axis, channels=channels)
    inputs, part, g = x, w, gw
    if axis != "whole":
        dim = int((axis == "input") != transposed)
        part = w.index_select(dim, torch.tensor(channels)).contiguous()
        g = gw.index_select(dim, torch.tensor(channels))
        if axis == "input" or groups == w.shape[0]:
            inputs = x[:, list(channels)].contiguous()
    changed = part.clone()
    program = [
        "memplan.sgd",
        "memplan.conv_weight_gradient",
        [changed, RUNNING, 0.1],
        [gy, inputs, list(w.shape), *case[3:]],
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
