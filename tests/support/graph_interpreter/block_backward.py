"""The backward pass of an inverted residual block, its wide gradients whole."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["block_gradients"]


def block_gradients(arguments: list[Any], shape: torch.Size) -> list[torch.Tensor]:
    """Return the input's gradient, then those of what is updated, in the order of the updates."""
    gy, w2, scales2, bits2, wd, scales_d, bits1, w1, scales1, x, scale, zero_point = arguments[:12]
    stride, padding, dilation, *updates = arguments[12:]
    w2, wd, w1 = (_real(w, s) for w, s in ((w2, scales2), (wd, scales_d), (w1, scales1)))
    inner = _masked(torch.einsum("oc,nohw->nchw", w2[:, :, 0, 0], gy), bits2)
    # The gradient of a depthwise convolution's input is a transposed one.
    channels, window = wd.shape[0], wd.shape[2:]
    rest = [
        size - (n - 1) * s + 2 * p - d * (k - 1) - 1
        for size, n, s, p, d, k in zip(
            shape[2:], inner.shape[2:], stride, padding, dilation, window, strict=True
        )
    ]
    outer = torch.nn.functional.conv_transpose2d(
        inner, wd, None, stride, padding, rest, channels, dilation
    )
    outer = _masked(outer, bits1)
    found = [torch.einsum("ci,nchw->nihw", w1[:, :, 0, 0], outer)]
    if updates[0] is not None:
        found.append(inner.sum((0, 2, 3)))
    if updates[1] is not None:
        found.append(outer.sum((0, 2, 3)))
    if updates[2] is not None:
        real = x if scale is None else (x.float() - zero_point) * scale
        found.append(torch.einsum("nchw,nihw->ci", outer, real)[:, :, None, None])
    return found


def _real(w: torch.Tensor, scales: torch.Tensor | None) -> torch.Tensor:
    return w if scales is None else w.float() * scales.view(-1, 1, 1, 1)


def _masked(wide: torch.Tensor, bits: torch.Tensor | None) -> torch.Tensor:
    if bits is None:
        return wide
    samples = wide.shape[0]
    ones = (bits.view(samples, -1, 1) >> torch.arange(8)) & 1
    return wide * ones.reshape(samples, -1)[:, : wide[0].numel()].view(wide.shape)
