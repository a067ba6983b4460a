from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from memplan.ir.errors import RequestError
from memplan.ir.limits import MAX_BYTES
from memplan.ir.units import Affine, align_up, format_bytes, parse_budgets, parse_bytes


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("256KB", 262_144),
        ("256 KiB", 262_144),
        ("256k", 262_144),
        ("1.5 MiB", 1_572_864),
        ("1MB", 1_048_576),
        ("2g", 2_147_483_648),
        ("262144", 262_144),
        (262_144, 262_144),
        ("17 B", 17),
        (str(MAX_BYTES), MAX_BYTES),
    ],
)
def test_kb_and_kib_mean_1024_bytes(text: str | int, size_bytes: int) -> None:
    assert parse_bytes(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    [
        "", "KB", "-1KB", "0", "0.2", "1TB", "1e6", "nan", "inf", "256 K B", "1,5MB", "0x10",
        str(MAX_BYTES + 1), "300000GB", "9" * 5000, "9" * 400 + ".5", "256KB; rm",
    ],
)  # fmt: skip
def test_anything_else_is_a_usage_error_in_one_line(text: str) -> None:
    with pytest.raises(RequestError) as failure:
        parse_bytes(text)
    assert "\n" not in str(failure.value)
    assert len(str(failure.value)) < 200


@given(st.integers(1, MAX_BYTES))
def test_a_plain_number_means_itself(size_bytes: int) -> None:
    assert parse_bytes(str(size_bytes)) == size_bytes


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KB"), (262_144, "256.0 KB"), (3 << 30, "3.0 GB")],
)
def test_format_bytes(size_bytes: int, text: str) -> None:
    assert format_bytes(size_bytes) == text


@given(st.integers(0, 10**9), st.integers(1, 4096))
def test_align_up_is_the_least_multiple(size_bytes: int, alignment: int) -> None:
    aligned = align_up(size_bytes, alignment)
    assert aligned % alignment == 0
    assert 0 <= aligned - size_bytes < alignment


def test_affine_arithmetic() -> None:
    size = Affine(4, 10)
    assert size.at(3) == 34
    assert size + Affine(1, 2) == Affine(5, 12)
    assert size * 3 == Affine(12, 30)
    assert Affine.through((2, 24), (3, 34)) == Affine(4, 10)
    assert Affine.through((2, 24), (4, 45)) is None  # 10.5 per sample


AFFINE = TypeAdapter(Affine)


@given(st.integers(-MAX_BYTES, MAX_BYTES), st.integers(-MAX_BYTES, MAX_BYTES))
def test_affine_json_round_trip(fixed: int, per_sample: int) -> None:
    size = Affine(fixed, per_sample)
    assert AFFINE.validate_json(AFFINE.dump_json(size)) == size


def test_affine_is_a_plain_number_where_nothing_depends_on_the_batch() -> None:
    assert AFFINE.dump_json(Affine(7)) == b"7"
    assert AFFINE.validate_json('{"fixed": 7, "per_sample": 0}') == Affine(7)


@pytest.mark.parametrize(
    "text",
    [
        '"7"', "7.0", "null", "true", "[7]", '{"fixed": 7}', f"{MAX_BYTES + 1}", "1e3",
        '{"fixed": 7, "per_sample": 1, "more": 2}', '{"fixed": 7, "per_sample": "1"}',
    ],
)  # fmt: skip
def test_affine_is_strict(text: str) -> None:
    with pytest.raises(ValidationError):
        AFFINE.validate_json(text)


@pytest.mark.parametrize(
    ("text", "budgets"),
    [
        ("20", 20),
        ("1000", 1000),
        ("1001", [1001]),
        ("128KB,1MB", [131072, 2**20]),
        (" 1 KB , 2 KB", [1024, 2048]),
    ],
)
def test_budgets_are_a_number_or_a_list(text: str, budgets: int | list[int]) -> None:
    assert parse_budgets(text) == budgets


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a size"),
        ("0", "at least 1"),
        ("-3", "not a size"),
        ("128KB,", "not a size"),
        ("0KB,1KB", "out of range"),
        ("9" * 5000, "not a size"),
        ("1KB," * 5000, "more than 1000"),
    ],
)
def test_what_names_no_budgets(text: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        parse_budgets(text)
