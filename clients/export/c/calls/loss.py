"""Softmax, cross entropy, squared error and their gradients."""

from __future__ import annotations

import math

from memplan.clients.export.c.call import Call, UnsupportedError, dense, floats
from memplan.clients.export.c.code import Code, number
from memplan.clients.export.c.loops import element_loop
from memplan.clients.export.c.names import identifier
from memplan.clients.export.c.views import View

__all__ = [
    "log_softmax",
    "log_softmax_backward",
    "mse_loss",
    "mse_loss_backward",
    "nll_loss",
    "nll_loss_backward",
    "softmax",
    "softmax_backward",
]

#: ATen's numbers of the ways to reduce a loss.
_MEAN, _SUM = 1, 2


def softmax(call: Call, code: Code) -> list[str]:
    """``aten._softmax(x, dim, half_to_float)``."""
    return _softmax(call, code, "memplan_softmax")


def log_softmax(call: Call, code: Code) -> list[str]:
    """``aten._log_softmax(x, dim, half_to_float)``."""
    return _softmax(call, code, "memplan_log_softmax")


def softmax_backward(call: Call, code: Code) -> list[str]:
    """``aten._softmax_backward_data(gy, y, dim, dtype)``."""
    return _softmax_gradient(call, code, "memplan_softmax_gradient")


def log_softmax_backward(call: Call, code: Code) -> list[str]:
    """``aten._log_softmax_backward_data(gy, y, dim, dtype)``."""
    return _softmax_gradient(call, code, "memplan_log_softmax_gradient")


def nll_loss(call: Call, code: Code) -> list[str]:
    """``aten.nll_loss_forward(log_p, labels, weight, reduction, ignore_index)``, 2d too."""
    log_p, labels, weight, reduction, ignored = call.arguments
    loss, count = call.writes
    floats(log_p, loss, count)
    dense(log_p, labels)
    geometry = _cross_entropy(call, code, log_p.shape, labels, weight, reduction, ignored)
    return [
        f"memplan_cross_entropy({geometry}, {log_p.pointer}, {labels.pointer}, "
        f"{loss.pointer}, {count.pointer});"
    ]


def nll_loss_backward(call: Call, code: Code) -> list[str]:
    """``aten.nll_loss_backward(gy, log_p, labels, weight, reduction, ignore_index, count)``."""
    gy, _, labels, weight, reduction, ignored, count = call.arguments
    (out,) = call.writes
    floats(gy, count, out)
    dense(labels, out)
    geometry = _cross_entropy(call, code, out.shape, labels, weight, reduction, ignored)
    return [
        f"memplan_cross_entropy_gradient({geometry}, {gy.pointer}, {labels.pointer}, "
        f"{count.pointer}, {out.pointer});"
    ]


def mse_loss(call: Call, code: Code) -> list[str]:
    """``aten.mse_loss(x, y, reduction)``."""
    x, y = call.arguments[:2]
    reduction = call.argument(2, _MEAN)
    (out,) = call.writes
    floats(x, y, out)
    dense(x, y)
    if x.shape != y.shape or reduction not in (_MEAN, _SUM):
        raise UnsupportedError(f"shapes {x.shape} and {y.shape}, reduction {reduction}")
    code.use("loss")
    divisor = number(x.count if reduction == _MEAN else 1)
    return [
        f"memplan_squared_error({x.pointer}, {y.pointer}, {x.count}, {divisor}, {out.pointer});"
    ]


def mse_loss_backward(call: Call, code: Code) -> list[str]:
    """``aten.mse_loss_backward(gy, x, y, reduction)``."""
    gy, x, y, reduction = call.arguments
    (out,) = call.writes
    floats(gy, x, y, out)
    if reduction not in (_MEAN, _SUM):
        raise UnsupportedError(f"reduction {reduction}")
    slope = number(2.0 / x.count if reduction == _MEAN else 2.0)

    def body(elements: list[str]) -> tuple[list[str], str]:
        g, a, b = elements
        return [], f"{slope} * ({a} - {b}) * {g}"

    return element_loop(out, [gy, x, y], body)


def _softmax(call: Call, code: Code, function: str) -> list[str]:
    x, dim = call.arguments[:2]
    (out,) = call.writes
    floats(x, out)
    dense(x, out)
    geometry = _rows(call, code, x, dim)
    return [f"{function}({geometry}, {x.pointer}, {out.pointer});"]


def _softmax_gradient(call: Call, code: Code, function: str) -> list[str]:
    gy, y, dim = call.arguments[:3]
    (out,) = call.writes
    floats(gy, y, out)
    dense(gy, y, out)
    geometry = _rows(call, code, y, dim)
    return [f"{function}({geometry}, {gy.pointer}, {y.pointer}, {out.pointer});"]


def _rows(call: Call, code: Code, x: View, dim: int) -> str:
    code.use("loss")
    dim %= len(x.shape)
    fields = {
        "outer": math.prod(x.shape[:dim]),
        "length": x.shape[dim],
        "inner": math.prod(x.shape[dim + 1 :]),
    }
    return code.struct("memplan_softmax", f"{identifier(call.operation)}_geometry", fields)


def _cross_entropy(
    call: Call,
    code: Code,
    shape: tuple[int, ...],
    labels: View,
    weight: View | None,
    reduction: int,
    ignored: int,
) -> str:
    if weight is not None:
        raise UnsupportedError("weights per class")
    if reduction not in (_MEAN, _SUM):
        raise UnsupportedError("a loss per sample")
    if labels.dtype != "int64":
        raise UnsupportedError(f"labels of type {labels.dtype}")
    code.use("loss")
    samples = 1 if len(shape) == 1 else shape[0]
    classes = shape[0] if len(shape) == 1 else shape[1]
    fields = {
        "samples": samples,
        "classes": classes,
        "inner": math.prod(shape[2:]),
        "ignored": ignored,
        "takes_mean": int(reduction == _MEAN),
    }
    return code.struct("memplan_cross_entropy", f"{identifier(call.operation)}_geometry", fields)
