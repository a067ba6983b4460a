"""The backward pass of inverted residual blocks, channel by channel, with the updates in it."""

from __future__ import annotations

from memplan.clients.export.c.call import RUNNING, Call, UnsupportedError, dense, floats
from memplan.clients.export.c.calls.update import Part, counted, update_part
from memplan.clients.export.c.code import Code, number
from memplan.clients.export.c.names import identifier
from memplan.clients.export.c.views import View
from memplan.ir.channel_strips import ChannelStrips, Workspace

__all__ = ["channel_strips"]

_CHANNEL = "c"
#: MEMPLAN_STRIPS_MOST_ROWS.
_MOST_ROWS = 16


def channel_strips(call: Call, code: Code) -> list[str]:
    """``memplan.channel_strips(gy, w2, ..., bd_update, b1_update, w1_update)``.

    A loop over channels: one call of the kernel, then that channel's updates.
    """
    try:
        strips = ChannelStrips.of(call.arguments)
    except ValueError as error:
        raise UnsupportedError(str(error)) from error
    (out,) = call.writes
    floats(strips.gy, out)
    dense(out)
    code.use("channel_strips")
    layout = _layout(call, strips, out)
    operands = _operands(call, code, strips, out)
    geometry = _geometry(call, code, strips, out, layout)
    strip = f"memplan_channel_strip({geometry}, &operands, {_CHANNEL});"
    before, updates = _updates(call, code, strips, layout)
    if any("biases." in line for line in updates):
        strip = f"const struct memplan_strips_biases biases = {strip}"
    return [
        *operands,
        *before,
        f"for (int32_t {_CHANNEL} = 0; {_CHANNEL} < {strips.depthwise.shape[0]}; ++{_CHANNEL}) {{",
        *(f"    {line}" for line in [strip, *updates]),
        "}",
    ]


def _layout(call: Call, strips: ChannelStrips, out: View) -> Workspace:
    *_, height, width = out.shape
    *_, kernel_height, kernel_width = strips.depthwise.shape
    saved = 0 if strips.x is None else strips.x.shape[1]
    layout = Workspace.of(strips.window((kernel_height, kernel_width)), (height, width), saved)
    if kernel_height > _MOST_ROWS:
        raise UnsupportedError(f"a kernel of {kernel_height} rows, more than {_MOST_ROWS}")
    if call.workspace is None or call.workspace.count < layout.elements * 4:
        raise UnsupportedError(f"a workspace smaller than its planes ({layout.elements * 4} B)")
    return layout


def _geometry(call: Call, code: Code, strips: ChannelStrips, out: View, layout: Workspace) -> str:
    (samples, inputs, height, width), kernel = out.shape, strips.depthwise.shape
    return code.struct(
        "memplan_strips",
        f"{identifier(call.operation)}_strips",
        {
            "samples": samples, "outputs": strips.gy.shape[1], "channels": kernel[0],
            "inputs": inputs, "saved": 0 if strips.x is None else strips.x.shape[1],
            "window": {
                "height": height, "width": width,
                "output_height": strips.gy.shape[2], "output_width": strips.gy.shape[3],
                "kernel_height": kernel[2], "kernel_width": kernel[3],
                "stride_y": strips.stride[0], "stride_x": strips.stride[1],
                "padding_y": strips.padding[0], "padding_x": strips.padding[1],
                "dilation_y": strips.dilation[0], "dilation_x": strips.dilation[1],
                "ring_rows": layout.ring_rows, "ring": layout.ring,
            },
            **_pixels(strips.gy),
            "plane": layout.plane, "row": layout.row,
            "x_scale": number(strips.x_scale or 0), "x_zero_point": strips.x_zero_point or 0,
        },
    )  # fmt: skip


def _pixels(gy: View) -> dict[str, int]:
    """Return how to go over a plane: as one pixel where all are the same, one line, or rows."""
    _, _, height, width = gy.shape
    sample, channel, row, pixel = gy.strides
    if width == 1:
        # A column is a line as well.
        height, width, row, pixel = 1, height, 0, row
    if height > 1 and row == width * pixel:
        height, width = 1, height * width
    if pixel == 0 and (height == 1 or row == 0):
        height, width = 1, 1
    return {
        "lines": height, "pixels": width, "gy_sample": sample, "gy_channel": channel,
        "gy_line": row, "gy_pixel": pixel,
    }  # fmt: skip


def _operands(call: Call, code: Code, strips: ChannelStrips, out: View) -> list[str]:
    x = strips.x
    if x is not None and x.dtype != ("float32" if strips.x_scale is None else "int8"):
        raise UnsupportedError(f"operands of type {x.dtype}")
    dense(x)
    workspace = "NULL" if call.workspace is None else call.workspace.pointer
    fields = {
        "gy": strips.gy.pointer,
        "project": _weight(code, f"{call.operation}.w2", strips.project, strips.project_scales),
        "depthwise": _weight(
            code, f"{call.operation}.wd", strips.depthwise, strips.depthwise_scales
        ),
        "expand": _weight(code, f"{call.operation}.w1", strips.expand, strips.expand_scales),
        "depthwise_bits": _pointer(strips.depthwise_bits),
        "expand_bits": _pointer(strips.expand_bits),
        "x": _pointer(x),
        "workspace": f"(float *)(void *)({workspace})",
        "gx": out.pointer,
    }
    last = len(fields) - 1
    return [
        "const struct memplan_strips_operands operands = {",
        *(
            f"    .{name} = {value}{'};' if index == last else ','}"
            for index, (name, value) in enumerate(fields.items())
        ),
    ]


def _pointer(view: View | None) -> str:
    return "NULL" if view is None else view.pointer


def _weight(code: Code, hint: str, weight: View, scales: View | None) -> str:
    """Return an initializer of a ``memplan_strips_weight``."""
    dense(weight, scales)
    if weight.dtype != ("float32" if scales is None else "int8"):
        raise UnsupportedError(f"weights of type {weight.dtype}")
    literal = code.weight(weight, hint)
    if scales is None:
        return f"{{.real = {literal}}}"
    floats(scales)
    return f"{{.integers = {literal}, .scales = {scales.pointer}}}"


def _updates(
    call: Call, code: Code, strips: ChannelStrips, layout: Workspace
) -> tuple[list[str], list[str]]:
    """Return what is done once before the loop, and the updates of a channel."""
    wanted = [
        (update, gradient)
        for update, gradient in (
            (strips.depthwise_bias, "&biases.depthwise"),
            (strips.expand_bias, "&biases.expand"),
            (strips.expand_weight, f"operands.workspace + {layout.row}"),
        )
        if update is not None
    ]
    if len(wanted) != len(call.covered):
        raise UnsupportedError(f"it has {len(wanted)} updates and covers {len(call.covered)}")
    before, lines = [], []
    for index, ((update, gradient), mutates) in enumerate(zip(wanted, call.covered, strict=True)):
        target, *states = mutates
        dense(*mutates)
        elements = target.count // target.shape[0]
        arguments = (target, RUNNING, *states, *update.rest)
        part = Part(
            skip=_CHANNEL if elements == 1 else f"{_CHANNEL} * {elements}",
            count=str(elements),
            gradient=gradient,
            step=f"step{index}",
            first=_CHANNEL,
            rows="1",
        )
        before += counted(update.target, arguments, part.step)
        lines += update_part(update.target, arguments, call, code, part)
    return before, lines
