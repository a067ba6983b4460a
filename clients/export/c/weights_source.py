"""weights.c: frozen weights and first values of updated ones, as constants.

Floats are written as hexadecimal literals, which are exact.  Where there are more bytes than a C
compiler reads in reasonable time, the constants are words of weights.bin, which the assembler
includes (weights.S).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from memplan.clients.export.c.names import Names
from memplan.clients.export.c.views import C_TYPES

__all__ = ["LARGEST_TEXT_BYTES", "Constants"]

LARGEST_TEXT_BYTES = 4 << 20
_CODES = {"float": "f", "int64_t": "q", "int32_t": "i", "int8_t": "b", "uint8_t": "B"}
_PER_LINE = {"float": 6, "int64_t": 8, "int32_t": 10, "int8_t": 20, "uint8_t": 20}
_ALIGNMENT_BYTES = 16


@dataclass(frozen=True, slots=True)
class _Constant:
    name: str
    c_type: str
    value: bytes
    comment: str


class Constants:
    """Arrays of constants, by name."""

    def __init__(self) -> None:
        self._names = Names()
        self._found: dict[str, _Constant] = {}

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(len(constant.value) for constant in self._found.values())

    def name(self, key: str, hint: str, dtype: str, value: bytes, comment: str) -> str:
        """Return the C name of an array with this value, made where ``key`` is new."""
        if key not in self._found:
            self._found[key] = _Constant(self._names.new(hint), C_TYPES[dtype], value, comment)
        return self._found[key].name

    def header(self) -> str:
        """Return weights.h."""
        lines = [
            "/* Frozen weights and constants, and the first values of updated parameters. */",
            "#ifndef WEIGHTS_H",
            "#define WEIGHTS_H",
            "",
            "#include <stdint.h>",
            "",
            *(
                f"extern const {each.c_type} {each.name}[{_length(each)}];  /* {each.comment} */"
                for each in self._found.values()
            ),
            "",
            "#endif",
            "",
        ]
        return "\n".join(lines)

    def files(self) -> Mapping[str, bytes]:
        """Return the files that define the arrays, by name."""
        if self.size_bytes > LARGEST_TEXT_BYTES:
            return self._binary()
        lines = ['#include "weights.h"', ""]
        for each in self._found.values():
            lines.append(f"/* {each.comment} */")
            lines.append(f"const {each.c_type} {each.name}[{_length(each)}] = {{")
            lines += _rows(each)
            lines += ["};", ""]
        return {"weights.c": "\n".join(lines).encode()}

    def _binary(self) -> Mapping[str, bytes]:
        lines = [
            "/* The arrays of weights.h, whose bytes are those of weights.bin. */",
            '    .section .rodata.weights, "a"',
        ]
        pieces, place = [], 0
        for each in self._found.values():
            lines += [
                f"    .balign {_ALIGNMENT_BYTES}",
                f"    .global {each.name}",
                f"{each.name}:",
                f'    .incbin "weights.bin", {place}, {len(each.value)}',
            ]
            pieces.append(each.value)
            place += len(each.value)
        lines += ['    .section .note.GNU-stack, "", %progbits', ""]
        return {"weights.S": "\n".join(lines).encode(), "weights.bin": b"".join(pieces)}


def _length(each: _Constant) -> int:
    return max(1, len(each.value) // struct.calcsize(_CODES[each.c_type]))


def _rows(each: _Constant) -> list[str]:
    code = _CODES[each.c_type]
    values = struct.unpack(f"<{len(each.value) // struct.calcsize(code)}{code}", each.value)
    texts = [_literal(value) for value in values] or ["0"]
    step = _PER_LINE[each.c_type]
    return [
        "    " + ", ".join(texts[start : start + step]) + ","
        for start in range(0, len(texts), step)
    ]


def _literal(value: float | int) -> str:
    if isinstance(value, int):
        return str(value) if value != -(2**63) else "INT64_MIN"
    if value != value:
        return '__builtin_nanf("")'
    if value in (float("inf"), float("-inf")):
        return "__builtin_inff()" if value > 0 else "-__builtin_inff()"
    if value == int(value) and abs(value) < 1000:
        return f"{value:.0f}.0f" if value or str(value) == "0.0" else "-0.0f"
    mantissa, _, exponent = value.hex().partition("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{exponent}f"
