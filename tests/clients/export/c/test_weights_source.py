from __future__ import annotations

import struct

import pytest

from memplan.clients.export.c import weights_source
from memplan.clients.export.c.weights_source import Constants

VALUES = [0.0, -0.0, 1.0, -3.0, 0.1, 1e-40, 3.4e38, -7.25, 12345.678]


def test_floats_are_written_exactly() -> None:
    constants = Constants()
    packed = struct.pack(f"<{len(VALUES)}f", *VALUES)
    assert constants.name("w", "layer.w", "float32", packed, "frozen") == "layer_w"
    source = constants.files()["weights.c"].decode()
    inside = source[source.index("{") + 1 : source.rindex("}")]
    texts = [text.strip().removesuffix("f") for text in inside.split(",") if text.strip()]
    read = [float.fromhex(text) if "x" in text else float(text) for text in texts]
    assert struct.pack(f"<{len(read)}f", *read) == packed
    assert "extern const float layer_w[9];" in constants.header()


def test_integers_and_what_is_not_finite() -> None:
    constants = Constants()
    constants.name("i", "i", "int64", struct.pack("<2q", -(2**63), 7), "indices")
    constants.name("m", "m", "float32", struct.pack("<2f", float("-inf"), float("nan")), "mask")
    source = constants.files()["weights.c"].decode()
    assert "INT64_MIN, 7," in source
    assert '-__builtin_inff(), __builtin_nanf(""),' in source


def test_a_value_is_stored_once() -> None:
    constants = Constants()
    first = constants.name("w", "w", "float32", b"\0" * 8, "frozen")
    assert constants.name("w", "other", "float32", b"\0" * 8, "frozen") == first
    assert constants.size_bytes == 8


def test_many_bytes_go_through_the_assembler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_source, "LARGEST_TEXT_BYTES", 8)
    constants = Constants()
    constants.name("a", "a", "float32", b"abcd" * 2, "frozen")
    constants.name("b", "b", "uint8", b"xyz", "mask")
    files = constants.files()
    assert files["weights.bin"] == b"abcdabcdxyz"
    assert b'.incbin "weights.bin", 8, 3' in files["weights.S"]
