"""Nested loops over the elements of views, with as few loops as their strides allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from memplan.clients.export.c.call import UnsupportedError
from memplan.clients.export.c.views import C_TYPES, View

__all__ = ["broadcast_strides", "element_loop"]

#: From the elements of the sources, as C expressions, to statements that end in one value.
Body = Callable[[list[str]], tuple[list[str], str]]


def broadcast_strides(view: View, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides with which ``view`` is read as a tensor of ``shape``."""
    missing = len(shape) - len(view.shape)
    if missing < 0:
        raise UnsupportedError(f"an operand of shape {view.shape} for a result of {tuple(shape)}")
    strides = [0] * missing
    for size, wanted, stride in zip(view.shape, shape[missing:], view.strides, strict=True):
        if size not in (1, wanted):
            raise UnsupportedError(
                f"an operand of shape {view.shape} for a result of {tuple(shape)}"
            )
        strides.append(stride if size == wanted and size != 1 else 0)
    return tuple(strides)


def element_loop(out: View, sources: Sequence[View], body: Body) -> list[str]:
    """Return statements that compute each element of ``out`` from those of ``sources``.

    Sources are broadcast to the shape of ``out``.  A source may be ``out`` itself.
    """
    shape = list(out.shape)
    strides = [list(out.strides)] + [list(broadcast_strides(s, out.shape)) for s in sources]
    for view in (out, *sources):
        if view.dtype not in C_TYPES:
            raise UnsupportedError(f"operands of type {view.dtype}")
        if view.split is not None:
            raise UnsupportedError("a partly updated operand")
    _coalesce(shape, strides)
    names = [f"x{number}" for number in range(len(sources))]
    lines = [
        f"const {C_TYPES[view.dtype]} *{name} = {view.pointer};"
        for name, view in zip(names, sources, strict=True)
    ]
    lines.append(f"{C_TYPES[out.dtype]} *y = {out.pointer};")
    indices = "ijklmn"[: len(shape)]
    if len(indices) < len(shape):
        raise UnsupportedError(f"{len(shape)} nested loops")
    for depth, (index, size) in enumerate(zip(indices, shape, strict=True)):
        lines.append(f"{'    ' * depth}for (int32_t {index} = 0; {index} < {size}; ++{index}) {{")
    places = [_place(indices, each) for each in strides]
    elements = [f"{name}[{place}]" for name, place in zip(names, places[1:], strict=True)]
    statements, value = body(elements)
    inner = "    " * len(shape)
    lines += [inner + statement for statement in statements]
    lines.append(f"{inner}y[{places[0]}] = {value};")
    lines += ["    " * depth + "}" for depth in reversed(range(len(shape)))]
    return lines


def _coalesce(shape: list[int], strides: list[list[int]]) -> None:
    """Join neighbouring dimensions that every view steps through as through one."""
    dim = 0
    while dim < len(shape):
        if shape[dim] == 1:
            for each in (shape, *strides):
                del each[dim]
        elif dim and all(each[dim - 1] == each[dim] * shape[dim] for each in strides):
            shape[dim - 1] *= shape[dim]
            del shape[dim]
            for each in strides:
                each[dim - 1] = each[dim]
                del each[dim]
        else:
            dim += 1


def _place(indices: str, strides: Sequence[int]) -> str:
    terms = [
        index if stride == 1 else f"{index} * {stride}"
        for index, stride in zip(indices, strides, strict=True)
        if stride
    ]
    return " + ".join(terms) or "0"
