"""One byte per output of a max-pool in place of an index of eight, and none without a backward.

ATen's max-pools save for the backward where in the whole image each maximum stands (int64).  Its
position inside the window says the same.  Output and positions are two operations, so the positions
exist only if the backward runs, and can be computed again without the output.
"""

from __future__ import annotations

from typing import Any

from memplan.tracing.draft import (
    Draft,
    DraftOperation,
    DraftTensor,
    Recipe,
    View,
    contiguous_strides,
)
from memplan.tracing.passes.support import size_arguments

__all__ = ["max_pool_positions"]

#: Forward -> (the same without indices, backward, dimensions of a window).
_POOLS = {
    "aten.max_pool2d_with_indices.default": (
        "aten.max_pool2d.default", "aten.max_pool2d_with_indices_backward.default", 2,
    ),
    "aten.max_pool3d_with_indices.default": (
        "aten.max_pool3d.default", "aten.max_pool3d_with_indices_backward.default", 3,
    ),
}  # fmt: skip
_DTYPES = ("float32", "float64", "float16", "bfloat16")
#: Positions in a byte.
_LARGEST_WINDOW = 256

#: Kernel, stride, padding and dilation per dimension, and whether a last part of a window counts.
_Geometry = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], bool]


def max_pool_positions(draft: Draft) -> None:
    """Split max-pools whose indices are read by their own backward at most."""
    readers = draft.readers()
    fixed = {*draft.outputs, *(view.tensor for view in draft.gradients.values())}
    operations: list[DraftOperation] = []
    for operation in draft.operations:
        operations.append(operation)
        if operation.target not in _POOLS or operation.plain.keywords or None in operation.writes:
            continue
        output, indices = operation.writes
        pooled, backward_target, dimensions = _POOLS[operation.target]
        geometry = _geometry(operation.arguments[1:], dimensions)
        if geometry is None or indices in fixed:
            continue
        backwards = readers.get(indices, [])
        x: View = operation.arguments[0]
        if backwards and not (
            draft.tensors[x.tensor].dtype in _DTYPES
            # ATen's index of a window full of -inf is wrong where volumes have channels last.
            and (dimensions == 2 or x.strides == contiguous_strides(draft, x.shape))
            and _fits_a_byte(draft, x, output, geometry)
            and all(
                _is_backward(draft, reader, backward_target, x, indices, geometry)
                for reader in backwards
            )
        ):
            continue
        before = draft.tensors.pop(indices)
        operation.writes = (output,)
        operation.alternatives = [Recipe("plain", pooled, (x, *geometry))]
        if backwards:
            operations.append(_save_positions(draft, operation, x, before, geometry, backwards))
    draft.operations = operations


def _geometry(arguments: tuple[Any, ...], dimensions: int) -> _Geometry | None:
    """Return what a pool's arguments after the input say, defaults and single numbers spelled out.

    None if they are not plain numbers.
    """
    given = (*arguments, *((), (), 0, 1, False)[len(arguments) :])
    *sizes, ceil_mode = given
    kernel, stride, padding, dilation = (_per_dimension(size, dimensions) for size in sizes)
    if kernel is None or padding is None or dilation is None:
        return None
    if sizes[1] == ():
        stride = kernel
    if stride is None or not isinstance(ceil_mode, bool):
        return None
    return kernel, stride, padding, dilation, ceil_mode


def _per_dimension(size: Any, dimensions: int) -> tuple[int, ...] | None:
    sizes = size if isinstance(size, tuple) else (size,)
    if not all(type(number) is int for number in sizes):
        return None
    if len(sizes) == 1:
        return sizes * dimensions
    return sizes if len(sizes) == dimensions else None


def _fits_a_byte(draft: Draft, x: View, output: str, geometry: _Geometry) -> bool:
    """Whether a window has at most 256 elements, and each at least one that is no padding.

    Dilation can put a whole window into the padding; then ATen's index is outside of the image.
    """
    area = 1
    for size in geometry[0]:
        area *= size
    if area > _LARGEST_WINDOW:
        return False
    dimensions = len(geometry[0])
    shapes = zip(
        x.shape[-dimensions:], draft.tensors[output].shape[-dimensions:],
        *geometry[:4], strict=True,
    )  # fmt: skip
    for size_in, size_out, kernel, stride, padding, dilation in shapes:
        if size_in.per_sample or size_out.per_sample:
            return False
        for place in range(size_out.fixed):
            first = place * stride - padding
            window = range(first, first + kernel * dilation, dilation)
            if not any(0 <= position < size_in.fixed for position in window):
                return False
    return True


def _is_backward(
    draft: Draft, reader: DraftOperation, target: str, x: View, indices: str, geometry: _Geometry
) -> bool:
    """Whether an operation is the gradient of just this pool."""
    if reader.target != target or len(reader.alternatives) > 1 or reader.plain.keywords:
        return False
    _, like, *given, read = reader.arguments
    return (
        isinstance(like, View)
        and like.shape == x.shape
        and _geometry(tuple(given), len(geometry[0])) == geometry
        and isinstance(read, View)
        and draft.tensors[indices].is_whole(read)
        and [view.tensor for view in reader.reads()].count(indices) == 1
    )


def _save_positions(
    draft: Draft,
    pool: DraftOperation,
    x: View,
    indices: DraftTensor,
    geometry: _Geometry,
    backwards: list[DraftOperation],
) -> DraftOperation:
    """Return the operation that writes positions, and let the backward read them."""
    positions = draft.new_tensor(
        f"{pool.id}.positions", "activation", "uint8", indices.shape, indices.strides
    )
    for backward in backwards:
        gy = backward.arguments[0]
        arguments = (gy, positions.whole(), size_arguments(x.shape), *geometry)
        backward.alternatives = [Recipe("plain", "memplan.max_pool_input_gradient", arguments)]
    return DraftOperation(
        positions.id,
        "forward",
        (positions.id,),
        [Recipe("plain", "memplan.max_pool_positions", (x, *geometry))],
        recomputable=True,
        origin=pool.origin,
    )
