"""Element by element: one C expression per operation, one loop per operation or chain."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from memplan.clients.export.c.call import Call, Running, UnsupportedError, floats
from memplan.clients.export.c.code import Code, number
from memplan.clients.export.c.loops import element_loop
from memplan.clients.export.c.views import View

__all__ = ["EXPRESSIONS", "elementwise", "pointwise"]

#: From operands as C expressions and keywords to a C expression.
Expression = Callable[[list[Any], Mapping[str, Any]], str]
#: Target, arguments and keywords of one operation of a program.
Entry = tuple[str, Any, Mapping[str, Any]]


def pointwise(call: Call, code: Code) -> list[str]:
    """One operation of ``EXPRESSIONS``."""
    return _program(call, code, [(call.target, call.arguments, call.keywords)])


def elementwise(call: Call, code: Code) -> list[str]:
    """``memplan.elementwise``: a program over one running value, as one loop."""
    entries: list[Entry] = []
    for entry in call.arguments:
        target, arguments, *rest = entry
        entries.append((target, arguments, dict(rest[0]) if rest else {}))
    return _program(call, code, entries)


def _program(call: Call, code: Code, entries: Sequence[Entry]) -> list[str]:
    (out,) = call.writes
    sources: list[View] = []
    plans: list[tuple[Expression, list[Any], Mapping[str, Any]]] = []
    for target, arguments, keywords in entries:
        expression = EXPRESSIONS.get(target)
        if expression is None:
            raise UnsupportedError(target)
        for argument in arguments:
            if isinstance(argument, View) and argument not in sources:
                sources.append(argument)
        plans.append((expression, list(arguments), keywords))
    floats(out, *sources)
    code.use("elementwise")

    def body(elements: list[str]) -> tuple[list[str], str]:
        lines: list[str] = []
        running = ""
        for position, (expression, arguments, keywords) in enumerate(plans):
            texts = [
                running
                if isinstance(argument, Running)
                else elements[sources.index(argument)]
                if isinstance(argument, View)
                else argument
                for argument in arguments
            ]
            value = expression(texts, keywords)
            if position + 1 == len(plans):
                return lines, value
            running = f"v{position}"
            lines.append(f"const float {running} = {value};")
        raise UnsupportedError("an empty program")

    return element_loop(out, sources, body)


def _text(operand: Any) -> str:
    """Return an operand as a C expression: elements are texts already, scalars are literals."""
    if isinstance(operand, str):
        return operand
    if isinstance(operand, int | float):
        return number(operand)
    raise UnsupportedError(f"an argument {operand!r}")


def _fill(template: str, operands: list[Any], keywords: Mapping[str, Any]) -> str:
    if any(value is not None for value in keywords.values()):
        raise UnsupportedError(f"{', '.join(keywords)}")
    count = len(set(re.findall(r"{\d*}", template))) if "{0}" in template else template.count("{}")
    if len(operands) < count:
        raise UnsupportedError(f"{len(operands)} arguments")
    return template.format(*map(_text, operands[:count]))


def _template(template: str) -> Expression:
    return partial(_fill, template)


def _sum(sign: str, operands: list[Any], keywords: Mapping[str, Any]) -> str:
    left, right, *rest = operands
    factor = rest[0] if rest else keywords.get("alpha", 1)
    term = _text(right) if factor == 1 else f"{number(factor)} * {_text(right)}"
    return f"{_text(left)} {sign} {term}"


def _addcmul(operands: list[Any], keywords: Mapping[str, Any]) -> str:
    base, left, right = map(_text, operands[:3])
    factor = keywords.get("value", 1)
    scaled = "" if factor == 1 else f"{number(factor)} * "
    return f"{base} + {scaled}{left} * {right}"


def _clamp(operands: list[Any], keywords: Mapping[str, Any]) -> str:
    x, low, high = (*operands, None, None)[:3]
    low, high = keywords.get("min", low), keywords.get("max", high)
    return (
        f"memplan_clamp({_text(x)}, {number(float('-inf') if low is None else low)}, "
        f"{number(float('inf') if high is None else high)})"
    )


def _hardtanh(operands: list[Any], keywords: Mapping[str, Any]) -> str:
    x, low, high = (*operands, -1.0, 1.0)[:3] if len(operands) == 1 else (*operands, 1.0)[:3]
    return f"memplan_clamp({_text(x)}, {number(low)}, {number(high)})"


def _elu(operands: list[Any], keywords: Mapping[str, Any]) -> str:
    defaults: tuple[Any, ...] = (1, 1, 1)
    x, alpha, scale, input_scale = (*operands, *defaults[len(operands) - 1 :])
    return (
        f"memplan_elu({_text(x)}, {number(alpha * scale)}, {number(scale)}, {number(input_scale)})"
    )


def _elu_gradient(operands: list[Any], keywords: Mapping[str, Any]) -> str:
    gy, alpha, scale, input_scale, is_result, x = operands
    if input_scale != 1 or scale != 1:
        raise UnsupportedError("a scaled ELU")
    of = "_of_result" if is_result else ""
    return f"memplan_elu_gradient{of}({_text(gy)}, {_text(x)}, {number(alpha)})"


def _gelu(name: str, operands: list[Any], keywords: Mapping[str, Any]) -> str:
    suffix = {"none": "", "tanh": "_tanh"}[keywords.get("approximate", "none")]
    return f"memplan_gelu{suffix}{name}({', '.join(map(_text, operands))})"


def _leaky(operands: list[Any], keywords: Mapping[str, Any]) -> str:
    slope = operands[1] if len(operands) > 1 else 0.01
    return f"memplan_leaky_relu({_text(operands[0])}, {number(slope)})"


def _power(operands: list[Any], keywords: Mapping[str, Any]) -> str:
    x, exponent = _text(operands[0]), operands[1]
    if exponent not in (1, 2, 3):
        raise UnsupportedError(f"a power of {exponent}")
    return " * ".join([x] * int(exponent))


#: Operations that compute each element of their result from the same element of their operands.
EXPRESSIONS: Mapping[str, Expression] = {
    "aten.abs.default": _template("__builtin_fabsf({})"),
    "aten.add.Scalar": partial(_sum, "+"),
    "aten.add.Tensor": partial(_sum, "+"),
    "aten.addcmul.default": _addcmul,
    "aten.clamp.default": _clamp,
    "aten.clamp_min.default": _clamp,
    "aten.clone.default": lambda operands, keywords: _text(operands[0]),
    "aten.div.Scalar": _template("{} / {}"),
    "aten.div.Tensor": _template("{} / {}"),
    "aten.elu.default": _elu,
    "aten.elu_backward.default": _elu_gradient,
    "aten.exp.default": _template("memplan_exp({})"),
    "aten.gelu.default": partial(_gelu, ""),
    "aten.gelu_backward.default": partial(_gelu, "_gradient"),
    "aten.hardsigmoid.default": _template("memplan_hard_sigmoid({})"),
    "aten.hardsigmoid_backward.default": _template("memplan_hard_sigmoid_gradient({}, {})"),
    "aten.hardswish.default": _template("memplan_hard_swish({})"),
    "aten.hardswish_backward.default": _template("memplan_hard_swish_gradient({}, {})"),
    "aten.hardtanh.default": _hardtanh,
    "aten.hardtanh_backward.default": _template("memplan_clamp_gradient({}, {}, {}, {})"),
    "aten.leaky_relu.default": _leaky,
    "aten.leaky_relu_backward.default": _template("memplan_leaky_relu_gradient({}, {}, {})"),
    "aten.log.default": _template("memplan_log({})"),
    "aten.mul.Scalar": _template("{} * {}"),
    "aten.mul.Tensor": _template("{} * {}"),
    "aten.neg.default": _template("-{}"),
    "aten.pow.Tensor_Scalar": _power,
    "aten.reciprocal.default": _template("1.0f / {}"),
    "aten.relu.default": _template("memplan_relu({})"),
    "aten.rsqrt.default": _template("1.0f / memplan_sqrt({})"),
    "aten.sigmoid.default": _template("memplan_sigmoid({})"),
    "aten.sigmoid_backward.default": _template("{0} * (1.0f - {1}) * {1}"),
    "aten.silu.default": _template("memplan_silu({})"),
    "aten.silu_backward.default": _template("memplan_silu_gradient({}, {})"),
    "aten.sqrt.default": _template("memplan_sqrt({})"),
    "aten.sub.Scalar": partial(_sum, "-"),
    "aten.sub.Tensor": partial(_sum, "-"),
    "aten.tanh.default": _template("memplan_tanh({})"),
    "aten.tanh_backward.default": _template("{0} * (1.0f - {1} * {1})"),
    "aten.threshold_backward.default": _template("memplan_threshold_gradient({}, {}, {})"),
}
