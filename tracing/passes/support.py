"""Small things that several passes need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from memplan.ir.dtypes import Dtype
from memplan.ir.graph import DtypeArgument, SizeArgument
from memplan.ir.units import Affine
from memplan.tracing.draft import Draft, DraftOperation, DraftTensor, Recipe, View

__all__ = [
    "BROADCAST_READERS",
    "ELEMENTWISE",
    "constant_fill",
    "scalar_view",
    "size_argument",
    "size_arguments",
]

#: Element-wise operations that torch computes element by element, in the output's own bytes.
ELEMENTWISE = frozenset(
    f"aten.{name}"
    for name in (
        "add.Tensor", "add.Scalar", "sub.Tensor", "sub.Scalar", "mul.Tensor", "mul.Scalar",
        "div.Tensor", "div.Scalar", "pow.Tensor_Scalar", "rsub.Scalar",
        "relu.default", "hardtanh.default", "sigmoid.default", "tanh.default", "silu.default",
        "hardswish.default", "hardsigmoid.default", "leaky_relu.default", "elu.default",
        "gelu.default", "exp.default", "neg.default", "sqrt.default", "rsqrt.default",
        "abs.default", "clamp.default", "clamp_min.default", "clamp_max.default",
        "reciprocal.default", "erf.default", "addcmul.default",
        "threshold_backward.default", "hardtanh_backward.default", "sigmoid_backward.default",
        "tanh_backward.default", "silu_backward.default", "hardswish_backward.default",
        "gelu_backward.default", "hardsigmoid_backward.default", "leaky_relu_backward.default",
    )
)  # fmt: skip
#: Operations that read operands of any strides, a broadcast element (stride 0) included.  Not
#: every kernel does: some take the data of a weight as if it were contiguous.
BROADCAST_READERS = ELEMENTWISE | {
    "aten.copy.default",
    "aten.where.self",
    "aten.masked_fill.Scalar",
    "aten.masked_fill.Tensor",
    "aten.eq.Tensor",
    "aten.sum.dim_IntList",
    "aten.cat.default",
    "aten.mm.default",
    "aten.select_scatter.default",
    "aten.slice_scatter.default",
    "memplan.apply_bits",
    "memplan.range_backward",
    "memplan.dropout_backward",
    "memplan.conv_input_gradient",
    "memplan.conv_weight_gradient",
    "memplan.linear_weight_gradient",
    "memplan.layer_norm_input_gradient",
    "memplan.layer_norm_weight_gradient",
    "memplan.layer_norm_bias_gradient",
    "memplan.max_pool_input_gradient",
}


def size_argument(size: Affine) -> int | SizeArgument:
    """Return a size as an argument: a number where it does not depend on the batch."""
    return size.fixed if size.per_sample == 0 else SizeArgument(size=size)


def size_arguments(shape: Iterable[Affine]) -> tuple[int | SizeArgument, ...]:
    return tuple(size_argument(size) for size in shape)


def constant_fill(
    draft: Draft, name: str, value: Any, dtype: Dtype, shape: tuple[Affine, ...] = ()
) -> tuple[DraftTensor, DraftOperation]:
    """Return a tensor full of one value, and the constant operation that makes it."""
    tensor = draft.new_tensor(name, "constant", dtype, shape)
    fill = Recipe(
        "plain",
        "aten.full.default",
        (size_arguments(shape), value),
        {"dtype": DtypeArgument(dtype=dtype)},
    )
    return tensor, DraftOperation(tensor.id, "constant", (tensor.id,), [fill])


def scalar_view(scalar: DraftTensor, shape: tuple[Affine, ...]) -> View:
    """Return one element broadcast to a shape."""
    return View(scalar.id, shape, (Affine(0),) * len(shape))
