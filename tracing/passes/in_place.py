"""Mark the operands whose bytes a result may take.

Only operations for which computing over the operand was seen to give identical results, and only
where operand and result have exactly the same element type, shape and strides, and the operand
covers its tensor's bytes.
"""

from __future__ import annotations

from memplan.ir.units import Affine
from memplan.tracing.draft import Draft, DraftOperation, Recipe, View, views_in

__all__ = ["IN_PLACE", "fits_in_place", "mark_in_place_pairs", "overwritable"]

#: Target -> positions of arguments that the first result may overwrite.
IN_PLACE: dict[str, tuple[int, ...]] = {
    **{
        f"aten.{name}": (0,)
        for name in (
            "relu.default", "hardtanh.default", "silu.default", "gelu.default",
            "hardswish.default", "hardsigmoid.default", "sigmoid.default", "tanh.default",
            "leaky_relu.default", "elu.default", "exp.default", "neg.default", "sqrt.default",
            "rsqrt.default", "reciprocal.default", "abs.default", "erf.default",
            "clamp.default", "clamp_min.default", "clamp_max.default", "pow.Tensor_Scalar",
            "add.Scalar", "sub.Scalar", "mul.Scalar", "div.Scalar", "rsub.Scalar",
            "_softmax.default", "_log_softmax.default", "native_layer_norm.default",
        )
    },
    **{
        f"aten.{name}": (0, 1)
        for name in (
            "add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor",
            "threshold_backward.default", "hardtanh_backward.default", "silu_backward.default",
            "gelu_backward.default", "hardswish_backward.default", "hardsigmoid_backward.default",
            "sigmoid_backward.default", "tanh_backward.default", "leaky_relu_backward.default",
            "_softmax_backward_data.default", "_log_softmax_backward_data.default",
        )
    },
    "aten.elu_backward.default": (0, 5),
    "aten.where.self": (1, 2),
    "aten.masked_fill.Scalar": (0,),
    "aten.masked_fill.Tensor": (0,),
    "aten.addcmul.default": (1,),
    "memplan.dropout": (0,),
    "memplan.dropout_backward": (0,),
    "memplan.apply_bits": (0,),
    "memplan.range_backward": (0,),
    "memplan.add_int8": (0, 1),
}  # fmt: skip


def mark_in_place_pairs(draft: Draft) -> None:
    """Give every alternative the pairs that hold for it."""
    for operation in draft.operations:
        if operation.phase not in ("forward", "backward") or not operation.writes:
            continue
        for way in operation.alternatives:
            way.in_place = tuple(
                (view, 0)
                for view in overwritable(way)
                if fits_in_place(draft, operation, way, view)
            )


def overwritable(way: Recipe) -> list[View]:
    """Return the operands over whose elements the result may be written as they are read."""
    if way.target == "memplan.elementwise":
        # Later entries must still find what they read, so only what the first one reads alone.
        target, arguments, _ = way.arguments[0]
        later = set(views_in(way.arguments[1:]))
        first = [
            arguments[position]
            for position in IN_PLACE.get(target, ())
            if position < len(arguments)
        ]
        return list(dict.fromkeys(v for v in first if isinstance(v, View) and v not in later))
    return list(
        dict.fromkeys(
            way.arguments[position]
            for position in IN_PLACE.get(way.target, ())
            if position < len(way.arguments) and isinstance(way.arguments[position], View)
        )
    )


def fits_in_place(draft: Draft, operation: DraftOperation, way: Recipe, view: View) -> bool:
    """Whether every element of the result lies exactly where the operand has its own."""
    read, written = draft.tensors[view.tensor], draft.tensors[operation.writes[0]]
    return (
        read.role in ("activation", "gradient")
        and (read.dtype, read.size_bytes) == (written.dtype, written.size_bytes)
        and view.offset == Affine(0)
        and (view.shape, view.strides) == (written.shape, written.strides)
        and not read.slices
        and all(other == view for other in way.reads() if other.tensor == view.tensor)
    )
