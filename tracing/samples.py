"""A user's samples, checked against the model or the graph that is to take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from memplan.ir.errors import DataError
from memplan.ir.graph import Operation, OpGraph, Tensor
from memplan.tracing.data_file import Header, name_samples, read_arrays
from memplan.tracing.loaded import LoadedModel

__all__ = [
    "IGNORED",
    "Samples",
    "check_indices",
    "fitting",
    "index_limit",
    "load_samples",
    "model_inputs",
]

#: Operations that index something with a tensor: which operand is the index, which operand and
#: dimension of it bound the index.
_INDEXING = {
    "aten.embedding.default": (1, 0, 0),
    "aten.nll_loss_forward.default": (1, 0, 1),
    "aten.nll_loss2d_forward.default": (1, 0, 1),
}
#: A label that cross entropy leaves out.
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs by name (``x`` for the only one), and targets if the loss needs them."""

    x: Mapping[str, torch.Tensor]
    y: torch.Tensor | None = None
    #: Where they come from, for messages.
    source: str = "data"

    @property
    def count(self) -> int:
        """Number of samples: the leading dimension of the targets, or of the first input."""
        first = self.y if self.y is not None else next(iter(self.x.values()))
        return int(first.shape[0])

    def input(self, name: str, wanted: Sequence[str]) -> tuple[str, torch.Tensor]:
        """Return the array for one of a model's inputs, with its name in the file.

        Args:
            name: of the input; a model's only input may also be called ``x``, or be the only
                array.
            wanted: names of all inputs.

        Raises:
            DataError: there is none.
        """
        names = [name]
        if len(wanted) == 1:
            names += ["x", *self.x] if len(self.x) == 1 else ["x"]
        found = next((known for known in names if known in self.x), None)
        if found is None:
            also = " or x" if len(wanted) == 1 and name != "x" else ""
            takes = "" if len(wanted) == 1 else f"; the model takes {', '.join(wanted)}"
            raise DataError(
                f"{self.source}: no array for input {name!r}{takes}; name it {name}{also} "
                f"(the file has {', '.join(sorted(self.x))[:200]})"
            )
        return found, self.x[found]

    def check_counts(self, counts: Mapping[str, int]) -> None:
        """Raise DataError unless all inputs, and the targets, are of equally many samples."""
        if self.y is not None:
            counts = {**counts, "y": len(self.y) if self.y.dim() else 0}
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{name} has {count} samples" for name, count in counts.items())
            raise DataError(f"{self.source}: {said}; one of each belongs to a sample")


def load_samples(path: str, check: Callable[[Samples], object] | None = None) -> Samples:
    """Read ``x`` (or one array per input, by its name) and ``y`` from an ``.npz`` file.

    Args:
        check: called with the samples on the meta device, without values, before anything is
            unpacked; raises DataError where their shapes are of no use.

    Raises:
        DataError: the file is missing, damaged or too large, holds pickled objects, or an array
            is not numeric, is empty, or has values that are not finite.
    """

    def check_headers(headers: Mapping[str, Header]) -> None:
        samples = _samples({name: _without_values(h) for name, h in headers.items()}, path)
        if check is not None:
            check(samples)

    arrays = read_arrays(path, check_headers)
    return _samples({name: _tensor(array) for name, array in arrays.items()}, path)


def _samples(arrays: dict[str, torch.Tensor], path: str) -> Samples:
    y = arrays.pop("y", None)
    if not arrays:
        raise DataError(f"{path}: no inputs; save arrays x and y with numpy.savez")
    return Samples(arrays, y, path)


def _without_values(header: Header) -> torch.Tensor:
    dtype = _tensor(np.empty(0, header.dtype)).dtype
    return torch.empty(header.shape, dtype=dtype, device="meta")


