"""Every kernel against the torch executor's, on several shapes, under both sanitizers."""

from __future__ import annotations

import math
import shutil
from typing import Any

import pytest
import torch

from memplan.clients.export.c.call import RUNNING
from memplan.clients.export.c.calls import CALLS
from memplan.clients.export.c.calls.elementwise import EXPRESSIONS
from tests.clients.executors.c.convolution_cases import (
    convolution_cases,
    slice_cases,
    strided_cases,
    transposed_cases,
)
from tests.clients.executors.c.int8_cases import int8_cases
from tests.clients.executors.c.kernel_checks import Cases, cut, equals_torch, randn
from tests.clients.executors.c.kernel_program import Case, PartlyUpdated, Program, build_program
from tests.clients.executors.c.strip_cases import strip_cases

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

_GENERATOR = torch.Generator().manual_seed(0)


def linear_cases() -> Cases:
    a, w, bias = randn(3, 7), randn(5, 7), randn(5)
    gy = randn(3, 5)
    cases = {
        "mm": Case("aten.mm.default", (a, w.t()), ((3, 5),)),
        "mm of one row": Case("aten.mm.default", (a[:1].clone(), w.t()), ((1, 5),)),
        "mm of many rows": Case("aten.mm.default", (randn(9, 7), w[:2].clone().t()), ((9, 2),)),
        "mm, first transposed": Case("aten.mm.default", (randn(7, 3).t(), w.t()), ((3, 5),)),
        "addmm": Case("aten.addmm.default", (bias, a, w.t()), ((3, 5),)),
        "addmm of many rows": Case("aten.addmm.default", (bias, randn(11, 7), w.t()), ((11, 5),)),
        "addmm of a matrix": Case("aten.addmm.default", (randn(3, 5), a, w.t()), ((3, 5),)),
        "bmm": Case(
            "aten.bmm.default", (randn(2, 3, 4), randn(2, 5, 4).transpose(1, 2)), ((2, 3, 5),)
        ),
        "whole": Case("memplan.linear_weight_gradient", (gy, a), ((5, 7),)),
        "outputs": Case(
            "memplan.linear_weight_gradient", (gy, a), ((2, 7),), update=cut("output", 1, 4)
        ),
        "inputs": Case(
            "memplan.linear_weight_gradient", (gy, a[:, [0, 3, 6]].contiguous()), ((5, 3),),
            update=cut("input", 0, 3, 6),
        ),
        "part of a sequence": Case(
            "memplan.linear_weight_gradient", (randn(2, 5), randn(2, 4, 7)[:, 0]), ((5, 7),)
        ),
    }  # fmt: skip
    for dim, channels in ((0, (1, 3)), (1, (0, 2, 6))):
        turned = PartlyUpdated(w.t(), 1 - dim, channels)
        cases[f"addmm cut along {dim}"] = Case("aten.addmm.default", (bias, a, turned), ((3, 5),))
        cases[f"mm cut along {dim}"] = Case(
            "aten.mm.default", (gy, PartlyUpdated(w, dim, channels)), ((3, 7),)
        )
        cases[f"mm with the cut weight first, along {dim}"] = Case(
            "aten.mm.default", (PartlyUpdated(w, dim, channels), randn(7, 4)), ((5, 4),)
        )
    return {f"linear {name}": case for name, case in cases.items()}


