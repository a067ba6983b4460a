"""Convolutions and their two gradients.

ATen has no convolution into given bytes.  A 1x1 convolution of stride 1 is a matrix product per
sample, which has one; every other is computed outside of the arena and copied in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from memplan.clients.executors.torch.kernels.aten import generic
from memplan.clients.executors.torch.kernels.call import Call, Run
from memplan.clients.executors.torch.kernels.selection import with_channels

__all__ = ["Geometry", "conv_input_gradient", "conv_weight_gradient", "convolution"]

_backward = torch.ops.aten.convolution_backward.default


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a convolution moves over its input."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    transposed: bool
    output_padding: list[int]
    groups: int

    @classmethod
    def of(cls, arguments: Any) -> Geometry:
        """Return the geometry that six arguments in ATen's order mean."""
        return cls(*arguments)

    def is_pointwise(self, kernel: Any, groups: int) -> bool:
        """Tell whether a convolution is one matrix product per sample."""
        return (
            groups == 1
            and not self.transposed
            and all(size == 1 for size in kernel)
            and all(step == 1 for step in self.stride)
            and not any(self.padding)
        )


def convolution(call: Call) -> Run:
    """``aten.convolution(x, w, bias, stride, padding, dilation, transposed, ...)``."""
    x, w, bias = call.arguments[:3]
    geometry = Geometry.of(call.arguments[3:])
    (out,) = call.writes
    if not geometry.is_pointwise(w.shape[2:], geometry.groups) or not _dense(x, w, out):
        return generic(call)
    samples = x.shape[0]
    x, out = x.view(samples, x.shape[1], -1), out.view(samples, out.shape[1], -1)
    w = w.view(w.shape[:2]).expand(samples, -1, -1)
    if bias is None:
        return partial(torch.bmm, w, x, out=out)
    return partial(torch.baddbmm, bias.view(1, -1, 1), w, x, out=out)


def conv_input_gradient(call: Call) -> Run:
    """``memplan.conv_input_gradient(gy, w, input_shape, ...)``."""
    gy, w, input_shape = call.arguments[:3]
    geometry = Geometry.of(call.arguments[3:])
    (out,) = call.writes
    if geometry.is_pointwise(w.shape[2:], geometry.groups) and _dense(gy, w, out):
        samples = gy.shape[0]
        w = w.view(w.shape[:2]).t().expand(samples, -1, -1)
        gy = gy.view(samples, gy.shape[1], -1)
        return partial(torch.bmm, w, gy, out=out.view(samples, out.shape[1], -1))
    x = _phantom(gy, input_shape)

    def run() -> None:
        out.copy_(_gradients(gy, x, w, geometry, geometry.groups, (True, False))[0])

    return run


def conv_weight_gradient(call: Call) -> Run:
    """``memplan.conv_weight_gradient(gy, x, weight_shape, ...)``, whole or a slice of it."""
    gy, x, weight_shape = call.arguments[:3]
    geometry = Geometry.of(call.arguments[3:])
    (out,) = call.writes
    # Where the weight's two dimensions of channels are found in gy and x.
    output_dim = 1 if geometry.transposed else 0
    inputs = weight_shape[0] if geometry.transposed else weight_shape[1] * geometry.groups
    depthwise = geometry.groups > 1 and weight_shape[0] == inputs == geometry.groups
    channels = call.channels

    if call.axis is None:
        return _bind(gy, x, geometry, geometry.groups, out)
    if depthwise:

        def bind_both(gy: torch.Tensor, x: torch.Tensor) -> Run:
            return _bind(gy, x, geometry, len(channels), out)

        def bind_gy(gy: torch.Tensor) -> Run:
            if x.shape[1] == len(channels):
                return bind_both(gy, x)
            return with_channels(x, 1, channels, lambda x: bind_both(gy, x))

        return with_channels(gy, 1, channels, bind_gy)
    if geometry.groups > 1:
        return _grouped(call, gy, x, geometry)
    if call.axis == "output":
        if gy.shape[1] == out.shape[output_dim]:
            return _bind(gy, x, geometry, 1, out)
        return with_channels(gy, 1, channels, lambda gy: _bind(gy, x, geometry, 1, out))
    if x.shape[1] == out.shape[1 - output_dim]:
        return _bind(gy, x, geometry, 1, out)
    return with_channels(x, 1, channels, lambda x: _bind(gy, x, geometry, 1, out))


def _grouped(call: Call, gy: torch.Tensor, x: torch.Tensor, geometry: Geometry) -> Run:
    """Slice of a grouped convolution along dimension 0: group by group."""
    if geometry.transposed or call.axis != "output":
        raise call.fail("a grouped convolution can be cut along its output channels only")
    (out,) = call.writes
    group_out, group_in = gy.shape[1] // geometry.groups, x.shape[1] // geometry.groups
    runs, done = [], 0
    for group in range(geometry.groups):
        chosen = [c for c in call.channels if c // group_out == group]
        if chosen:
            part = out.narrow(0, done, len(chosen))
            inputs = x.narrow(1, group * group_in, group_in)
            done += len(chosen)

            def bind(gy: torch.Tensor, x: torch.Tensor = inputs, part: torch.Tensor = part) -> Run:
                return _bind(gy, x, geometry, 1, part)

            runs.append(with_channels(gy, 1, chosen, bind))

    def run() -> None:
        for one in runs:
            one()

    return run


def _bind(
    gy: torch.Tensor, x: torch.Tensor, geometry: Geometry, groups: int, out: torch.Tensor
) -> Run:
    """Gradient of a weight of the shape of ``out``."""
    if geometry.is_pointwise(out.shape[2:], groups) and _dense(gy, x, out):
        # One product per sample, summed in place.
        gy, x = gy.flatten(2), x.flatten(2)
        total = out.view(out.shape[:2])
        runs = [
            partial(torch.addmm, total, g, a.t(), beta=0 if n == 0 else 1, out=total)
            for n, (g, a) in enumerate(zip(gy.unbind(0), x.unbind(0), strict=True))
        ]

        def run_products() -> None:
            for one in runs:
                one()

        return run_products
    weight = _phantom(gy, out.shape)

    def run() -> None:
        out.copy_(_gradients(gy, x, weight, geometry, groups, (False, True))[1])

    return run


def _gradients(
    gy: torch.Tensor,
    x: torch.Tensor,
    w: torch.Tensor,
    geometry: Geometry,
    groups: int,
    wanted: tuple[bool, bool],
) -> Any:
    return _backward(
        gy, x, w, None, geometry.stride, geometry.padding, geometry.dilation,
        geometry.transposed, geometry.output_padding, groups, [*wanted, False],
    )  # fmt: skip


def _phantom(like: torch.Tensor, shape: Any) -> torch.Tensor:
    """Return a tensor of a shape without bytes: one zero, expanded."""
    return torch.zeros((), dtype=like.dtype).expand(tuple(shape))


def _dense(*tensors: torch.Tensor) -> bool:
    # Channels may be a slice of a larger tensor; samples and pixels may not be strided.
    return all(_pixels_are_dense(tensor) for tensor in tensors)


def _pixels_are_dense(tensor: torch.Tensor) -> bool:
    expected = 1
    for size, stride in zip(reversed(tensor.shape[1:]), reversed(tensor.stride()[1:]), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
