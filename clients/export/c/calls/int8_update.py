"""Updates of integers by gradients of the real parameters that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memplan.clients.export.c.call import Call, UnsupportedError, dense, floats
from memplan.clients.export.c.code import Code, number
from memplan.clients.export.c.names import identifier
from memplan.clients.export.c.views import View

__all__ = ["sgd_int8_rows"]

_KERNELS = {"int8": "memplan_sgd_int8", "int32": "memplan_sgd_int32"}


def sgd_int8_rows(
    arguments: Sequence[Any], call: Call, code: Code, gradient: str, first: str, count: str
) -> list[str]:
    """``memplan.sgd_int8(w, g, learning_rate, scales, factor, scaling)`` of some rows.

    Args:
        arguments: of the update; its gradient is ``gradient``.
        call: what the update belongs to.
        code: where constants go.
        gradient: C expression of the gradient of the first row.
        first: C expression of the first row, among those that the mask takes.
        count: C expression of the number of rows.
    """
    w, _, rate, scales, factor, scaling = arguments
    floats(scales)
    dense(w, scales)
    if w.dtype not in _KERNELS:
        raise UnsupportedError(f"an update of type {w.dtype}")
    code.use("int8_update")
    hint = identifier(call.operation)
    fields = {
        "learning_rate": number(rate), "factor": number(factor), "scaling": int(bool(scaling)),
    }  # fmt: skip
    settings = code.struct("memplan_sgd_int8", f"{hint}_sgd", fields)
    row = w.count // w.shape[0]
    rows = code.channels(f"{hint}_rows", _chosen(w, scales, call), first, count)
    place = w.pointer if first == "0" else f"{w.pointer} + {_product(first, row)}"
    return [
        f"{_KERNELS[w.dtype]}({settings}, {scales.pointer},",
        f"    {rows}, {row}, {place}, {gradient});",
    ]


def _chosen(w: View, scales: View, call: Call) -> tuple[int, ...] | None:
    """Return which of the scales the rows have; None: all."""
    if w.shape[0] == scales.count:
        return None
    if w.shape[0] != len(call.channels):
        raise UnsupportedError(f"{scales.count} scales for {w.shape[0]} rows")
    return call.channels


def _product(row: str, elements: int) -> str:
    return row if elements == 1 else f"{row} * {elements}"