def pooling_cases() -> Cases:
    x = randn(2, 3, 9, 10)
    positions = torch.randint(0, 4, (2, 3, 4, 5), generator=_GENERATOR).to(torch.uint8)
    # Of windows of 3 x 3, places that are never padding.
    inside = torch.tensor([4, 5, 7, 8], dtype=torch.uint8)
    overlapping = inside[positions.long()]
    with_nan = x.clone()
    with_nan[0, 0, 2:4, 2:4] = math.nan
    two, three = [[2, 2], [2, 2], [0, 0], [1, 1], False], [[3, 3], [2, 2], [1, 1], [1, 1], False]
    return {
        "average": Case("aten.avg_pool2d.default", (x, [3, 2], [2, 2]), ((2, 3, 4, 5),)),
        "average, padded": Case(
            "aten.avg_pool2d.default", (x, [3, 3], [2, 2], [1, 1], True, False), ((2, 3, 5, 6),)
        ),
        "average gradient": Case(
            "aten.avg_pool2d_backward.default",
            (randn(2, 3, 4, 5), x, [3, 2], [2, 2], [0, 0], False, True, None), ((2, 3, 9, 10),),
        ),
        "average gradient, padded": Case(
            "aten.avg_pool2d_backward.default",
            (randn(2, 3, 5, 6), x, [3, 3], [2, 2], [1, 1], True, False, None), ((2, 3, 9, 10),),
        ),
        "maximum": Case("aten.max_pool2d.default", (x, *two), ((2, 3, 4, 5),)),
        "maximum, overlapping": Case("aten.max_pool2d.default", (x, *three), ((2, 3, 5, 5),)),
        "maximum, dilated": Case(
            "aten.max_pool2d.default", (x, [2, 2], [1, 2], [0, 1], [3, 2], False), ((2, 3, 6, 5),)
        ),
        "positions": Case(
            "memplan.max_pool_positions", (with_nan, *three), ((2, 3, 5, 5),), dtype=torch.uint8
        ),
        "maximum gradient": Case(
            "memplan.max_pool_input_gradient",
            (randn(2, 3, 4, 5), positions, [2, 3, 9, 10], *two), ((2, 3, 9, 10),),
        ),
        "maximum gradient, overlapping": Case(
            "memplan.max_pool_input_gradient",
            (randn(2, 3, 4, 5), overlapping, [2, 3, 8, 10], *three), ((2, 3, 8, 10),),
        ),
        "mean": Case("aten.mean.dim", (x, [-1, -2], True), ((2, 3, 1, 1),)),
        "mean of all": Case("aten.mean.default", (x,), ((),)),
        "sum": Case("aten.sum.dim_IntList", (x, [0, 2, 3]), ((3,),)),
        "sum of one dimension": Case("aten.sum.dim_IntList", (x, [1], True), ((2, 1, 9, 10),)),
        "sum of all": Case("aten.sum.default", (x,), ((),)),
    }  # fmt: skip


def elementwise_cases() -> Cases:
    x, y, row = 3 * randn(2, 3, 5), randn(2, 3, 5), randn(5)
    positive = y.abs() + 0.1
    unary: dict[str, tuple[Any, ...]] = {
        "abs": (), "elu": (), "exp": (), "gelu": (), "hardsigmoid": (), "hardswish": (),
        "hardtanh": (0.0, 6.0), "leaky_relu": (0.1,), "neg": (), "relu": (), "sigmoid": (),
        "silu": (), "tanh": (), "clamp": (-1.0, 2.0), "clamp_min": (0.5,),
    }  # fmt: skip
    cases = {
        name: Case(f"aten.{name}.default", (x, *rest), ((2, 3, 5),)) for name, rest in unary.items()
    }
    for name in ("log", "sqrt", "rsqrt", "reciprocal"):
        cases[name] = Case(f"aten.{name}.default", (positive,), ((2, 3, 5),))
    backward: dict[str, tuple[Any, ...]] = {
        "gelu_backward": (y, x), "hardsigmoid_backward": (y, x), "hardswish_backward": (y, x),
        "hardtanh_backward": (y, x, -1.0, 2.0), "leaky_relu_backward": (y, x, 0.1, False),
        "sigmoid_backward": (y, positive), "silu_backward": (y, x), "tanh_backward": (y, x),
        "threshold_backward": (y, x, 0), "elu_backward": (y, 1.0, 1, 1, False, x),
        "addcmul": (x, y, positive),
    }  # fmt: skip
    for name, arguments in backward.items():
        cases[name] = Case(f"aten.{name}.default", arguments, ((2, 3, 5),))
    cases["elu_backward of the result"] = Case(
        "aten.elu_backward.default", (y, 1.0, 1, 1, True, torch.nn.functional.elu(x)), ((2, 3, 5),)
    )
    for name in ("gelu", "gelu_backward"):
        arguments = (x,) if name == "gelu" else (y, x)
        cases[f"{name} by tanh"] = Case(
            f"aten.{name}.default", arguments, ((2, 3, 5),), {"approximate": "tanh"}
        )
    for name in ("add", "sub", "mul", "div"):
        cases[f"{name} of a row"] = Case(f"aten.{name}.Tensor", (x, row), ((2, 3, 5),))
        cases[f"{name} of a number"] = Case(f"aten.{name}.Scalar", (x, 0.7), ((2, 3, 5),))
    cases["weighted sum"] = Case("aten.add.Tensor", (x, y), ((2, 3, 5),), {"alpha": -0.5})
    cases["square"] = Case("aten.pow.Tensor_Scalar", (x, 2), ((2, 3, 5),))
    cases["chain"] = Case(
        "memplan.elementwise",
        (
            ("aten.add.Tensor", (x, y), ()),
            ("aten.hardtanh.default", (RUNNING, 0.0, 6.0), ()),
            ("aten.mul.Tensor", (RUNNING, row), ()),
        ),
        ((2, 3, 5),),
    )
    return cases


