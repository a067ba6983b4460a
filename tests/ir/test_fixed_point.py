"""The rule of rescaling, against exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memplan.ir.fixed_point import (
    SUM_BITS,
    fixed_point,
    fixed_point_sum,
    requantize,
    requantize_sum,
    rescale,
)

FACTORS = st.floats(min_value=2.0**-30, max_value=2.0**28, allow_subnormal=False)


@given(FACTORS)
def test_a_factor_is_kept_to_31_bits(factor: float) -> None:
    multiplier, shift = fixed_point(factor)
    assert 2**30 <= multiplier < 2**31
    assert 1 <= shift <= 62
    assert abs(Fraction(multiplier, 2**shift) / Fraction(factor) - 1) <= Fraction(1, 2**31)


def test_factors_that_have_no_form() -> None:
    assert fixed_point(0.0)[0] == 0
    assert fixed_point(2.0**-40)[0] == 0
    for factor in (-1.0, math.inf, math.nan, 2.0**29):
        with pytest.raises(ValueError, match="not in"):
            fixed_point(factor)


@given(st.integers(-(2**31) + 1, 2**31 - 1), st.integers(0, 2**31 - 1), st.integers(1, 62))
def test_rescaling_rounds_half_up_in_64_bits(value: int, multiplier: int, shift: int) -> None:
    exact = Fraction(value * multiplier, 2**shift)
    assert rescale(value, multiplier, shift) == math.floor(exact + Fraction(1, 2))
    assert abs(value * multiplier) + 2 ** (shift - 1) < 2**63


def test_ties_go_up() -> None:
    assert [rescale(value, 1, 1) for value in (-3, -1, 1, 3)] == [-1, 0, 1, 2]


@given(
    st.lists(st.floats(min_value=2.0**-12, max_value=2.0**16), min_size=2, max_size=2),
    st.lists(st.integers(-255, 255), min_size=2, max_size=2),
)
def test_sums_are_near_and_fit_32_bits(factors: list[float], values: list[int]) -> None:
    multipliers, shift = fixed_point_sum(factors)
    assert max(multipliers) < 2**SUM_BITS
    assert shift >= 1
    total = sum(abs(v) * m for v, m in zip(values, multipliers, strict=True))
    assert total + 2 ** (shift - 1) < 2**31
    exact = sum(v * f for v, f in zip(values, factors, strict=True))
    got = requantize_sum(values, multipliers, shift, 0, -(2**40), 2**40)
    assert abs(got - exact) <= 0.5 + 255 * 2.0 ** (1 - shift) + 1e-9 * abs(exact)


def test_requantizing_clamps_after_the_zero_point() -> None:
    multiplier, shift = fixed_point(0.25)
    assert requantize(100, multiplier, shift, -3, -128, 127) == 22
    assert requantize(10_000, multiplier, shift, -3, -128, 100) == 100
    assert requantize(-10_000, multiplier, shift, -3, -3, 127) == -3


def test_sums_of_factors_that_have_no_form() -> None:
    for factors in ([0.0, 0.0], [-1.0, 1.0], [2.0**20, 1.0]):
        with pytest.raises(ValueError, match="not in"):
            fixed_point_sum(factors)
