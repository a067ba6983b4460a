"""Which tensors of a model keep their values while it is traced."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import fx

__all__ = ["MAX_VALUE_BYTES", "on_meta", "statistics_only"]

#: Buffers and constants above this size are traced without values.
MAX_VALUE_BYTES = 16 * 2**20

#: Norms, as exported and after ``run_decompositions()``, and what counts their batches.
_NORMS = {
    "batch_norm", "instance_norm", "native_batch_norm", "_native_batch_norm_legit",
    "_native_batch_norm_legit_functional", "_native_batch_norm_legit_no_training", "add_",
}  # fmt: skip


def on_meta(tensor: torch.Tensor, *, parameter: bool) -> torch.Tensor:
    """Return a tensor of the same shape, strides, dtype and gradient flag without bytes."""
    empty = torch.empty_strided(
        tuple(tensor.shape), tuple(tensor.stride()), dtype=tensor.dtype, device="meta"
    )
    return torch.nn.Parameter(empty, requires_grad=tensor.requires_grad) if parameter else empty


def statistics_only(users: Iterable[fx.Node]) -> bool:
    """Tell whether all that reads a buffer is batch norm and its counter, not the computation."""
    names = {getattr(node.target, "_opname", "") for node in users}
    return bool(names) and names <= _NORMS
