"""Sums and means over dimensions."""

from __future__ import annotations

from typing import Any

from memplan.clients.export.c.call import Call, UnsupportedError, dense, floats, whole
from memplan.clients.export.c.code import Code
from memplan.clients.export.c.names import identifier
from memplan.clients.export.c.views import View

__all__ = ["mean", "reduce", "reduction", "sum_all", "sum_dims"]

_MOST = 3


def sum_dims(call: Call, code: Code) -> list[str]:
    """``aten.sum.dim_IntList(x, dims, keepdim)``."""
    x, dims = call.arguments[:2]
    return reduce(call, code, x, dims, mean=False)


def sum_all(call: Call, code: Code) -> list[str]:
    """``aten.sum.default(x)``."""
    return reduce(call, code, call.arguments[0], None, mean=False)


def mean(call: Call, code: Code) -> list[str]:
    """``aten.mean.dim(x, dims, keepdim)`` and ``aten.mean.default(x)``."""
    return reduce(call, code, call.arguments[0], call.argument(1), mean=True)


def reduce(call: Call, code: Code, x: View, dims: Any, *, mean: bool) -> list[str]:
    """Return the call that sums ``x`` over ``dims`` (None or empty: all)."""
    (out,) = call.writes
    floats(x, out)
    dense(out)
    geometry = reduction(code, identifier(call.operation), x, dims)
    count = x.count // max(out.count, 1) if mean else 1
    return [f"memplan_sum({geometry}, {x.pointer}, {count}.0f, {out.pointer});"]


def reduction(code: Code, hint: str, x: View, dims: Any) -> str:
    """Return the constant of a sum of ``x`` over ``dims`` (None or empty: all), into what is dense.

    Raises:
        UnsupportedError: the dimensions lie in too many pieces.
    """
    whole(x)
    rank = len(x.shape)
    summed = {dim % rank for dim in dims} if dims else set(range(rank))
    kept_dims = _joined(x, [dim for dim in range(rank) if dim not in summed])
    summed_dims = _joined(x, sorted(summed))
    if len(kept_dims) > _MOST or len(summed_dims) > _MOST:
        raise UnsupportedError(f"a sum over dimensions {sorted(summed)} of {x.shape}")
    code.use("reduction")
    fields = {}
    for name, sizes in (("kept", kept_dims), ("summed", summed_dims)):
        full = [(1, 0)] * (_MOST - len(sizes)) + sizes
        fields[name] = [size for size, _ in full]
        fields[f"{name}_stride"] = [stride for _, stride in full]
    return code.struct("memplan_reduction", f"{hint}_geometry", fields)


def _joined(x: View, dims: list[int]) -> list[tuple[int, int]]:
    """Return (size, stride) of dimensions, those joined that are stepped through as one."""
    found: list[tuple[int, int]] = []
    for dim in dims:
        size, stride = x.shape[dim], x.strides[dim]
        if size == 1:
            continue
        if found and found[-1][1] == stride * size:
            found[-1] = (found[-1][0] * size, stride)
        else:
            found.append((size, stride))
    return found
