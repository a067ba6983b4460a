"""The integer arithmetic of int8 graphs, in Python's whole numbers: the rule that executors follow.

A real factor is a whole number and a shift: ``value * multiplier / 2**shift``, rounded half up
(towards positive infinity), which is an addition and an arithmetic shift to the right.  No float
takes part when a graph runs; floats only choose multiplier and shift beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = [
    "INT8_HIGH",
    "INT8_LOW",
    "MOST_ACCUMULATED",
    "MOST_BIAS",
    "MOST_WEIGHT",
    "SUM_BITS",
    "fixed_point",
    "fixed_point_sum",
    "requantize",
    "requantize_sum",
    "rescale",
]

INT8_LOW, INT8_HIGH = -128, 127
#: Weights are symmetric: -128 is not used.
MOST_WEIGHT = 127
#: A bias stays within this, and so do the products that are added to it: 32 bits hold the sum.
MOST_BIAS = 2**30
MOST_ACCUMULATED = 2**30
#: Multipliers of a sum are below 2**SUM_BITS: with 9 bits of operand, 32 bits hold two products.
SUM_BITS = 21

_MANTISSA_BITS = 31
_MOST_SHIFT = 62


def fixed_point(factor: float) -> tuple[int, int]:
    """Return (multiplier, shift) of a factor: 2**30 <= multiplier < 2**31, 1 <= shift <= 62.

    A factor too small for that has multiplier 0.

    Raises:
        ValueError: the factor is negative, not finite, or 2**29 or more.
    """
    if not 0 <= factor < 2.0**29:
        raise ValueError(f"factor {factor} is not in [0, 2**29)")
    if factor == 0:
        return 0, _MANTISSA_BITS
    mantissa, exponent = math.frexp(factor)
    multiplier = round(mantissa * 2**_MANTISSA_BITS)
    if multiplier == 2**_MANTISSA_BITS:
        multiplier //= 2
        exponent += 1
    shift = _MANTISSA_BITS - exponent
    return (0, _MANTISSA_BITS) if shift > _MOST_SHIFT else (multiplier, shift)


def fixed_point_sum(factors: Sequence[float]) -> tuple[list[int], int]:
    """Return multipliers below 2**SUM_BITS and their one shift, for a sum of rescaled operands.

    Raises:
        ValueError: a factor is negative or not finite, or the largest is 0, or 2**19 or more.
    """
    largest = max(factors)
    if not all(0 <= factor < 2.0 ** (SUM_BITS - 2) for factor in factors) or largest == 0:
        raise ValueError(f"factors {list(factors)} are not in [0, 2**{SUM_BITS - 2}), or all 0")
    _, exponent = math.frexp(largest)
    shift = SUM_BITS - exponent
    if round(largest * 2.0**shift) >= 2**SUM_BITS:
        shift -= 1
    shift = min(shift, 30)
    return [round(factor * 2.0**shift) for factor in factors], shift


def rescale(value: int, multiplier: int, shift: int) -> int:
    """Return ``value * multiplier / 2**shift``, rounded half up."""
    return (value * multiplier + (1 << (shift - 1))) >> shift


def requantize(
    accumulator: int, multiplier: int, shift: int, zero_point: int, low: int, high: int
) -> int:
    """Return an accumulator as an int8: rescaled, moved to its zero point, clamped."""
    return min(max(rescale(accumulator, multiplier, shift) + zero_point, low), high)


def requantize_sum(
    values: Sequence[int],
    multipliers: Sequence[int],
    shift: int,
    zero_point: int,
    low: int,
    high: int,
) -> int:
    """Return a sum of rescaled operands (zero points taken off) as an int8; rounded once."""
    total = sum(v * m for v, m in zip(values, multipliers, strict=True))
    return min(max(rescale(total, 1, shift) + zero_point, low), high)
