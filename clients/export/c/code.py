"""Code: what the steps of a plan share: kernels in use, constant structs and tables."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from memplan.clients.export.c.call import UnsupportedError
from memplan.clients.export.c.names import Names, identifier
from memplan.clients.export.c.views import View

__all__ = ["Code", "number", "wrapped"]

_LINE = 100


def wrapped(statement: str) -> list[str]:
    """Return a statement as lines of at most 100 characters, broken behind commas if possible."""
    lead = statement[: len(statement) - len(statement.lstrip())]
    lines, rest = [], statement
    while len(rest) > _LINE and ", " in rest[len(lead) + 8 :]:
        cut = rest.rfind(", ", len(lead) + 8, _LINE)
        if cut < 0:
            cut = rest.find(", ", _LINE)
            if cut < 0:
                break
        lines.append(rest[: cut + 1])
        rest = f"{lead}    {rest[cut + 2 :]}"
    return [*lines, rest]


def number(value: float | int | bool) -> str:
    """Return a literal of type float that has exactly the value in float32."""
    wide = float(value)
    if wide != wide:
        return '__builtin_nanf("")'
    try:
        narrow = struct.unpack("<f", struct.pack("<f", wide))[0]
    except OverflowError:
        narrow = float("inf") if wide > 0 else float("-inf")
    if narrow in (float("inf"), float("-inf")):
        return "__builtin_inff()" if narrow > 0 else "(-__builtin_inff())"
    text = f"{narrow:.9g}"
    text += "f" if "." in text or "e" in text else ".0f"
    return f"({text})" if text.startswith("-") else text


class Code:
    """Collects what stands before the steps in plan.c.

    Args:
        streams: inputs that the main program gives row by row, in the order of their table.
    """

    def __init__(self, streams: Sequence[str] = ()) -> None:
        self.streams = tuple(streams)
        self.kernels: set[str] = set()
        self.definitions: list[str] = []
        self._known: dict[str, str] = {}
        self._names = Names()

    def use(self, kernel: str) -> None:
        """Note that ``kernels/<kernel>.h`` is needed."""
        self.kernels.add(kernel)

    def struct(self, kind: str, hint: str, fields: Mapping[str, object]) -> str:
        """Return the address of a constant struct with these fields; equal ones are shared."""
        inner = ", ".join(f".{name} = {_initializer(value)}" for name, value in fields.items())
        return "&" + self._define(f"static const struct {kind}", "", f"{{{inner}}}", hint)

    def structs(self, kind: str, hint: str, entries: Sequence[Mapping[str, object]]) -> str:
        """Return the name of a constant array of structs, one per line."""
        lines = [f"    {_initializer(entry)}," for entry in entries]
        key = "\n".join((kind, *lines))
        if key not in self._known:
            name = self._names.new(hint)
            self._known[key] = name
            self.definitions += [
                f"static const struct {kind} {name}[] = {{",
                *(part for line in lines for part in wrapped(line)),
                "};",
            ]
        return self._known[key]

    def table(self, c_type: str, hint: str, values: Sequence[int]) -> str:
        """Return the name of a constant array."""
        joined = "{" + ", ".join(map(str, values)) + "}"
        return self._define(f"static const {c_type}", f"[{len(values)}]", joined, hint)

    def function(self, parameters: str, hint: str, body: Sequence[str], about: str) -> str:
        """Return the name of a function without a result; equal ones are shared."""
        key = "\n".join((parameters, *body))
        if key not in self._known:
            name = self._names.new(hint)
            self._known[key] = name
            space = [""] if self.definitions and self.definitions[-1] else []
            self.definitions += [
                *space,
                f"/* {about} */",
                f"static void {name}({parameters}) {{",
                *(part for line in body for part in wrapped("    " + line)),
                "}",
                "",
            ]
        return self._known[key]

    def weight(self, view: View, hint: str) -> str:
        """Return a compound literal of a ``memplan_split_weight``, or ``memplan_split_int8``."""
        self.use("weight")
        kind = "memplan_split_int8" if view.dtype == "int8" else "memplan_split_weight"
        if view.split is None:
            return f"&(const struct {kind}){{.frozen = {view.pointer}}}"
        split = view.split
        if split.dim not in (0, 1):
            raise UnsupportedError(f"a weight cut along dimension {split.dim}")
        position = [-1] * split.total
        for place, channel in enumerate(split.channels):
            position[channel] = place
        table = self.table("int16_t", f"{identifier(hint)}_position", position)
        return (
            f"&(const struct {kind}){{"
            f".frozen = {view.pointer}, .slice = {split.pointer}, .position = {table}, "
            f".axis = {split.dim}, .count = {len(split.channels)}}}"
        )

    def channels(self, hint: str, chosen: Sequence[int] | None, first: str, count: str) -> str:
        """Return a compound literal of ``memplan_channels``.

        Args:
            hint: what a table is named after.
            chosen: channel numbers; None, or a gapless sequence: no table is needed.
            first: C expression of the first index into ``chosen``.
            count: C expression.
        """
        self.use("channels")
        table = "NULL"
        if chosen is not None:
            if chosen[-1] - chosen[0] + 1 == len(chosen):
                first = first if chosen[0] == 0 else f"{chosen[0]} + {first}"
            else:
                table = self.table("uint16_t", f"{identifier(hint)}_channels", chosen)
        return f"&(const struct memplan_channels){{{table}, {first}, {count}}}"

    def _define(self, start: str, end: str, value: str, hint: str) -> str:
        key = f"{start} {end} {value}"
        if key not in self._known:
            name = self._names.new(hint)
            self._known[key] = name
            self.definitions += wrapped(f"{start} {name}{end} = {value};")
        return self._known[key]


def _initializer(value: object) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f".{name} = {_initializer(part)}" for name, part in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list | tuple):
        return "{" + ", ".join(_initializer(part) for part in value) + "}"
    return str(value)
