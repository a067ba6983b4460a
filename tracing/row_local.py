"""Which operations compute a row of their result from a few rows of their operands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from memplan.ir.row_strips import RowWindow
from memplan.ir.units import Affine
from memplan.tracing.draft import Draft, DraftOperation, DraftTensor, View, contiguous_strides
from memplan.tracing.passes.support import ELEMENTWISE

__all__ = ["RowLocal", "row_local"]

_RESIDENT = ("parameter", "constant")
_VARYING = ("activation", "input")
_ONE_ROW = RowWindow()
#: Ours, beside ATen's: the same at every element.
_ELEMENTWISE = (
    "memplan.add_int8", "memplan.dequantize", "memplan.elementwise", "memplan.quantize"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RowLocal:
    """How an operation moves over the rows of its operands."""

    window: RowWindow
    #: The operands that have rows; all others are whole in every row.
    views: tuple[View, ...]
    elementwise: bool


def row_local(draft: Draft, operation: DraftOperation) -> RowLocal | None:
    """Return how a forward operation goes by rows, or None where it does not."""
    if operation.phase != "forward" or len(operation.writes) != 1 or operation.mutates:
        return None
    plain = operation.plain
    result = draft.tensors[operation.writes[0]]
    if not _is_image(draft, result):
        return None
    views, resident = [], []
    for view in plain.reads():
        tensor = draft.tensors[view.tensor]
        if tensor.role in _RESIDENT:
            resident.append(view)
        elif tensor.role in _VARYING and tensor.is_whole(view) and _is_image(draft, tensor):
            views.append(view)
        else:
            return None
    if not views or any(view.shape[0] != result.shape[0] for view in views):
        return None
    if plain.target in ELEMENTWISE or plain.target in _ELEMENTWISE:
        same = all(view.shape == result.shape for view in views)
        if same and all(_has_no_rows(view) for view in resident):
            return RowLocal(_ONE_ROW, tuple(views), True)
        return None
    rule = _WINDOWS.get(plain.target)
    if rule is None or len(views) != 1 or plain.arguments[0] != views[0] or plain.keywords:
        return None
    window = rule(plain.arguments)
    return None if window is None else RowLocal(window, tuple(views), False)


def _is_image(draft: Draft, tensor: DraftTensor) -> bool:
    """Whether a tensor is (samples, channels, rows, columns), row-major, of fixed size each."""
    return (
        len(tensor.shape) == 4
        and tensor.dtype != "bit"
        and not tensor.slices
        and all(size.per_sample == 0 and size.fixed > 0 for size in tensor.shape[1:])
        and tensor.strides == contiguous_strides(draft, tensor.shape)
    )


def _has_no_rows(view: View) -> bool:
    """Whether every row, and every sample, sees the same elements."""
    sizes = list(zip(view.shape, view.strides, strict=True))
    spread = sizes[-2:-1] + (sizes[:1] if len(sizes) == 4 else [])
    return len(sizes) <= 4 and all(size == Affine(1) or step == Affine(0) for size, step in spread)


def _pair(argument: Any) -> tuple[int, int] | None:
    if isinstance(argument, tuple) and len(argument) == 2:
        first, second = argument
        if isinstance(first, int) and isinstance(second, int):
            return first, second
    return None


def _window(kernel: Any, stride: Any, padding: Any, dilation: Any) -> RowWindow | None:
    sizes = [_pair(kernel), _pair(stride), _pair(padding), _pair(dilation)]
    rows = [size[0] for size in sizes if size is not None]
    return RowWindow(*rows) if len(rows) == 4 else None


def _convolution(arguments: tuple[Any, ...]) -> RowWindow | None:
    weight, stride, padding, dilation, transposed = arguments[1], *arguments[3:7]
    if transposed or len(weight.shape) != 4:
        return None
    return _window(tuple(size.fixed for size in weight.shape[2:]), stride, padding, dilation)


def _convolution_int8(arguments: tuple[Any, ...]) -> RowWindow | None:
    weight = arguments[1]
    if len(weight.shape) != 4:
        return None
    return _window(tuple(size.fixed for size in weight.shape[2:]), *arguments[3:6])


def _max_pool(arguments: tuple[Any, ...]) -> RowWindow | None:
    if len(arguments) != 6:
        return None
    return _window(*arguments[1:5])


def _average_pool(arguments: tuple[Any, ...]) -> RowWindow | None:
    kernel, *rest = arguments[1:]
    stride = rest[0] if rest and rest[0] != () else kernel
    padding = rest[1] if len(rest) > 1 else (0, 0)
    return _window(kernel, stride, padding, (1, 1))


_WINDOWS: Mapping[str, Callable[[tuple[Any, ...]], RowWindow | None]] = {
    "aten.convolution.default": _convolution,
    "aten.max_pool2d.default": _max_pool,
    "aten.avg_pool2d.default": _average_pool,
    "memplan.conv_int8": _convolution_int8,
    "memplan.avg_pool_int8": _average_pool,
}
