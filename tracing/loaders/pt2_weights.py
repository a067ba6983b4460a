"""Weights of a ``.pt2``: raw little-endian bytes, one archive entry per storage."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from memplan.ir.errors import ModelError
from memplan.ir.limits import MAX_BYTES
from memplan.tracing.loaders.archive import Archive
from memplan.tracing.loaders.pt2_schema import Payload, TensorMeta
from memplan.tracing.loaders.values import MAX_VALUE_BYTES

__all__ = ["TORCH_DTYPES", "Geometry", "StoredTensor", "first_names", "geometry", "read_tensors"]

#: torch's serialized numbers of the dtypes that memplan knows.
TORCH_DTYPES: dict[int, torch.dtype] = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64,
    6: torch.float16, 7: torch.float32, 8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip

_STRIDED = 7
_ENTRY = re.compile(r"(?:weight|tensor)_\d{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Geometry:
    """Shape, strides and offset in elements, all fixed."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    @property
    def storage_bytes(self) -> int:
        """Bytes from the storage's start to the last element."""
        if 0 in self.shape:
            return 0
        pairs = zip(self.shape, self.strides, strict=True)
        last = self.offset + sum((size - 1) * stride for size, stride in pairs)
        return (last + 1) * self.dtype.itemsize


def geometry(meta: TensorMeta, where: str) -> Geometry:
    """Check a tensor's declared geometry.

    Raises:
        ModelError: unknown dtype or layout, a symbolic or absurd size.
    """
    dtype = TORCH_DTYPES.get(meta.dtype)
    if dtype is None or meta.layout != _STRIDED:
        raise ModelError(f"{where}: dtype {meta.dtype} or layout {meta.layout} is not supported")
    if any(size.is_free for size in (*meta.sizes, *meta.strides, meta.storage_offset)):
        raise ModelError(f"{where}: a stored tensor has a symbolic size")
    shape = tuple(size.as_int or 0 for size in meta.sizes)
    strides = tuple(size.as_int or 0 for size in meta.strides)
    if len(shape) != len(strides):
        raise ModelError(f"{where}: {len(shape)} sizes but {len(strides)} strides")
    logical = dtype.itemsize
    for size in shape:
        logical *= size
    found = Geometry(dtype, shape, strides, meta.storage_offset.as_int or 0)
    if max(logical, found.storage_bytes) > MAX_BYTES:
        raise ModelError(f"{where}: {logical} bytes, more than any model has ({MAX_BYTES})")
    if logical > max(found.storage_bytes, MAX_VALUE_BYTES):
        raise ModelError(f"{where}: {logical} bytes that share {found.storage_bytes} stored ones")
    return found


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of the archive, checked but not read."""

    name: str
    entry: str
    geometry: Geometry

    @classmethod
    def check(cls, archive: Archive, folder: str, name: str, payload: Payload) -> StoredTensor:
        """Check one row of a payload configuration against the archive.

        Raises:
            ModelError: it needs pickle, its entry is missing or shorter than its sizes say.
        """
        where = f"{archive.path}: {name[:80]!r}"
        if payload.use_pickle or payload.tensor_meta is None:
            raise ModelError(f"{where} is stored as a pickle, which may run code; it is not read")
        if _ENTRY.fullmatch(payload.path_name) is None:
            raise ModelError(f"{where}: {payload.path_name[:60]!r} is no place of a tensor")
        checked = geometry(payload.tensor_meta, where)
        entry = folder + payload.path_name
        needed, present = checked.storage_bytes, archive.size(entry)
        if present < needed:
            raise ModelError(f"{where} needs {needed} bytes, {entry} has {present}")
        return cls(name, entry, checked)

    def view(self, raw: bytearray) -> torch.Tensor:
        """Return the tensor over the bytes of its entry."""
        form = self.geometry
        if form.storage_bytes == 0:
            return torch.empty(form.shape, dtype=form.dtype)
        usable = len(raw) - len(raw) % form.dtype.itemsize
        bytes_ = torch.frombuffer(raw, dtype=torch.uint8, count=usable)
        # Any byte but 0 and 1 in a bool is undefined behaviour further on.
        flat = bytes_ != 0 if form.dtype is torch.bool else bytes_.view(form.dtype)
        return flat.as_strided(form.shape, form.strides, form.offset)


def read_tensors(
    archive: Archive, tensors: Iterable[StoredTensor], limit_bytes: int
) -> dict[str, torch.Tensor]:
    """Read tensors by name; those that share an entry share its bytes.

    Raises:
        ModelError: an entry is compressed or damaged, or all together exceed the limit.
    """
    raw: dict[str, bytearray] = {}
    read: dict[str, torch.Tensor] = {}
    left = limit_bytes
    for tensor in tensors:
        if tensor.entry not in raw:
            raw[tensor.entry] = bytearray(archive.read(tensor.entry, left, stored_only=True))
            left -= len(raw[tensor.entry])
        read[tensor.name] = tensor.view(raw[tensor.entry])
    return read


def first_names(stored: Mapping[str, StoredTensor]) -> dict[str, str]:
    """Return second name -> first name of tensors that share one entry and geometry."""
    firsts: dict[tuple[str, Geometry], str] = {}
    tied = {}
    for name, tensor in stored.items():
        first = firsts.setdefault((tensor.entry, tensor.geometry), name)
        if first != name:
            tied[name] = first
    return tied
