"""Convolutions; with a workspace: depthwise ones over their own operand.

The workspace holds a few rows of one channel.
"""

from __future__ import annotations

from memplan.clients.export.c.call import Call, UnsupportedError, floats
from memplan.clients.export.c.calls.convolution import convolution
from memplan.clients.export.c.calls.images import Movement, convolution_fields, convolution_geometry
from memplan.clients.export.c.calls.int8 import int8_range, integers
from memplan.clients.export.c.calls.int8_convolution import conv_int8, conv_int8_weights
from memplan.clients.export.c.code import Code
from memplan.clients.export.c.names import identifier
from memplan.clients.export.c.views import C_TYPES, ITEM_BYTES, View

__all__ = ["any_conv_int8", "any_convolution"]

#: As in kernels/in_place_depthwise.h.
_MOST_ROWS = 32


def any_convolution(call: Call, code: Code) -> list[str]:
    """``aten.convolution``, in place where there is a workspace."""
    return (convolution if call.workspace is None else _depthwise)(call, code)


def any_conv_int8(call: Call, code: Code) -> list[str]:
    """``memplan.conv_int8``, in place where there is a workspace."""
    return (conv_int8 if call.workspace is None else _depthwise_int8)(call, code)


def _depthwise(call: Call, code: Code) -> list[str]:
    x, w, bias = call.arguments[:3]
    (out,) = call.writes
    movement = Movement.of(call.arguments[3:])
    floats(x, w, bias, out)
    ring = _ring(call, x, w, out, movement)
    code.use("in_place_depthwise")
    kernel = (w.shape[2], w.shape[3])
    hint = identifier(call.operation)
    geometry = convolution_geometry(code, hint, x, out, kernel, movement, w.shape[0])
    return [
        f"memplan_depthwise_in_place({geometry}, {x.pointer},",
        f"    {code.weight(w, call.operation)},",
        f"    {'NULL' if bias is None else bias.pointer}, {out.pointer}, {ring});",
    ]


def _depthwise_int8(call: Call, code: Code) -> list[str]:
    x, w, bias, stride, padding, dilation, groups, multipliers, shifts, *numbers = call.arguments
    (out,) = call.writes
    movement = Movement.of((stride, padding, dilation, False, None, groups))
    integers(x, w, out)
    ring = _ring(call, x, w, out, movement)
    code.use("int8_in_place_depthwise")
    kernel = (w.shape[2], w.shape[3])
    hint = identifier(call.operation)
    shape = convolution_fields(x, out, kernel, movement, 1)
    shape |= {"samples": 1, "inputs": 1, "groups": 1}
    x_zero_point, *limits = numbers
    channel = {"shape": shape, "x_zero_point": x_zero_point, "y": int8_range(*limits)}
    fields = {"channel": channel, "samples": x.shape[0], "channels": x.shape[1]}
    geometry = code.struct("memplan_conv_int8_in_place", f"{hint}_geometry", fields)
    return [
        f"memplan_depthwise_int8_in_place({geometry},",
        f"    {conv_int8_weights(code, hint, w, bias, multipliers, shifts)},",
        f"    {x.pointer}, {out.pointer}, {ring});",
    ]


def _ring(call: Call, x: View, w: View, out: View, movement: Movement) -> str:
    """Return the ring of rows; what is asked for must be what the kernel does.

    Raises:
        UnsupportedError: it is not.
    """
    if w.shape[:2] != (movement.groups, 1) or x.shape != out.shape or x.strides != out.strides:
        raise UnsupportedError("a convolution with a workspace that is not depthwise and in place")
    if movement.stride != (1, 1) or x.strides[3] != 1 or w.shape[2] > _MOST_ROWS:
        raise UnsupportedError(
            f"a convolution in place with stride {movement.stride}, {w.shape[2]} rows in the "
            f"kernel, pixels that are {x.strides[3]} elements apart"
        )
    rows = min(movement.padding[0] + 1, x.shape[2])
    size = rows * x.shape[3] * ITEM_BYTES[x.dtype]
    if call.workspace is None or call.workspace.count < size:
        raise UnsupportedError(f"a workspace smaller than {size} bytes")
    return f"({C_TYPES[x.dtype]} *)(void *)({call.workspace.pointer})"