def loss_cases() -> Cases:
    x, gy, one = 4 * randn(3, 7), randn(3, 7), randn().abs()
    labels = torch.tensor([2, -100, 6])
    image, places = randn(2, 4, 3, 3), torch.randint(0, 4, (2, 3, 3), generator=_GENERATOR)
    log_p, softmax = x.log_softmax(1), x.softmax(1)
    number = torch.tensor(2.0)
    cases = {
        "softmax": Case("aten._softmax.default", (x, -1, False), ((3, 7),)),
        "softmax over channels": Case("aten._softmax.default", (image, 1, False), ((2, 4, 3, 3),)),
        "log-softmax": Case("aten._log_softmax.default", (x, 1, False), ((3, 7),)),
        "softmax gradient": Case(
            "aten._softmax_backward_data.default", (gy, softmax, 1, torch.float32), ((3, 7),)
        ),
        "log-softmax gradient": Case(
            "aten._log_softmax_backward_data.default", (gy, log_p, 1, torch.float32), ((3, 7),)
        ),
        "squared error": Case("aten.mse_loss.default", (x, gy), ((),)),
        "squared error gradient": Case(
            "aten.mse_loss_backward.default", (one, x, gy, 1), ((3, 7),)
        ),
        "nll2d": Case(
            "aten.nll_loss2d_forward.default",
            (image.log_softmax(1), places, None, 1, -100), ((), ()),
        ),
        "nll2d gradient": Case(
            "aten.nll_loss2d_backward.default",
            (one, image, places, None, 1, -100, torch.tensor(18.0)), ((2, 4, 3, 3),),
        ),
    }  # fmt: skip
    for name, reduction in (("mean", 1), ("sum", 2)):
        cases[f"nll {name}"] = Case(
            "aten.nll_loss_forward.default", (log_p, labels, None, reduction, -100), ((), ())
        )
        cases[f"nll gradient {name}"] = Case(
            "aten.nll_loss_backward.default",
            (one, log_p, labels, None, reduction, -100, number), ((3, 7),),
        )  # fmt: skip
    return cases


def sequence_cases() -> Cases:
    x, gy = randn(2, 4, 6), randn(2, 4, 6)
    weight, bias = randn(6), randn(6)
    mean = x.mean(-1, keepdim=True)
    rstd = (x.var(-1, unbiased=False, keepdim=True) + 1e-5).rsqrt()
    indices = torch.tensor([[0, 3, 3], [5, 0, 1]])
    table, gz = randn(6, 4), randn(2, 3, 4)
    q, k, v = (randn(2, 5, 3, 4).transpose(1, 2) for _ in range(3))
    mask = randn(2, 1, 5, 5)
    cases = {
        "layer norm": Case(
            "aten.native_layer_norm.default", (x, [6], weight, bias, 1e-5),
            ((2, 4, 6), (2, 4, 1), (2, 4, 1)),
        ),
        "layer norm without weight": Case(
            "aten.native_layer_norm.default", (x, [6], None, None, 1e-5),
            ((2, 4, 6), (2, 4, 1), (2, 4, 1)),
        ),
        "layer norm, input gradient": Case(
            "memplan.layer_norm_input_gradient", (gy, x, mean, rstd, weight, [6]), ((2, 4, 6),)
        ),
        "layer norm, weight gradient": Case(
            "memplan.layer_norm_weight_gradient", (gy, x, mean, rstd, [6]), ((6,),)
        ),
        "layer norm, bias gradient": Case("memplan.layer_norm_bias_gradient", (gy, [6]), ((6,),)),
        "embedding": Case("aten.embedding.default", (table, indices), ((2, 3, 4),)),
        "embedding, cut": Case(
            "aten.embedding.default", (PartlyUpdated(table, 1, (1, 2)), indices), ((2, 3, 4),)
        ),
        "table gradient": Case(
            "memplan.embedding_weight_gradient", (gz, indices, 6, 5), ((6, 4),)
        ),
        "table gradient of columns": Case(
            "memplan.embedding_weight_gradient", (gz, indices, 6, -1), ((6, 2),),
            update=cut("output", 0, 3),
        ),
        "table gradient of part of a sequence": Case(
            "memplan.embedding_weight_gradient", (randn(2, 5, 4)[:, 1:4], indices, 6, -1), ((6, 4),)
        ),
    }  # fmt: skip
    name = "aten._scaled_dot_product_flash_attention_for_cpu"
    for label, causal, keywords in (
        ("plain", False, {}),
        ("causal", True, {}),
        ("masked", False, {"attn_mask": mask, "scale": 0.3}),
    ):
        y, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, causal, **keywords
        )
        g = randn(*y.shape)
        cases[f"attention {label}"] = Case(
            f"{name}.default", (q, k, v, 0.0, causal), ((2, 3, 5, 4), (2, 3, 5)), keywords
        )
        cases[f"attention gradient {label}"] = Case(
            f"{name}_backward.default",
            (g, q, k, v, y.contiguous(), sums.contiguous(), 0.0, causal),
            ((2, 3, 5, 4),) * 3, keywords,
        )  # fmt: skip
    return cases


