"""Updates of parameters in their own bytes, accumulators, and updates fused with a gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from memplan.clients.export.c.call import Call, Running, UnsupportedError, dense, floats
from memplan.clients.export.c.calls.convolution import conv_weight_gradient_rows
from memplan.clients.export.c.calls.embedding import embedding_weight_gradient_rows
from memplan.clients.export.c.calls.int8_convolution import conv_weight_gradient_int8x_rows
from memplan.clients.export.c.calls.int8_update import sgd_int8_rows
from memplan.clients.export.c.calls.linear import linear_weight_gradient_rows
from memplan.clients.export.c.code import Code, number
from memplan.clients.export.c.names import identifier
from memplan.clients.export.c.views import ITEM_BYTES, View

__all__ = ["ROWS", "Part", "clear", "counted", "fused", "update", "update_part", "weight_gradient"]

#: (call, code, where the rows go, first row, number of rows), the last three as C expressions.
Rows = Callable[[Call, Code, str, str, str], list[str]]

#: Gradients of weights that can be computed in parts along their first dimension.
ROWS: Mapping[str, Rows] = {
    "memplan.conv_weight_gradient": conv_weight_gradient_rows,
    "memplan.conv_weight_gradient_int8x": conv_weight_gradient_int8x_rows,
    "memplan.embedding_weight_gradient": embedding_weight_gradient_rows,
    "memplan.linear_weight_gradient": linear_weight_gradient_rows,
}


@dataclass(frozen=True, slots=True)
class Part:
    """Some elements of everything that an update touches, as C expressions."""

    #: Added to each pointer; empty: nothing.
    skip: str
    count: str
    #: Where the part of the gradient is.
    gradient: str
    #: Variable that ``counted`` declares.
    step: str = "step"
    #: First row of the parameter, and how many; empty: all.
    first: str = "0"
    rows: str = ""

    def of(self, view: View) -> str:
        """Return the pointer to this part of a tensor."""
        return view.pointer + (f" + {self.skip}" if self.skip else "")


def weight_gradient(call: Call, code: Code) -> list[str]:
    """A whole gradient of ``ROWS``."""
    (out,) = call.writes
    floats(out)
    dense(out)
    return ROWS[call.target](call, code, out.pointer, "0", str(out.shape[0]))


def clear(call: Call, code: Code) -> list[str]:
    """``memplan.clear(accumulator)``."""
    (accumulator,) = call.mutates
    floats(accumulator)
    code.use("update")
    return [f"memplan_clear({accumulator.pointer}, {accumulator.count});"]


def update(call: Call, code: Code) -> list[str]:
    """An update or accumulation with a gradient that exists whole."""
    gradient = call.arguments[1]
    floats(gradient)
    dense(gradient)
    part = Part("", str(gradient.count), gradient.pointer)
    return counted(call.target, call.arguments) + update_part(
        call.target, call.arguments, call, code, part
    )


def fused(call: Call, code: Code) -> list[str]:
    """``memplan.fused(update, gradient, [arguments of the update], [of the gradient])``."""
    update_target, gradient_target, update_arguments, gradient_arguments = call.arguments
    (target, *_) = call.mutates
    rows = ROWS.get(gradient_target)
    if rows is None:
        raise UnsupportedError(f"{gradient_target} in parts")
    dense(target)
    row_elements = target.count // target.shape[0]
    # The gradient of integers is in float32.
    row_bytes = row_elements * ITEM_BYTES["float32"]
    per_chunk = 0 if call.workspace is None else call.workspace.count // row_bytes
    if call.workspace is None or per_chunk < 1:
        raise UnsupportedError(f"a workspace smaller than a row of the gradient ({row_bytes} B)")
    gradient = replace(
        call, target=gradient_target, arguments=tuple(gradient_arguments), mutates=()
    )
    chunk = f"(float *)(void *)({call.workspace.pointer})"
    lines = [f"float *chunk = {chunk};"]
    lines += counted(update_target, update_arguments)
    total = target.shape[0]
    if per_chunk >= total:
        part = Part("", str(target.count), "chunk")
        return [
            *lines,
            *rows(gradient, code, "chunk", "0", str(total)),
            *update_part(update_target, update_arguments, call, code, part),
        ]
    count = str(per_chunk)
    lines.append(f"for (int32_t row = 0; row < {total}; row += {per_chunk}) {{")
    if total % per_chunk:
        lines.append(
            f"    const int32_t rows = {total} - row < {per_chunk} ? {total} - row : {per_chunk};"
        )
        count = "rows"
    elements = str(row_elements * per_chunk) if count != "rows" else f"rows * {row_elements}"
    part = Part(f"row * {row_elements}", elements, "chunk", first="row", rows=count)
    inner = rows(gradient, code, "chunk", "row", count) + update_part(
        update_target, update_arguments, call, code, part
    )
    return [*lines, *("    " + line for line in inner), "}"]


def update_part(
    target: str, arguments: Sequence[Any], call: Call, code: Code, part: Part
) -> list[str]:
    """Return the update of a part of what it touches."""
    code.use("update")
    maker = _UPDATES.get(target)
    if maker is None:
        raise UnsupportedError(target)
    if target != "memplan.sgd_int8":
        floats(*(a for a in arguments[:4] if isinstance(a, View) and a.dtype != "int64"))
    if not isinstance(arguments[1], View | Running):
        raise UnsupportedError("an update without a gradient")
    return maker(arguments, call, code, part)


def counted(target: str, arguments: Sequence[Any], variable: str = "step") -> list[str]:
    """Return what is done once per update, whatever parts it is computed in."""
    if target != "memplan.adam":
        return []
    step = arguments[4]
    return [f"const int64_t {variable} = ++*{step.pointer};"]


def _sgd(arguments: Sequence[Any], call: Call, code: Code, part: Part) -> list[str]:
    w, _, rate = arguments
    return [f"memplan_sgd({part.of(w)}, {part.gradient}, {part.count}, {number(rate)});"]


def _momentum(arguments: Sequence[Any], call: Call, code: Code, part: Part) -> list[str]:
    w, _, velocity, rate, decay = arguments
    return [
        f"memplan_momentum({part.of(w)}, {part.gradient}, {part.of(velocity)}, {part.count}, "
        f"{number(rate)}, {number(decay)});"
    ]


def _adam(arguments: Sequence[Any], call: Call, code: Code, part: Part) -> list[str]:
    w, _, first, second, _, rate, beta1, beta2, epsilon = arguments
    fields = {
        "rate": repr(float(rate)), "beta1": repr(float(beta1)), "beta2": repr(float(beta2)),
        "epsilon": number(epsilon),
    }  # fmt: skip
    settings = code.struct("memplan_adam", f"{identifier(call.operation)}_adam", fields)
    return [
        f"memplan_adam({settings}, {part.of(w)}, {part.gradient}, {part.of(first)}, "
        f"{part.of(second)}, {part.step}, {part.count});"
    ]


def _sgd_int8(arguments: Sequence[Any], call: Call, code: Code, part: Part) -> list[str]:
    rows = part.rows or str(arguments[0].shape[0])
    return sgd_int8_rows(arguments, call, code, part.gradient, part.first, rows)


def _accumulate(arguments: Sequence[Any], call: Call, code: Code, part: Part) -> list[str]:
    accumulator = arguments[0]
    return [
        f"memplan_accumulate({part.of(accumulator)}, {part.gradient}, {part.count}, "
        f"{number(1.0 / call.trips)});"
    ]


_UPDATES: Mapping[str, Callable[[Sequence[Any], Call, Code, Part], list[str]]] = {
    "memplan.accumulate": _accumulate,
    "memplan.adam": _adam,
    "memplan.momentum": _momentum,
    "memplan.sgd": _sgd,
    "memplan.sgd_int8": _sgd_int8,
}
