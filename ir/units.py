"""Byte units and sizes that grow with the number of samples.

``KB`` and ``KiB`` both mean 1024 bytes, ``MB`` and ``MiB`` 1024², as in the
microcontroller papers and datasheets.  Every output echoes the exact byte count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from memplan.ir.errors import RequestError
from memplan.ir.limits import MAX_BYTES, MAX_FRONTIER

__all__ = ["Affine", "align_up", "format_bytes", "parse_budgets", "parse_bytes"]

_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_MAX_LENGTH = 40
_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmg]?)(i?b)?\s*", re.IGNORECASE)


def parse_bytes(text: str | int) -> int:
    """Return the number of bytes that ``text`` (``"256KB"``, ``"1.5 MiB"``, ``262144``) means.

    Raises:
        RequestError: not a positive size, or larger than any memory.
    """
    # Longer numbers are larger than any memory, and int() refuses to read them.
    match = _PATTERN.fullmatch(str(text)) if len(str(text)) <= _MAX_LENGTH else None
    if match is None:
        raise RequestError(
            f"not a size in bytes: {str(text)[:40]!r}; write a number with B, KB, MB or GB, "
            "for example 256KB (KB means 1024 bytes)"
        )
    number, unit = match.group(1), match.group(2).lower()
    size_bytes = (
        int(number) * _UNITS[unit] if number.isdigit() else int(float(number) * _UNITS[unit])
    )
    if not 0 < size_bytes <= MAX_BYTES:
        raise RequestError(f"size out of range: {str(text)[:40]!r}; use 1 B to {MAX_BYTES} B")
    return size_bytes


def parse_budgets(text: str) -> int | list[int]:
    """Return how many budgets ``text`` asks for (``"20"``), or those it lists (``"128KB,1MB"``).

    Raises:
        RequestError: it does neither, or asks for too many.
    """
    # A number of bytes that is no number of budgets is one budget.
    if text.isdecimal() and len(text) <= _MAX_LENGTH and int(text) <= MAX_FRONTIER:
        if int(text) == 0:
            raise RequestError("0 budgets: write how many, at least 1, or budgets as 128KB,256KB")
        return int(text)
    parts = text.split(",", MAX_FRONTIER)
    if len(parts) > MAX_FRONTIER:
        raise RequestError(f"more than {MAX_FRONTIER} budgets")
    try:
        return [parse_bytes(part) for part in parts]
    except RequestError as failure:
        raise RequestError(
            f"{text[:80]}: {failure}; write how many budgets, at most {MAX_FRONTIER}, or budgets "
            "such as 128KB,256KB"
        ) from None


def format_bytes(size_bytes: int) -> str:
    """Return a size for people: ``262144`` is ``"256.0 KB"``."""
    if abs(size_bytes) < 1024:
        return f"{size_bytes} B"
    value = float(size_bytes)
    for unit in ("KB", "MB", "GB"):
        value /= 1024
        if abs(value) < 1024 or unit == "GB":
            return f"{value:.1f} {unit}"
    raise AssertionError("unreachable")


def align_up(size_bytes: int, alignment_bytes: int) -> int:
    """Return the least multiple of ``alignment_bytes`` that is at least ``size_bytes``."""
    return -(-size_bytes // alignment_bytes) * alignment_bytes


@dataclass(frozen=True, slots=True)
class Affine:
    """A whole number that depends on the micro-batch m: ``fixed + per_sample * m``.

    In JSON a plain integer where nothing depends on m, else
    ``{"fixed": f, "per_sample": p}``.
    """

    fixed: int
    per_sample: int = 0

    def at(self, samples: int) -> int:
        """Return the value at a micro-batch of ``samples``."""
        return self.fixed + self.per_sample * samples

    def __add__(self, other: Affine) -> Affine:
        return Affine(self.fixed + other.fixed, self.per_sample + other.per_sample)

    def __mul__(self, factor: int) -> Affine:
        return Affine(self.fixed * factor, self.per_sample * factor)

    @classmethod
    def through(cls, first: tuple[int, int], second: tuple[int, int]) -> Affine | None:
        """Return the line through two (samples, value) points; None where it is not integral."""
        slope, remainder = divmod(second[1] - first[1], second[0] - first[0])
        return None if remainder else cls(first[1] - slope * first[0], slope)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        bounded = core_schema.int_schema(strict=True, ge=-MAX_BYTES, le=MAX_BYTES)
        pair = core_schema.typed_dict_schema(
            {
                "fixed": core_schema.typed_dict_field(bounded, required=True),
                "per_sample": core_schema.typed_dict_field(bounded, required=True),
            },
            extra_behavior="forbid",
        )
        from_json = core_schema.union_schema(
            [
                core_schema.no_info_after_validator_function(cls, bounded),
                core_schema.no_info_after_validator_function(lambda d: cls(**d), pair),
            ]
        )
        return core_schema.json_or_python_schema(
            json_schema=from_json,
            python_schema=core_schema.union_schema(
                [core_schema.is_instance_schema(cls), from_json]
            ),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda a: (
                    a.fixed if a.per_sample == 0 else {"fixed": a.fixed, "per_sample": a.per_sample}
                )
            ),
        )