def model_inputs(samples: Samples, model: LoadedModel) -> tuple[torch.Tensor, ...]:
    """Return the samples as the model's inputs, in order, of its dtypes.

    Samples without values (on the meta device) are checked as far as they can be.

    Raises:
        DataError: an input is missing, or its shape, dtype or number of samples does not fit.
    """
    wanted = [spec.name for spec in model.inputs]
    inputs, counts = [], {}
    for spec in model.inputs:
        name, value = samples.input(spec.name, wanted)
        batched = model.batched(spec)
        shape = spec.shape[1:] if batched else spec.shape
        value = fitting(value, shape, spec.dtype, f"{samples.source}: {name}", batched=batched)
        if batched:
            counts[name] = len(value)
        inputs.append(value)
    samples.check_counts(counts)
    return tuple(inputs)


def fitting(
    value: torch.Tensor,
    shape: Sequence[int],
    dtype: torch.dtype,
    where: str,
    *,
    batched: bool = True,
) -> torch.Tensor:
    """Return an array in the type that a model takes.

    Args:
        shape: of one sample, or of the whole where the array is not ``batched``.

    Raises:
        DataError: its shape or kind of number is another, or its values are too large for the
            type.
    """
    found = list(value.shape[1:] if batched else value.shape)
    if found != list(shape) or (batched and value.dim() == 0):
        if batched and value.dim() == 0:
            raise DataError(
                f"{where} is one number; the first dimension counts samples of shape {list(shape)}"
            )
        what = "samples of shape" if batched else "the shape"
        takes = list(shape) or "one number"
        each = " each" if batched else ""
        raise DataError(f"{where} has {what} {found}, the model takes {takes}{each}; reshape them")
    if value.is_floating_point() != dtype.is_floating_point:
        raise DataError(
            f"{where} has dtype {_name(value.dtype)}, the model takes {_name(dtype)}; convert it "
            f"with astype({_name(dtype)!r})"
        )
    converted = value.to(dtype)
    if dtype.is_floating_point and batched and not value.is_meta:
        rows = (~converted.reshape(len(converted), -1).isfinite().all(dim=1)).nonzero().flatten()
        if len(rows):
            raise DataError(
                f"{where} has values too large for {_name(dtype)} in "
                f"{name_samples(rows.tolist())}; scale the samples as the model expects them"
            )
    return converted


def index_limit(graph: OpGraph, tensor: Tensor) -> int | None:
    """Return below what the values of an integer tensor must be; None where nothing limits them.

    A label is limited by the number of classes, a token by the rows of the table.
    """
    limits = [
        limit
        for operation in graph.operations
        if (limit := _limit_by(graph, operation, tensor)) is not None
    ]
    return min(limits, default=None)


def check_indices(values: torch.Tensor, tensor: Tensor, graph: OpGraph, where: str) -> None:
    """Raise DataError where a label or a token is out of the range that the graph has for it.

    A label of ``IGNORED`` is none, and passes.
    """
    checkable = not (values.is_floating_point() or values.is_meta)
    limit = index_limit(graph, tensor) if checkable else None
    if limit is None:
        return
    wrong = (values < 0) | (values >= limit)
    if tensor.role == "label":
        wrong &= values != IGNORED
    first = next(iter(wrong.nonzero().tolist()), None)
    if first is None:
        return
    place = f"{where}[{', '.join(str(index) for index in first)}]"
    has = f"the model has {limit} classes" if tensor.role == "label" else f"{limit} are known"
    raise DataError(
        f"{place} is {int(values[tuple(first)])}, but {has}; use values from 0 to {limit - 1}"
    )


def _limit_by(graph: OpGraph, operation: Operation, tensor: Tensor) -> int | None:
    plain = operation.alternatives[0]
    if plain.target not in _INDEXING:
        return None
    index, limiting, dim = _INDEXING[plain.target]
    if len(plain.reads) <= index or plain.reads[index].tensor != tensor.id:
        return None
    operand = plain.reads[limiting]
    shape = graph.tensor[operand.tensor].shape if operand.shape is None else operand.shape
    return shape[dim].at(1)


def _tensor(array: np.ndarray) -> torch.Tensor:
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        native = native.astype(np.int64)
    # Arrays read from a file belong to nobody else.
    return torch.from_numpy(np.require(native, requirements=["C", "W"]))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
