"""A user's samples: arrays in an ``.npz`` file, checked against the model."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from memplan.ir.errors import DataError
from memplan.tracing.loaded import InputSpec, LoadedModel
from memplan.tracing.loaders.failures import one_line

__all__ = ["Samples", "load_samples", "model_inputs"]

#: All arrays of a file together, unpacked.
MAX_DATA_BYTES = 16 * 2**30


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs by name (``x`` for the only one), and targets if the loss needs them."""

    x: Mapping[str, torch.Tensor]
    y: torch.Tensor | None = None

    @property
    def count(self) -> int:
        """Number of samples: the leading dimension of the targets, or of the first input."""
        first = self.y if self.y is not None else next(iter(self.x.values()))
        return int(first.shape[0])


def load_samples(path: str) -> Samples:
    """Read ``x`` (or one array per input, by its name) and ``y`` from an ``.npz`` file.

    Raises:
        DataError: the file is damaged, holds pickled objects, is too large, or an array is not
            numeric, is empty, or has values that are not finite.
    """
    arrays: dict[str, torch.Tensor] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            size_bytes = sum(entry.file_size for entry in archive.infolist())
        if size_bytes > MAX_DATA_BYTES:
            raise DataError(
                f"{path}: {size_bytes} bytes of data, at most {MAX_DATA_BYTES} are read"
            )
        with np.load(path, allow_pickle=False) as stored:
            for name in stored.files:
                arrays[name] = _tensor(stored[name], f"{path}: array {name[:60]!r}")
    except DataError:
        raise
    except (OSError, ValueError, EOFError, MemoryError, KeyError, SyntaxError) as error:
        raise DataError(_unreadable(path, error)) from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise DataError(_unreadable(path, error)) from None
    y = arrays.pop("y", None)
    if not arrays:
        raise DataError(f"{path}: no inputs; save arrays x and y with numpy.savez")
    return Samples(arrays, y)


def model_inputs(samples: Samples, model: LoadedModel) -> tuple[torch.Tensor, ...]:
    """Return the samples as the model's inputs, in order, of its dtypes.

    Raises:
        DataError: an input is missing, or its shape, dtype or number of samples does not fit.
    """
    if len(model.inputs) == 1 and len(samples.x) == 1:
        given = dict(zip((model.inputs[0].name,), samples.x.values(), strict=True))
    else:
        given = dict(samples.x)
    inputs = []
    count: int | None = None
    for spec in model.inputs:
        if spec.name not in given:
            wanted = ", ".join(known.name for known in model.inputs)
            raise DataError(f"data: no array for input {spec.name!r}; the model takes {wanted}")
        value = given[spec.name]
        fixed = spec.shape[1:] if model.batched(spec) else spec.shape
        found = tuple(value.shape[1:] if model.batched(spec) else value.shape)
        if found != fixed or (model.batched(spec) and value.dim() == 0):
            raise DataError(
                f"data: {spec.name!r} has samples of shape {list(found)}, the model takes "
                f"{list(fixed)}"
            )
        if model.batched(spec):
            count = value.shape[0] if count is None else count
            if value.shape[0] != count:
                raise DataError(
                    f"data: {spec.name!r} has {value.shape[0]} samples, other inputs {count}"
                )
        inputs.append(_as_dtype(value, spec))
    if samples.y is not None and samples.y.shape[:1] != (count,):
        raise DataError(f"data: y has shape {list(samples.y.shape)}, x has {count} samples")
    return tuple(inputs)


def _as_dtype(value: torch.Tensor, spec: InputSpec) -> torch.Tensor:
    if value.is_floating_point() != spec.dtype.is_floating_point:
        raise DataError(
            f"data: {spec.name!r} has dtype {_name(value.dtype)}, the model takes "
            f"{_name(spec.dtype)}"
        )
    return value.to(spec.dtype)


def _tensor(array: np.ndarray, where: str) -> torch.Tensor:
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise DataError(f"{where} has dtype {array.dtype}; numbers are needed")
    if array.size == 0:
        raise DataError(f"{where} is empty")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{where} holds values that are not finite (NaN or infinity)")
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        native = native.astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(native).copy())


def _unreadable(path: str, error: BaseException) -> str:
    return (
        f"{path}: cannot be read as .npz ({one_line(error, 120)}); save arrays x and y with "
        "numpy.savez"
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
