"""Dropout whose mask does not depend on order, micro-batch or recomputation."""

from __future__ import annotations

import math

from memplan.clients.export.c.call import Call, dense, floats
from memplan.clients.export.c.code import Code, number
from memplan.clients.export.c.names import identifier

__all__ = ["dropout"]

_LOW = 0xFFFF_FFFF


def dropout(call: Call, code: Code) -> list[str]:
    """``memplan.dropout(x, probability, salt)`` and, on gradients, ``memplan.dropout_backward``."""
    x, probability, salt = call.arguments
    (out,) = call.writes
    floats(x, out)
    dense(x, out)
    (shape,) = call.write_shapes
    batch_dim = next((d for d, size in enumerate(shape) if size.per_sample), None)
    rows = 1 if batch_dim is None else math.prod(out.shape[:batch_dim])
    length = out.count // max(rows, 1)
    code.use("dropout")
    fields = {
        "rows": rows,
        "length": length,
        "batch_stride": f"{length * call.trips}u",
        "threshold": f"{round(probability * 2**32)}u",
        "scale": number(0.0 if probability >= 1 else 1.0 / (1.0 - probability)),
        "salt": f"{(salt ^ (salt >> 32)) & _LOW}u",
    }
    geometry = code.struct("memplan_dropout", f"{identifier(call.operation)}_geometry", fields)
    return [f"memplan_dropout({geometry}, memplan_seed, memplan_trip, {x.pointer}, {out.pointer});"]
