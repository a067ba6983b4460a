"""Tables of rows: embedding and the gradient of its table."""

from __future__ import annotations

from memplan.clients.export.c.call import Call, UnsupportedError, dense, floats
from memplan.clients.export.c.code import Code
from memplan.clients.export.c.names import identifier
from memplan.clients.export.c.views import View

__all__ = ["embedding", "embedding_dense_backward", "embedding_weight_gradient_rows"]


def embedding(call: Call, code: Code) -> list[str]:
    """``aten.embedding(weight, indices, ...)``: the flags matter to the gradient only."""
    weight, indices = call.arguments[:2]
    (out,) = call.writes
    floats(weight, out)
    dense(weight, indices, out)
    if indices.dtype != "int64":
        raise UnsupportedError(f"indices of type {indices.dtype}")
    code.use("embedding")
    return [
        f"memplan_embedding({code.weight(weight, call.operation)},",
        f"    {indices.pointer}, {indices.count}, {weight.shape[0]}, {weight.shape[1]}, "
        f"{out.pointer});",
    ]


def embedding_weight_gradient_rows(
    call: Call, code: Code, out: str, first: str, count: str
) -> list[str]:
    """``memplan.embedding_weight_gradient(gy, indices, num_weights, padding_idx)``: rows of it."""
    gy, indices, _, padding = call.arguments
    floats(gy)
    dense(indices)
    if indices.dtype != "int64":
        raise UnsupportedError(f"indices of type {indices.dtype}")
    if call.axis == "input":
        raise UnsupportedError("input channels of a table")
    code.use("embedding")
    width = gy.shape[-1]
    chosen = call.channels if call.axis == "output" and width != len(call.channels) else None
    columns = len(call.channels) if call.axis == "output" else width
    hint = identifier(call.operation)
    picked = code.channels(hint, chosen, "0", str(columns))
    geometry = code.struct(
        "memplan_table_gradient",
        f"{hint}_geometry",
        {"count": indices.count, **_rows(gy), "padding": padding},
    )
    return [
        f"memplan_embedding_gradient({geometry}, {gy.pointer}, {indices.pointer},",
        f"    {picked}, {first}, {count}, {out});",
    ]


def _rows(gy: View) -> dict[str, int]:
    """Return how the rows of a gradient follow each other: in blocks of equal distance."""
    joined: list[tuple[int, int]] = []
    for size, stride in zip(gy.shape[:-1], gy.strides[:-1], strict=True):
        if size == 1:
            continue
        if joined and joined[-1][1] == stride * size:
            joined[-1] = (joined[-1][0] * size, stride)
        else:
            joined.append((size, stride))
    if len(joined) > 2 or (gy.strides[-1] != 1 and gy.shape[-1] != 1):
        raise UnsupportedError(f"a gradient of shape {gy.shape} with strides {gy.strides}")
    (_, block_stride), (block, row_stride) = [(1, 0), (1, 0), *joined][-2:]
    return {"block": block, "block_stride": block_stride, "row_stride": row_stride}


def embedding_dense_backward(call: Call, code: Code) -> list[str]:
    """``aten.embedding_dense_backward(gy, indices, num_weights, padding_idx, by_frequency)``."""
    *arguments, by_frequency = call.arguments
    if by_frequency:
        raise UnsupportedError("gradients scaled by frequency")
    (out,) = call.writes
    plain = Call(
        call.operation, call.target, tuple(arguments), {}, call.writes,
        micro_batch=call.micro_batch, trips=call.trips,
    )  # fmt: skip
    return embedding_weight_gradient_rows(plain, code, out.pointer, "0", str(arguments[2]))