def copy_cases() -> Cases:
    x = randn(2, 6, 3, 5)
    y = randn(2, 4, 3, 5)
    return {
        "padding": Case("aten.constant_pad_nd.default", (x, [1, 2, 0, 1], 0.5), ((2, 6, 4, 8),)),
        "cropping": Case("aten.constant_pad_nd.default", (x, [-1, -1, -1, 0]), ((2, 6, 2, 3),)),
        "concatenation": Case("aten.cat.default", ([x, y], 1), ((2, 10, 3, 5),)),
        "stack": Case("aten.stack.default", ([x, x + 1], 2), ((2, 6, 2, 3, 5),)),
        "gathered channels": Case(
            "memplan.gather_channels", (x, 1), ((2, 3, 3, 5),), update=cut("input", 0, 2, 5)
        ),
        "gathered columns": Case(
            "memplan.gather_channels", (randn(4, 6), 1), ((4, 2),), update=cut("input", 1, 2)
        ),
        "selected": Case(
            "aten.select_backward.default", (randn(2, 3, 5), [2, 6, 3, 5], 1, 2), ((2, 6, 3, 5),)
        ),
        "every second": Case(
            "aten.slice_backward.default", (randn(2, 3, 3, 5), [2, 6, 3, 5], 1, 1, 100, 2),
            ((2, 6, 3, 5),),
        ),
        "full": Case("aten.full.default", ([2, 3], 0.25), ((2, 3),)),
        "bits": Case("memplan.range_bits", (randn(2, 3, 7), 0, 0.5), ((6,),), dtype=torch.uint8),
        "bits without limit": Case(
            "memplan.range_bits", (randn(3, 8), None, 0), ((3,),), dtype=torch.uint8
        ),
        "bits applied": Case(
            "memplan.apply_bits",
            (randn(2, 3, 7), torch.arange(3, 9, dtype=torch.uint8) * 29), ((2, 3, 7),),
        ),
        "dropout": Case("memplan.dropout", (randn(4, 9), 0.3, 77), ((4, 9),)),
        "dropout gradient": Case(
            "memplan.dropout_backward", (randn(4, 9), 0.5, 2**40 + 5), ((4, 9),)
        ),
    }  # fmt: skip


