"""The backward pass of an inverted residual block, channel by channel.

Planes and the row of the weight's gradient lie in the plan's workspace.  What ATen has no way of
computing into given bytes, the depthwise convolution's input gradient, is computed outside of the
arena, a plane at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from memplan.clients.executors.torch.kernels.call import Call, Kernel, Run
from memplan.clients.executors.torch.kernels.int8 import dequantized
from memplan.clients.executors.torch.kernels.update import adam
from memplan.ir.channel_strips import ChannelStrips, CoveredUpdate, Workspace

__all__ = ["channel_strips"]

_backward = torch.ops.aten.convolution_backward.default

#: (sample, channel) -> where a plane passes; None: everywhere.
Mask = Callable[[int, int], torch.Tensor] | None


def channel_strips(bind: Kernel, call: Call) -> Run:
    """``memplan.channel_strips(gy, w2, ..., bd_update, b1_update, w1_update)``."""
    try:
        strips = ChannelStrips.of(call.arguments)
    except ValueError as error:
        raise call.fail(str(error)) from error
    (out,) = call.writes
    planes = _Planes.of(call, strips, out)
    updates = _updates(bind, call, strips, planes)
    masks = (
        _mask(strips.depthwise_bits, out.shape[0], planes.inner.shape),
        _mask(strips.expand_bits, out.shape[0], planes.outer.shape),
    )
    phantom = torch.zeros((), dtype=out.dtype).expand(1, 1, *planes.outer.shape)
    window = (strips.stride, strips.padding, strips.dilation)

    def run() -> None:
        # Views, but for integers and broadcast gradients.
        project = _real(strips.project, strips.project_scales).flatten(1)
        depthwise = _real(strips.depthwise, strips.depthwise_scales)
        expand = _real(strips.expand, strips.expand_scales).flatten(1)
        samples = [_Sample.of(strips, number, out) for number in range(out.shape[0])]
        for channel in range(depthwise.shape[0]):
            row = expand[channel].view(-1, 1, 1)
            for update in updates:
                update.gradient.zero_()
            for number, sample in enumerate(samples):
                column = project[:, channel]
                torch.mv(sample.gradient_by_pixel, column, out=planes.inner.view(-1))
                _apply(masks[0], number, channel, planes.inner)
                planes.add_to(0, planes.inner)
                gradient, _, _ = _backward(
                    planes.inner.view(1, 1, *planes.inner.shape), phantom,
                    depthwise[channel : channel + 1], None, *window, False, [0, 0], 1,
                    [True, False, False],
                )  # fmt: skip
                planes.outer.copy_(gradient[0, 0])
                _apply(masks[1], number, channel, planes.outer)
                planes.add_to(1, planes.outer)
                if sample.x is not None and planes.row is not None:
                    planes.row.addmv_(sample.x, planes.outer.view(-1))
                if channel == 0:
                    torch.mul(row, planes.outer, out=sample.out)
                else:
                    sample.out.addcmul_(row, planes.outer)
            for update in updates:
                update.run(channel)

    return run


def _real(weight: torch.Tensor, scales: torch.Tensor | None) -> torch.Tensor:
    if scales is None:
        return weight
    return weight.float().mul_(scales.view(-1, *[1] * (weight.dim() - 1)))


def _mask(bits: torch.Tensor | None, samples: int, plane: torch.Size) -> Mask:
    if bits is None:
        return None
    packed = bits.view(samples, -1).numpy()
    count = plane.numel()

    def passes(sample: int, channel: int) -> torch.Tensor:
        start = channel * count
        part = packed[sample, start // 8 : -(-(start + count) // 8)]
        first = start % 8
        unpacked = np.unpackbits(part, bitorder="little")[first : first + count]
        return torch.from_numpy(unpacked.view(bool)).view(plane)

    return passes


def _apply(mask: Mask, sample: int, channel: int, plane: torch.Tensor) -> None:
    if mask is not None:
        plane.masked_fill_(mask(sample, channel).logical_not_(), 0)


@dataclass(frozen=True, slots=True)
class _Planes:
    """What is there of one channel."""

    #: Gradients behind and before the depthwise convolution; they may share their bytes.
    inner: torch.Tensor
    outer: torch.Tensor
    #: A row of the expanding weight's gradient.
    row: torch.Tensor | None
    #: Of the two biases; None: not wanted.
    biases: tuple[torch.Tensor | None, torch.Tensor | None]

    @classmethod
    def of(cls, call: Call, strips: ChannelStrips, out: torch.Tensor) -> _Planes:
        """Place the planes in the workspace, and refuse operands that do not fit together."""
        kernel = strips.depthwise.shape[2], strips.depthwise.shape[3]
        size = out.shape[2], out.shape[3]
        inner = strips.window(kernel).output(size)
        channels = strips.depthwise.shape[0]
        if (
            tuple(strips.gy.shape[2:]) != inner
            or tuple(strips.project.shape[:2]) != (strips.gy.shape[1], channels)
            or tuple(strips.expand.shape[:2]) != (channels, out.shape[1])
            or (strips.x is not None and strips.x.shape[2:] != out.shape[2:])
        ):
            raise call.fail("gradient, weights and result do not fit together")
        width = 0 if strips.x is None else strips.x.shape[1]
        layout = Workspace.of(strips.window(kernel), size, width)
        needed = layout.elements * out.dtype.itemsize
        if call.workspace is None or call.workspace.numel() < needed:
            raise call.fail(f"its planes need {needed} bytes of workspace")
        space = call.workspace[:needed].view(out.dtype)
        plane = inner[0] * inner[1]
        biases = [
            None if update is None else torch.zeros(1, dtype=out.dtype)
            for update in (strips.depthwise_bias, strips.expand_bias)
        ]
        return cls(
            inner=space[layout.plane : layout.plane + plane].view(inner),
            outer=space[: size[0] * size[1]].view(size),
            row=space[layout.row : layout.row + width] if width else None,
            biases=(biases[0], biases[1]),
        )

    def add_to(self, bias: int, plane: torch.Tensor) -> None:
        total = self.biases[bias]
        if total is not None:
            total += plane.sum()


@dataclass(frozen=True, slots=True)
class _Sample:
    """One sample's operands."""

    #: (pixels, channels)
    gradient_by_pixel: torch.Tensor
    #: (channels, pixels)
    x: torch.Tensor | None
    out: torch.Tensor

    @classmethod
    def of(cls, strips: ChannelStrips, number: int, out: torch.Tensor) -> _Sample:
        x = None
        if strips.x is not None:
            x = strips.x[number].flatten(1)
            if strips.x_scale is not None and strips.x_zero_point is not None:
                x = dequantized(x, strips.x_scale, strips.x_zero_point)
        return cls(strips.gy[number].flatten(1).t(), x, out[number])


