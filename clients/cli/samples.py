"""The batch that ``plan run`` runs on: from an npz file, or random and seeded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from memplan.ir.errors import DataError
from memplan.ir.graph import OpGraph, Tensor

if TYPE_CHECKING:
    import torch

    from memplan.tracing.samples import Samples

__all__ = ["explain_loss", "inputs_of_file", "random_inputs"]


def random_inputs(graph: OpGraph, batch: int, seed: int) -> dict[str, torch.Tensor]:
    """Return normal samples, and indices and labels that are in range, for a whole batch."""
    import torch

    from memplan.tracing.samples import index_limit

    generator = torch.Generator().manual_seed(seed)
    inputs = {}
    for tensor in _from_outside(graph):
        shape = [size.at(batch) for size in tensor.shape]
        dtype = _sample_type(tensor)
        if dtype.is_floating_point:
            inputs[tensor.id] = torch.randn(shape, generator=generator).to(dtype)
        else:
            below = index_limit(graph, tensor) or 2
            inputs[tensor.id] = torch.randint(0, below, shape, generator=generator).to(dtype)
    return inputs


def inputs_of_file(
    graph: OpGraph, batch: int, path: Path, *, micro_batch: int | None = None
) -> dict[str, torch.Tensor]:
    """Return the first ``batch`` samples of an npz file.

    Array ``x`` goes to the only input and ``y`` to the label; inputs may be named by their ids.

    Args:
        micro_batch: of the plan; None: the whole batch.

    Raises:
        DataError: the file cannot be read, lacks an array, or has too few or other samples.
    """
    from memplan.tracing.samples import load_samples

    def inputs_of(samples: Samples) -> dict[str, torch.Tensor]:
        return _inputs(graph, batch, samples, micro_batch)

    return inputs_of(load_samples(str(path), inputs_of))


def _inputs(
    graph: OpGraph, batch: int, samples: Samples, micro_batch: int | None
) -> dict[str, torch.Tensor]:
    """Return what the graph takes of samples; those without values are checked by their shapes."""
    path = samples.source
    wanted = [tensor.id for tensor in graph.tensors if tensor.role == "input"]
    inputs, counts = {}, {}
    for tensor in _from_outside(graph):
        if tensor.role == "input":
            name, values = samples.input(tensor.id, wanted)
        elif (labels := _labels(samples, tensor.id)) is not None:
            name, values = "y", labels
        else:
            raise DataError(
                f"{path}: no array y, which the loss compares with; add one target per sample"
            )
        chosen = _first_samples(graph, tensor, values, batch, f"{path}: {name}")
        if tensor.role == "label" and micro_batch not in (None, batch):
            _refuse_ignored(chosen, f"{path}: {name}")
        inputs[tensor.id] = chosen
        if _is_batched(graph, tensor):
            counts[name] = len(values)
    samples.check_counts(counts)
    return inputs


def _labels(samples: Samples, name: str) -> torch.Tensor | None:
    return samples.x.get(name) if samples.y is None else samples.y


def explain_loss(loss: float, steps: int, inputs: Mapping[str, torch.Tensor], source: str) -> str:
    """Return what may be wrong where the loss on a user's samples is not finite."""
    sizes = [
        (float(values[position].abs().max()), position)
        for values in inputs.values()
        if values.is_floating_point() and values.dim()
        for position in range(len(values))
    ]
    text = f"{source}: the loss is {loss}"
    if steps > 1:
        return f"{text} after {steps} steps; try a smaller --lr, and --steps 1 on the same samples"
    if not sizes:
        return f"{text}; check the weights"
    largest, position = max(sizes)
    return (
        f"{text}; the largest input is {largest:.1e}, in sample {position}: scale the samples as "
        "the model expects them, and check its weights"
    )


def _first_samples(
    graph: OpGraph, tensor: Tensor, values: torch.Tensor, batch: int, where: str
) -> torch.Tensor:

    from memplan.tracing.samples import check_indices, fitting

    shape = [size.at(batch) for size in tensor.shape]
    dtype = _sample_type(tensor)
    batched = _is_batched(graph, tensor)
    chosen = fitting(values, shape[1:] if batched else shape, dtype, where, batched=batched)
    if batched and len(chosen) < batch:
        raise DataError(
            f"{where} has {len(chosen)} samples, the plan's batch is {batch}; add more, or plan a "
            "smaller --batch"
        )
    check_indices(chosen, tensor, graph, where)
    return chosen[:batch] if batched else chosen


def _sample_type(tensor: Tensor) -> torch.dtype:
    """Return the type of samples: floats where the executor makes integers of them."""
    import torch

    found: torch.dtype = getattr(torch, tensor.dtype)
    return torch.float32 if tensor.quantization is not None else found


def _is_batched(graph: OpGraph, tensor: Tensor) -> bool:
    if not tensor.shape:
        return False
    leading = tensor.shape[0]
    if graph.batch_symbolic:
        return leading.at(1) != leading.at(2)
    return leading.at(1) == graph.traced_batch


def _refuse_ignored(labels: torch.Tensor, where: str) -> None:
    from memplan.tracing.data_file import name_samples
    from memplan.tracing.samples import IGNORED

    if labels.is_floating_point() or labels.is_meta:
        return
    ignored = (labels == IGNORED).reshape(len(labels), -1).any(dim=1).nonzero().flatten()
    if len(ignored):
        raise DataError(
            f"{where} is {IGNORED}, which means to be ignored, in {name_samples(ignored.tolist())};"
            " micro-batches weigh all targets alike: plan with --micro-batch equal to --batch"
        )


def _from_outside(graph: OpGraph) -> Iterator[Tensor]:
    return (tensor for tensor in graph.tensors if tensor.role in ("input", "label"))
