"""Max-pools by ATen's own indices, from which positions are computed and back."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["max_pool_input_gradient", "max_pool_positions"]

aten = torch.ops.aten


def max_pool_positions(at: object, x: Any, *geometry: Any) -> torch.Tensor:
    kernel, stride, padding, dilation, _ = geometry
    pool = aten.max_pool2d_with_indices if len(kernel) == 2 else aten.max_pool3d_with_indices
    _, rest = pool(x, *geometry)
    positions = torch.zeros_like(rest)
    factor = 1
    for dim in reversed(range(len(kernel))):
        axis = dim - len(kernel)
        size = x.shape[axis]
        outputs = torch.arange(rest.shape[axis]).view([-1] + [1] * (-axis - 1))
        offset = rest % size - outputs * stride[dim] + padding[dim]
        assert not (offset % dilation[dim]).any()
        positions += offset // dilation[dim] * factor
        rest, factor = rest // size, factor * kernel[dim]
    return positions.to(torch.uint8)


def max_pool_input_gradient(
    at: object, gy: Any, positions: Any, shape: Any, *geometry: Any
) -> torch.Tensor:
    kernel, stride, padding, dilation, _ = geometry
    backward = (
        aten.max_pool2d_with_indices_backward
        if len(kernel) == 2
        else aten.max_pool3d_with_indices_backward
    )
    rest, indices, factor = positions.long(), torch.zeros_like(positions, dtype=torch.int64), 1
    for dim in reversed(range(len(kernel))):
        axis = dim - len(kernel)
        outputs = torch.arange(gy.shape[axis]).view([-1] + [1] * (-axis - 1))
        element = outputs * stride[dim] - padding[dim] + rest % kernel[dim] * dilation[dim]
        assert ((element >= 0) & (element < shape[axis])).all()
        indices += element * factor
        rest, factor = rest // kernel[dim], factor * shape[axis]
    channels_last = positions.dim() == 4 and not positions.is_contiguous()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    like = gy.new_full(tuple(shape), float("nan")).contiguous(memory_format=layout)
    result = backward(gy.contiguous(memory_format=layout), like, *geometry, indices)
    assert isinstance(result, torch.Tensor)
    return result
