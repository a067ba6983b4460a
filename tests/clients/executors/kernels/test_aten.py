"""The registry of kernels, and ATen operations, those with a way of their own first."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from memplan.clients.executors.torch.kernels import KERNELS, RUNNING
from memplan.clients.executors.torch.kernels.aten import out_overload, resolve
from memplan.ir.errors import ModelError
from memplan.ir.targets import TARGETS
from tests.clients.executors.calls import execute


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
