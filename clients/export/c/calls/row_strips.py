"""Chains of spatially local operations, row by row: a function per entry, and a table of them.

The table says which entries read which, and how far; the kernel derives the order of rows from it
(``memplan.ir.row_strips.row_order``), so nothing grows with the number of rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from memplan.clients.export.c.call import Call, UnsupportedError, dense
from memplan.clients.export.c.calls import int8
from memplan.clients.export.c.calls.elementwise import elementwise, pointwise
from memplan.clients.export.c.calls.row_places import ROW, SAMPLE, Places, Rows, as_bytes
from memplan.clients.export.c.calls.row_windows import WINDOWED
from memplan.clients.export.c.code import Code
from memplan.clients.export.c.names import identifier
from memplan.clients.export.c.views import ITEM_BYTES
from memplan.ir.row_strips import INPUT_ROWS, StripEntry, read_program, ring_fault, row_order

__all__ = ["row_strips"]

#: Makers of operations that go element by element, beside those of ``EXPRESSIONS``.
_ONE_ROW: Mapping[str, Callable[[Call, Code], list[str]]] = {
    "memplan.add_int8": int8.add_int8,
    "memplan.dequantize": int8.dequantize,
    "memplan.elementwise": elementwise,
    "memplan.quantize": int8.quantize,
}


def row_strips(call: Call, code: Code) -> list[str]:
    """``memplan.row_strips(entry, ...)``."""
    (out,) = call.writes
    entries = read_program(call.arguments)
    if len(out.shape) != 4 or out.shape[1:] != entries[-1].shape:
        raise UnsupportedError(f"a result of shape {out.shape} of rows of {entries[-1].shape}")
    fault = ring_fault(entries, row_order(entries))
    if fault is not None:
        raise UnsupportedError(fault)
    places = Places(call, entries)
    code.use("row_strips")
    hint = f"{identifier(call.operation)}_rows"
    count, (keeping, bringing) = len(entries), _used_up(code, hint, places)
    functions = [
        _function(code, hint, places, index, keeping if index == count - 1 else [])
        for index in range(count)
    ]
    fields = [_fields(*pair) for pair in zip(entries, functions, strict=True)]
    table = code.structs("memplan_strip_entry", hint, fields)
    return [
        f"memplan_row_strips({table}, {count}, {out.shape[0]}, (int32_t[{count}]){{0}});",
        *bringing,
    ]


def _used_up(code: Code, hint: str, places: Places) -> tuple[list[str], list[str]]:
    """Return what keeps a row in an operand that is used up, and what is done at the end."""
    call, last = places.call, places.entries[-1]
    operand, (out,) = call.used_up, call.writes
    if (operand is None) != (last.place is None):
        raise UnsupportedError("a last entry with a place where no operand is used up")
    if operand is None:
        return [], []
    dense(operand, out)
    code.use("used_up")
    fields: dict[str, object] = {"samples": out.shape[0]}
    for name, view in (("operand", operand), ("result", out)):
        _, channels, height, width = view.shape
        fields[name] = (channels, height, width * ITEM_BYTES[view.dtype])
    image = code.struct("memplan_used_up", f"{hint}_used_up", fields)
    row = places.of_entry(len(places.entries) - 1).at()
    operand_bytes, row_bytes, result = (as_bytes(view.pointer) for view in (operand, row, out))
    return (
        [f"memplan_put_away({image}, {SAMPLE}, {ROW}, {row_bytes}, {operand_bytes});"],
        [f"memplan_bring_back({image}, {operand_bytes}, {result});"],
    )


def _fields(entry: StripEntry, function: str) -> dict[str, object]:
    window, sources = entry.window, entry.locals()
    reading = {
        "sources": f"(const uint8_t[]){{{', '.join(map(str, sources))}}}",
        "source_count": len(sources),
    }
    return {
        "compute": function,
        **(reading if sources else {}),
        "stride": window.stride,
        "reach": (window.kernel - 1) * window.dilation - window.padding,
        "height": entry.shape[1],
    }


def _function(code: Code, hint: str, places: Places, index: int, behind: Sequence[str]) -> str:
    """Return the name of the function that computes a row of an entry, and does ``behind``."""
    entry = places.entries[index]
    body = [*_statements(code, f"{hint}_{index}", places, index), *behind]
    unused = [
        f"(void){name};"
        for name in (SAMPLE, ROW)
        if not any(re.search(rf"\b{name}\b", line) for line in body)
    ]
    about = f"A row of {entry.target}, {' x '.join(map(str, entry.shape))}."
    parameters = f"int32_t {SAMPLE}, int32_t {ROW}"
    return code.function(parameters, f"{hint}_{index}", unused + body, about)


def _statements(code: Code, name: str, places: Places, index: int) -> list[str]:
    entry, y = places.entries[index], places.of_entry(index)
    if entry.target == INPUT_ROWS:
        return _input_row(code, entry, y)
    call = replace(
        places.call,
        operation=name,
        target=entry.target,
        arguments=entry.arguments,
        keywords=dict(entry.keywords),
        writes=(y.at(),),
        workspace=None,
    )
    windowed = WINDOWED.get(entry.target)
    if windowed is not None:
        x = places.of(entry.arguments[0])
        if any(places.entries[source].place == entry.place for source in entry.locals()):
            raise UnsupportedError(f"{entry.target} in place")
        below = replace(call, arguments=(x.at(), *entry.arguments[1:]))
        return windowed(below, entry, x, y, code)
    return _ONE_ROW.get(entry.target, pointwise)(
        replace(
            call,
            arguments=places.one_row(entry.arguments),
            keywords={key: places.one_row(value) for key, value in entry.keywords},
        ),
        code,
    )


def _input_row(code: Code, entry: StripEntry, y: Rows) -> list[str]:
    """Return statements that ask the main program for a row."""
    (name,) = entry.arguments
    if name not in code.streams:
        raise UnsupportedError(f"rows of {name}, which the main program does not give")
    stream, place = code.streams.index(name), as_bytes(y.at().pointer)
    return [f"memplan_read_row({stream}, (uint32_t){SAMPLE}, (uint32_t){ROW}, {place});"]
