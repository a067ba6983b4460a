"""The batch that ``plan run`` runs on: from an npz file, or random and seeded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from memplan.ir.errors import DataError
from memplan.ir.graph import Operation, OpGraph, Tensor

if TYPE_CHECKING:
    import torch

__all__ = ["inputs_of_file", "random_inputs"]

#: Operations that index something with a tensor: which operand is the index, which operand and
#: dimension of it bound the index.
_INDEXING = {
    "aten.embedding.default": (1, 0, 0),
    "aten.nll_loss_forward.default": (1, 0, 1),
    "aten.nll_loss2d_forward.default": (1, 0, 1),
}


def random_inputs(graph: OpGraph, batch: int, seed: int) -> dict[str, torch.Tensor]:
    """Return normal samples, and indices and labels that are in range, for a whole batch."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    inputs = {}
    for tensor in _from_outside(graph):
        shape = [size.at(batch) for size in tensor.shape]
        dtype: torch.dtype = getattr(torch, tensor.dtype)
        if dtype.is_floating_point:
            inputs[tensor.id] = torch.randn(shape, generator=generator).to(dtype)
        else:
            below = _choices(graph, tensor)
            inputs[tensor.id] = torch.randint(0, below, shape, generator=generator).to(dtype)
    return inputs


def inputs_of_file(graph: OpGraph, batch: int, path: Path) -> dict[str, torch.Tensor]:
    """Return the first ``batch`` samples of an npz file.

    Array ``x`` goes to the first input and ``y`` to the label; inputs may be named by their ids.

    Raises:
        DataError: the file cannot be read, lacks an array, or has too few or other samples.
    """
    from memplan.tracing.samples import load_samples

    samples = load_samples(str(path))
    arrays = dict(samples.x) if samples.y is None else {**samples.x, "y": samples.y}
    nicknames = {"input": "x", "label": "y"}
    inputs = {}
    for tensor in _from_outside(graph):
        names = [tensor.id, nicknames.pop(tensor.role, "")]
        name = next((name for name in names if name in arrays), None)
        if name is None:
            raise DataError(
                f"{path}: no array for {tensor.role} {tensor.id}; name it "
                f"{' or '.join(filter(None, names))} (the file has {', '.join(arrays)})"
            )
        inputs[tensor.id] = _first_samples(tensor, arrays[name], batch, f"{path}: {name}")
    return inputs


def _first_samples(tensor: Tensor, values: torch.Tensor, batch: int, where: str) -> torch.Tensor:
    import torch

    count = len(values) if values.dim() else 0
    if count < batch:
        raise DataError(f"{where} has {count} samples, the plan's batch is {batch}")
    shape = [size.at(batch) for size in tensor.shape]
    chosen = values[:batch]
    if chosen.numel() != torch.Size(shape).numel():
        raise DataError(
            f"{where} has samples of shape {list(chosen.shape[1:])}, {tensor.role} {tensor.id} "
            f"takes {shape[1:]}"
        )
    dtype: torch.dtype = getattr(torch, tensor.dtype)
    return chosen.to(dtype).reshape(shape)


def _from_outside(graph: OpGraph) -> Iterator[Tensor]:
    return (tensor for tensor in graph.tensors if tensor.role in ("input", "label"))


def _choices(graph: OpGraph, tensor: Tensor) -> int:
    """Return below what every value of an integer tensor must be; 2 where nothing bounds it."""
    bounds = [
        bound
        for operation in graph.operations
        if (bound := _bound_by(graph, operation, tensor)) is not None
    ]
    return min(bounds, default=2)


def _bound_by(graph: OpGraph, operation: Operation, tensor: Tensor) -> int | None:
    plain = operation.alternatives[0]
    if plain.target not in _INDEXING:
        return None
    index, bounding, dim = _INDEXING[plain.target]
    if len(plain.reads) <= index or plain.reads[index].tensor != tensor.id:
        return None
    operand = plain.reads[bounding]
    shape = graph.tensor[operand.tensor].shape if operand.shape is None else operand.shape
    return shape[dim].at(1)
