"""Element types and their sizes in bits."""

from typing import Literal

__all__ = ["BITS", "Dtype", "storage_bytes"]

Dtype = Literal[
    "float32", "float64", "float16", "bfloat16",
    "int64", "int32", "int16", "int8", "uint8", "bool", "bit",
]  # fmt: skip

#: Bits of one element.  ``bit`` is a mask with eight elements to the byte.
BITS: dict[str, int] = {
    "float64": 64, "int64": 64,
    "float32": 32, "int32": 32,
    "float16": 16, "bfloat16": 16, "int16": 16,
    "int8": 8, "uint8": 8, "bool": 8,
    "bit": 1,
}  # fmt: skip


def storage_bytes(elements: int, dtype: str) -> int:
    """Return the bytes that ``elements`` elements of ``dtype`` take, rounded up to whole bytes."""
    return -(-elements * BITS[dtype] // 8)