def update_cases() -> Cases:
    cases: Cases = {}
    w, g = randn(5, 4), randn(5, 4)

    def add(name: str, target: str, *rest: Any, states: int = 0, **options: Any) -> None:
        tensors = [w.clone(), *(randn(5, 4).abs() for _ in range(states))]
        step = [torch.tensor(3)] if "adam" in target else []
        cases[name] = Case(
            target, (tensors[0], g, *tensors[1:], *step, *rest), (),
            mutates=(*tensors, *step), **options,
        )  # fmt: skip

    add("sgd", "memplan.sgd", 0.1)
    add("momentum", "memplan.momentum", 0.1, 0.9, states=1)
    add("adam", "memplan.adam", 0.01, 0.9, 0.999, 1e-8, states=2, workspace_bytes=32)
    add("accumulate", "memplan.accumulate", trips=3)
    spent = randn(3, 3)
    cases["clear"] = Case("memplan.clear", (spent,), (), mutates=(spent,))
    movement: tuple[Any, ...] = ([1, 1], [1, 1], [1, 1], False, [0, 0])
    gy, x = randn(2, 5, 6, 7), randn(2, 4, 6, 7)
    for rows, label in ((1, "one row"), (2, "rows"), (5, "whole")):
        weight = randn(5, 4, 3, 3)
        cases[f"sgd fused with a convolution, {label} at once"] = Case(
            "memplan.fused",
            ("memplan.sgd", "memplan.conv_weight_gradient", (weight, RUNNING, 0.1),
             (gy, x, [5, 4, 3, 3], *movement, 1)),
            mutates=(weight,), workspace_bytes=rows * 144 + 8,
        )  # fmt: skip
    part = randn(3, 4, 3, 3)
    cases["accumulation fused with output channels"] = Case(
        "memplan.fused",
        ("memplan.accumulate", "memplan.conv_weight_gradient", (part, RUNNING),
         (gy, x, [5, 4, 3, 3], *movement, 1)),
        mutates=(part,), workspace_bytes=2 * 144, trips=2, update=cut("output", 0, 1, 4),
    )  # fmt: skip
    columns = randn(5, 2, 3, 3)
    cases["sgd fused with input channels"] = Case(
        "memplan.fused",
        ("memplan.sgd", "memplan.conv_weight_gradient", (columns, RUNNING, 0.1),
         (gy, x[:, [1, 3]].contiguous(), [5, 4, 3, 3], *movement, 1)),
        mutates=(columns,), workspace_bytes=2 * 72, update=cut("input", 1, 3),
    )  # fmt: skip
    deep = randn(3, 1, 3, 3)
    cases["sgd fused with depthwise channels"] = Case(
        "memplan.fused",
        ("memplan.sgd", "memplan.conv_weight_gradient", (deep, RUNNING, 0.1),
         (randn(2, 4, 6, 7), x[:, [0, 1, 3]].contiguous(), [4, 1, 3, 3], *movement, 4)),
        mutates=(deep,), workspace_bytes=72, update=cut("output", 0, 1, 3),
    )  # fmt: skip
    dense, velocity = randn(6, 5), randn(6, 5)
    cases["momentum fused with a linear layer"] = Case(
        "memplan.fused",
        ("memplan.momentum", "memplan.linear_weight_gradient",
         (dense, RUNNING, velocity, 0.1, 0.9), (randn(3, 6), randn(3, 5))),
        mutates=(dense, velocity), workspace_bytes=80,
    )  # fmt: skip
    adam, first, second, step = randn(6, 5), randn(6, 5), randn(6, 5).abs(), torch.tensor(1)
    cases["adam fused with a linear layer"] = Case(
        "memplan.fused",
        ("memplan.adam", "memplan.linear_weight_gradient",
         (adam, RUNNING, first, second, step, 0.01, 0.9, 0.999, 1e-8), (randn(3, 6), randn(3, 5))),
        mutates=(adam, first, second, step), workspace_bytes=80,
    )  # fmt: skip
    table = randn(6, 3)
    cases["sgd fused with a table"] = Case(
        "memplan.fused",
        ("memplan.sgd", "memplan.embedding_weight_gradient", (table, RUNNING, 0.1),
         (randn(2, 2, 3), torch.tensor([[0, 5], [5, 3]]), 6, 3)),
        mutates=(table,), workspace_bytes=48,
    )  # fmt: skip
    return cases


CASES: Cases = {
    **convolution_cases(),
    **transposed_cases(),
    **slice_cases(),
    **strided_cases(),
    **linear_cases(),
    **pooling_cases(),
    **elementwise_cases(),
    **loss_cases(),
    **sequence_cases(),
    **copy_cases(),
    **update_cases(),
    **strip_cases(),
}
NAMES = list(CASES)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return build_program(tmp_path_factory.mktemp("kernels"), list(CASES.values()))


@pytest.mark.parametrize("name", NAMES)
def test_a_kernel_equals_the_torch_executors(name: str, program: Program) -> None:
    equals_torch(CASES[name], program, NAMES.index(name))


def test_every_call_and_expression_is_tested() -> None:
    tested = {case.target for case in (*CASES.values(), *int8_cases().values())}
    same = {
        # Other names of what is tested.
        "aten._to_copy.default", "aten.clone.default", "aten.fill.Scalar", "aten.full_like.default",
        "aten.ones_like.default", "aten.zeros.default", "aten.zeros_like.default",
        "aten.embedding_dense_backward.default",
        # test_row_strips.py
        "memplan.row_strips",
    }  # fmt: skip
    assert (CALLS.keys() | EXPRESSIONS.keys()) - tested - same == set()
