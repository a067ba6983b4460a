"""Max-pools that keep the position of each maximum in its window instead of its index.

Everything is bit for bit what ATen gives on a CPU, but for the payload of NaN.  Of equal values the
first in row-major order is the maximum, of several NaN the last: so windows are scanned backwards,
and what is not smaller takes the place unless NaN has it.  Gradients of overlapping windows add up
in the order of the outputs, which is the descending order of positions.

One step handles one position of all windows at once, in blocks of about ``CHUNK_ELEMENTS`` outputs:
beside the arena torch allocates at most two elements and two bytes per output of one block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import torch

from memplan.clients.executors.torch.kernels.aten import generic, resolve
from memplan.clients.executors.torch.kernels.call import Call, Run

__all__ = ["CHUNK_ELEMENTS", "max_pool", "max_pool_input_gradient", "max_pool_positions"]

CHUNK_ELEMENTS = 32_768
#: Positions that a byte holds; larger windows are ATen's own business.
_LARGEST_WINDOW = 256

_POOLS = {2: "aten.max_pool2d.default", 3: "aten.max_pool3d.default"}

_Index = tuple[slice, ...]
#: A position in the window, the outputs whose windows have an element there, these elements.
_Step = tuple[int, _Index, _Index]


def max_pool(call: Call) -> Run:
    """``aten.max_pool2d`` and ``aten.max_pool3d``: the output alone, straight into the arena."""
    x, *geometry = call.arguments
    (out,) = call.writes
    plain = len(geometry) == 5 and math.prod(geometry[0]) <= _LARGEST_WINDOW
    if not plain or not (x.is_floating_point() or x.dtype == torch.int8):
        return generic(call)
    blocks = _blocks(call, x.shape, out.shape, geometry)

    def run() -> None:
        for block, steps in blocks:
            _scan(x, out[block], steps, None)

    return run


def max_pool_positions(call: Call) -> Run:
    """``memplan.max_pool_positions(x, kernel, stride, padding, dilation, ceil_mode)``."""
    x, *geometry = call.arguments
    (positions,) = call.writes
    blocks = _blocks(call, x.shape, positions.shape, geometry)

    def run() -> None:
        for block, steps in blocks:
            part = positions[block]
            _scan(x, torch.empty(part.shape, dtype=x.dtype), steps, part)

    return run


def max_pool_input_gradient(call: Call) -> Run:
    """``memplan.max_pool_input_gradient(gy, positions, input_shape, kernel, ..., ceil_mode)``."""
    gy, positions, input_shape, *geometry = call.arguments
    (out,) = call.writes
    blocks = _blocks(call, input_shape, gy.shape, geometry)
    zero = torch.zeros((), dtype=gy.dtype)

    def run() -> None:
        out.zero_()
        for block, steps in blocks:
            gradients, places = gy[block], positions[block]
            for position, outputs, inputs in steps:
                chosen = places[outputs] == position
                out[inputs] += torch.where(chosen, gradients[outputs], zero)

    return run


def _scan(
    x: torch.Tensor, largest: torch.Tensor, steps: list[_Step], positions: torch.Tensor | None
) -> None:
    """Fill ``largest`` with the maximum of each window, and ``positions`` with where it stands."""
    least = -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    largest.fill_(least)
    for position, outputs, inputs in steps:
        values, before = x[inputs], largest[outputs]
        kept = values < before
        kept |= before.isnan()
        torch.where(kept, before, values, out=before)
        if positions is not None:
            positions[outputs].masked_fill_(kept.logical_not_(), position)


def _blocks(
    call: Call, input_shape: Any, output_shape: Any, geometry: list[Any]
) -> list[tuple[_Index, list[_Step]]]:
    """Return parts of the output, in row-major order, with the steps of each, last position first.

    Raises:
        ModelError: there is no such pool, or its output has another shape.
    """
    kernel = geometry[0]
    pool = _POOLS.get(len(kernel))
    if pool is None or any(len(sizes) != len(kernel) for sizes in geometry[:4]):
        raise call.fail(f"windows have 2 or 3 dimensions; these sizes are {geometry[:4]}")
    if math.prod(kernel) > _LARGEST_WINDOW:
        raise call.fail(f"a window has at most {_LARGEST_WINDOW} positions; this one is {kernel}")
    try:
        expected = resolve(pool)(torch.empty(tuple(input_shape), device="meta"), *geometry).shape
    except RuntimeError as error:
        raise call.fail(str(error).splitlines()[0]) from error
    if expected != tuple(output_shape):
        raise call.fail(
            f"its result has shape {tuple(expected)}, the graph says {tuple(output_shape)}"
        )
    last = len(output_shape) - len(kernel)  # windows of one row share elements, so it stays whole
    windows = list(enumerate(product(*map(range, kernel))))[::-1]
    blocks = []
    for ranges in _parts([range(size) for size in output_shape], last):
        steps = []
        for position, place in windows:
            step = _step(ranges, place, input_shape, geometry)
            if step is not None:
                steps.append((position, *step))
        blocks.append((tuple(slice(part.start, part.stop) for part in ranges), steps))
    return blocks


def _parts(ranges: list[range], last: int, dim: int = 0) -> Iterator[list[range]]:
    """Cut along dimensions up to ``last`` until a part has at most ``CHUNK_ELEMENTS`` elements."""
    count = math.prod(map(len, ranges))
    if count <= CHUNK_ELEMENTS or dim > last:
        yield ranges
        return
    length = len(ranges[dim])
    size = max(1, length * CHUNK_ELEMENTS // count)
    for start in range(0, length, size):
        part = ranges[dim][start : start + size]
        yield from _parts([*ranges[:dim], part, *ranges[dim + 1 :]], last, dim + 1)


def _step(
    ranges: list[range], place: tuple[int, ...], input_shape: Any, geometry: list[Any]
) -> tuple[_Index, _Index] | None:
    """Return the outputs, within a block, whose windows have an element here, and the elements.

    None if at this place all windows of the block have padding.
    """
    leading = len(ranges) - len(place)
    outputs = [slice(None)] * leading
    inputs = [slice(part.start, part.stop) for part in ranges[:leading]]
    for index, (part, offset) in enumerate(zip(ranges[leading:], place, strict=True)):
        stride, padding, dilation = (sizes[index] for sizes in geometry[1:4])
        shift = offset * dilation - padding  # element = output * stride + shift
        first = max(part.start, -(shift // stride))
        stop = min(part.stop, (input_shape[leading + index] - 1 - shift) // stride + 1)
        if first >= stop:
            return None
        outputs.append(slice(first - part.start, stop - part.start))
        inputs.append(slice(first * stride + shift, (stop - 1) * stride + shift + 1, stride))
    return tuple(outputs), tuple(inputs)
