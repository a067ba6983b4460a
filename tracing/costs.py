"""What an operation costs: multiply-accumulates and bytes moved, exact and analytic.

``torch.utils.flop_counter`` is no reference: it ignores ``groups`` in the weight gradient of a
convolution and does not know the CPU attention operators.  Operations that are not listed count
no MACs, only the bytes of their operands as read and written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memplan.ir.channel_strips import CHANNEL_STRIPS
from memplan.ir.dtypes import storage_bytes
from memplan.ir.graph import SizeArgument
from memplan.ir.row_strips import ROW_STRIPS
from memplan.ir.units import Affine
from memplan.tracing.channel_strip_costs import channel_strip_macs, channel_strip_moved_bytes
from memplan.tracing.draft import Draft, DraftOperation, Recipe, View, sizes_at
from memplan.tracing.passes.in_place_depthwise import IN_PLACE_DEPTHWISE
from memplan.tracing.strip_costs import strip_macs, strip_moved_bytes

__all__ = ["macs_of", "moved_bytes_of"]

Sizes = tuple[int, ...]
#: (arguments, shape of the first result at m, shape of an operand at m) -> MACs
Rule = Callable[[tuple[Any, ...], Sizes, Callable[[Any], Sizes]], int]


def macs_of(draft: Draft, operation: DraftOperation, recipe: Recipe) -> Affine:
    """Return the multiply-accumulates of one execution.

    Raises:
        NotAffineError: they do not grow on a line with the batch.
    """
    if recipe.target == "memplan.fused":
        _, gradient, _, arguments = recipe.arguments
        return macs_of(draft, operation, Recipe("gradient", gradient, arguments))
    if recipe.target == ROW_STRIPS:
        return strip_macs(draft, operation, recipe, _RULES)
    if recipe.target == CHANNEL_STRIPS:
        return channel_strip_macs(draft, operation, recipe)
    rule = _RULES.get(recipe.target)
    if rule is None:
        return Affine(0)

    def at(count: int) -> int:
        def shape_of(argument: Any) -> Sizes:
            if isinstance(argument, View):
                return sizes_at(argument.shape, count)
            return tuple(
                size.size.at(count) if isinstance(size, SizeArgument) else int(size)
                for size in argument
            )

        result: Sizes = ()
        if operation.writes:
            result = sizes_at(draft.tensors[operation.writes[0]].shape, count)
        return rule(recipe.arguments, result, shape_of)

    return draft.affine(at)


def moved_bytes_of(draft: Draft, operation: DraftOperation, recipe: Recipe) -> Affine:
    """Return the bytes read and written in one execution: of operands as viewed, not stored.

    An element that is broadcast counts once.  What an operation mutates is read and written.
    """

    def view_bytes(view: View, count: int) -> int:
        tensor = draft.tensors[view.tensor]
        if tensor.dtype == "bit":  # each sample begins a byte
            return tensor.size_bytes.at(count)
        return storage_bytes(_distinct(view.shape, view.strides, count), tensor.dtype)

    if recipe.target == ROW_STRIPS:
        return strip_moved_bytes(draft, operation, recipe, view_bytes)
    if recipe.target == CHANNEL_STRIPS:
        return channel_strip_moved_bytes(draft, operation, recipe, view_bytes)

    def at(count: int) -> int:
        total = 0
        for view in recipe.reads():
            total += view_bytes(view, count)
        for name in (*operation.writes, *operation.mutates):
            total += view_bytes(draft.tensors[name].whole(), count)
        if recipe.name == IN_PLACE_DEPTHWISE:  # each row goes through the ring
            total += 2 * view_bytes(recipe.arguments[0], count)
        return total

    return draft.affine(at)


def _distinct(shape: tuple[Affine, ...], strides: tuple[Affine, ...], count: int) -> int:
    total = 1
    for dimension, stride in zip(shape, strides, strict=True):
        size = dimension.at(count)
        total *= min(size, 1) if stride.at(count) == 0 else size
    return total


def _product(sizes: Sizes) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total


def _convolution(
    arguments: tuple[Any, ...], result: Sizes, shape_of: Callable[[Any], Sizes]
) -> int:
    x, weight = shape_of(arguments[0]), shape_of(arguments[1])
    transposed = arguments[6]
    return _product(x if transposed else result) * _product(weight[1:])


def _convolution_of_integers(
    arguments: tuple[Any, ...], result: Sizes, shape_of: Callable[[Any], Sizes]
) -> int:
    return _product(result) * _product(shape_of(arguments[1])[1:])


def _convolution_input_gradient(
    arguments: tuple[Any, ...], result: Sizes, shape_of: Callable[[Any], Sizes]
) -> int:
    gy, weight, x = shape_of(arguments[0]), shape_of(arguments[1]), shape_of(arguments[2])
    transposed = arguments[6]
    return _product(x if transposed else gy) * _product(weight[1:])


def _convolution_weight_gradient(
    arguments: tuple[Any, ...], result: Sizes, shape_of: Callable[[Any], Sizes]
) -> int:
    gy, x, weight = shape_of(arguments[0]), shape_of(arguments[1]), shape_of(arguments[2])
    transposed = arguments[6]
    return _product(x if transposed else gy) * _product(weight[1:])


def _convolution_backward(
    arguments: tuple[Any, ...], result: Sizes, shape_of: Callable[[Any], Sizes]
) -> int:
    gy, x, weight = (shape_of(argument) for argument in arguments[:3])
    transposed, mask = arguments[7], arguments[10]
    return int(mask[0] + mask[1]) * _product(x if transposed else gy) * _product(weight[1:])


def _matrix_product(first: int, second: int) -> Rule:
    def rule(arguments: tuple[Any, ...], result: Sizes, shape_of: Callable[[Any], Sizes]) -> int:
        return _product(shape_of(arguments[first])) * shape_of(arguments[second])[-1]

    return rule


def _linear_weight_gradient(
    arguments: tuple[Any, ...], result: Sizes, shape_of: Callable[[Any], Sizes]
) -> int:
    (rows, out), (_, width) = shape_of(arguments[0]), shape_of(arguments[1])
    return rows * out * width


def _attention(arguments: tuple[Any, ...], result: Sizes, shape_of: Callable[[Any], Sizes]) -> int:
    query, key, value = (shape_of(argument) for argument in arguments[:3])
    return _product(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _attention_backward(
    arguments: tuple[Any, ...], result: Sizes, shape_of: Callable[[Any], Sizes]
) -> int:
    query, key, value = (shape_of(argument) for argument in arguments[1:4])
    return _product(query[:-1]) * key[-2] * (3 * query[-1] + 2 * value[-1])


_RULES: dict[str, Rule] = {
    "aten.convolution.default": _convolution,
    "aten.convolution_backward.default": _convolution_backward,
    "memplan.conv_input_gradient": _convolution_input_gradient,
    "memplan.conv_input_gradient_int8w": _convolution_input_gradient,
    "memplan.conv_int8": _convolution_of_integers,
    "memplan.conv_weight_gradient": _convolution_weight_gradient,
    "memplan.conv_weight_gradient_int8x": _convolution_weight_gradient,
    "aten.mm.default": _matrix_product(0, 1),
    "aten.bmm.default": _matrix_product(0, 1),
    "aten.addmm.default": _matrix_product(1, 2),
    "aten.baddbmm.default": _matrix_product(1, 2),
    "aten.dot.default": lambda arguments, result, shape_of: _product(shape_of(arguments[0])),
    "aten.mv.default": lambda arguments, result, shape_of: _product(shape_of(arguments[0])),
    "memplan.linear_weight_gradient": _linear_weight_gradient,
    "aten._scaled_dot_product_flash_attention_for_cpu.default": _attention,
    "aten._scaled_dot_product_flash_attention_for_cpu_backward.default": _attention_backward,
}
