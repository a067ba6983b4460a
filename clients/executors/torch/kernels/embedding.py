"""Tables of rows: embedding and the gradient of its table."""

from __future__ import annotations

from functools import partial

import torch

from memplan.clients.executors.torch.kernels.aten import generic
from memplan.clients.executors.torch.kernels.call import Call, Run
from memplan.clients.executors.torch.kernels.selection import with_channels

__all__ = [
    "bind_table_gradient",
    "embedding",
    "embedding_dense_backward",
    "embedding_weight_gradient",
]


def embedding(call: Call) -> Run:
    """``aten.embedding(weight, indices, ...)``: the flags matter to the gradient only."""
    weight, indices = call.arguments[:2]
    (out,) = call.writes
    if not (out.is_contiguous() and indices.is_contiguous()):
        return generic(call)
    rows = out.view(-1, weight.shape[1])
    return partial(torch.index_select, weight, 0, indices.view(-1), out=rows)


def embedding_dense_backward(call: Call) -> Run:
    """``aten.embedding_dense_backward(gy, indices, num_weights, padding_idx, by_frequency)``."""
    gy, indices, num_weights, padding, by_frequency = call.arguments
    if by_frequency:
        return generic(call)
    return bind_table_gradient(gy, indices, padding, range(num_weights), True, call.writes[0])


def embedding_weight_gradient(call: Call) -> Run:
    """``memplan.embedding_weight_gradient(gy, indices, num_weights, padding_idx)``."""
    gy, indices, num_weights, padding = call.arguments
    (out,) = call.writes
    if call.axis == "input":
        raise call.fail("an embedding has no input channels")

    def bind(gy: torch.Tensor) -> Run:
        return bind_table_gradient(gy, indices, padding, range(num_weights), True, out)

    if call.axis == "output" and gy.shape[-1] != out.shape[1]:
        return with_channels(gy, gy.dim() - 1, call.channels, bind)
    return bind(gy)


def bind_table_gradient(
    gy: torch.Tensor,
    indices: torch.Tensor,
    padding: int,
    rows: range,
    whole: bool,
    out: torch.Tensor,
) -> Run:
    """Return the run that sums ``gy`` into ``out``, these rows of the table.

    ``whole``: they are all of the table's rows.
    """

    def run() -> None:
        gradients = gy.reshape(-1, gy.shape[-1])
        places = indices.reshape(-1)
        out.zero_()
        if whole:
            out.index_add_(0, places, gradients)
        else:
            inside = ((places >= rows.start) & (places < rows.stop)).nonzero().view(-1)
            out.index_add_(0, places[inside] - rows.start, gradients.index_select(0, inside))
        if padding in rows:
            out[padding - rows.start].zero_()

    return run
