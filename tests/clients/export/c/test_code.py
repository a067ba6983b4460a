from __future__ import annotations

import math
import struct

import pytest

from memplan.clients.export.c.code import Code, number, wrapped
from memplan.clients.export.c.views import Geometry, Split, View


@pytest.mark.parametrize("value", [0.1, 1e-30, -2.5, 6.0, 1 / 3, 3.4e38, 5e-45])
def test_numbers_are_exact_in_float32(value: float) -> None:
    (expected,) = struct.unpack("<f", struct.pack("<f", value))
    text = number(value).strip("()").removesuffix("f")
    (read,) = struct.unpack("<f", struct.pack("<f", float(text)))
    assert read == expected


def test_numbers_that_have_no_digits() -> None:
    assert number(math.inf) == "__builtin_inff()"
    assert number(-1e300) == "(-__builtin_inff())"
    assert number(math.nan) == '__builtin_nanf("")'


def test_equal_constants_are_shared() -> None:
    code = Code()
    first = code.struct("memplan_pool", "a", {"planes": 1})
    assert code.struct("memplan_pool", "b", {"planes": 1}) == first
    assert code.struct("memplan_pool", "a", {"planes": 2}) != first
    assert len(code.definitions) == 2


def test_neighbouring_channels_need_no_table() -> None:
    code = Code()
    assert code.channels("c", (3, 4, 5), "0", "3").endswith("{NULL, 3 + 0, 3}")
    assert code.definitions == []
    assert "c_channels" in code.channels("c", (3, 5), "row", "2")
    assert code.definitions == ["static const uint16_t c_channels[2] = {3, 5};"]


def test_a_split_weight_knows_the_place_of_each_channel() -> None:
    code = Code()
    slice_ = Split("slice", Geometry((2, 3, 1, 1), (3, 1, 1, 1)), 0, (1, 3), 4)
    text = code.weight(View("w", "float32", Geometry((4, 3, 1, 1), (3, 1, 1, 1)), slice_), "l")
    assert ".frozen = w, .slice = slice" in text and ".axis = 0, .count = 2" in text
    assert code.definitions == ["static const int16_t l_position[4] = {-1, 0, -1, 1};"]


def test_long_statements_are_broken_behind_commas() -> None:
    statement = "    call(" + ", ".join(f"argument_{i}" for i in range(30)) + ");"
    lines = wrapped(statement)
    assert all(len(line) <= 100 for line in lines)
    assert " ".join(line.strip() for line in lines) == statement.strip()