@dataclass(frozen=True, slots=True)
class _Update:
    """The update of one parameter, a channel at a time."""

    gradient: torch.Tensor
    #: Applies the gradient to a channel, and says so to whoever observes gradients.
    run: Callable[[int], None]


def _updates(bind: Kernel, call: Call, strips: ChannelStrips, planes: _Planes) -> list[_Update]:
    wanted = [
        (update, gradient)
        for update, gradient in (
            (strips.depthwise_bias, planes.biases[0]),
            (strips.expand_bias, planes.biases[1]),
            (strips.expand_weight, planes.row),
        )
        if update is not None and gradient is not None
    ]
    if len(wanted) != len(call.covered):
        raise call.fail(f"it has {len(wanted)} updates and covers {len(call.covered)}")
    return [
        _update(bind, call, update, gradient, covered.parameter, covered.mutates)
        for (update, gradient), covered in zip(wanted, call.covered, strict=True)
    ]


def _update(
    bind: Kernel,
    call: Call,
    update: CoveredUpdate,
    gradient: torch.Tensor,
    parameter: str,
    mutates: Sequence[torch.Tensor],
) -> _Update:
    channels = mutates[0].shape[0]
    shaped = gradient.view(1, *mutates[0].shape[1:])

    def bind_channel(channel: int) -> Run:
        def row_of(argument: Any) -> Any:
            if isinstance(argument, torch.Tensor) and argument.shape[:1] == (channels,):
                return argument[channel : channel + 1]
            return argument

        target, *states = (row_of(tensor) for tensor in mutates)
        rest = [row_of(argument) for argument in update.rest]
        one = replace(
            call,
            target=update.target,
            arguments=(target, shaped, *states, *rest),
            writes=(),
            mutates=(target, *states),
            covered=(),
            parameter=parameter,
            # The gradient of a channel is free once Adam has taken its moments.
            workspace=gradient.view(torch.uint8),
        )
        if update.target == "memplan.adam":
            return adam(one, count_step=channel == 0)
        return bind(one)

    runs = [bind_channel(channel) for channel in range(channels)]
    state, accumulates = call.state, update.target == "memplan.accumulate"

    def run(channel: int) -> None:
        observe = None if accumulates else state.on_gradient_rows
        if observe is not None:
            observe(parameter, channel, shaped)
        runs[channel]()

    return _Update(gradient, run)
