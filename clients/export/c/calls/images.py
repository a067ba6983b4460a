"""Images that convolutions go over, and how: what the makers of their calls share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memplan.clients.export.c.call import UnsupportedError
from memplan.clients.export.c.code import Code
from memplan.clients.export.c.views import Geometry, View

__all__ = [
    "Movement",
    "convolution_fields",
    "convolution_geometry",
    "flattened",
    "image",
    "is_flat",
    "missing",
    "pair",
]


@dataclass(frozen=True, slots=True)
class Movement:
    """How a convolution moves over its input, in two dimensions."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    transposed: bool
    groups: int

    @classmethod
    def of(cls, arguments: Any) -> Movement:
        """Return what six arguments in ATen's order mean."""
        stride, padding, dilation, transposed, _, groups = arguments
        return cls(pair(stride, 1), pair(padding, 0), pair(dilation, 1), transposed, groups)

    def is_pointwise(self, kernel: tuple[int, ...]) -> bool:
        """Tell whether it is one matrix product per sample."""
        return (
            self.groups == 1
            and kernel == (1, 1)
            and self.stride == (1, 1)
            and self.padding == (0, 0)
        )


def convolution_fields(
    x: View, y: View, kernel: tuple[int, int], movement: Movement, outputs: int
) -> dict[str, object]:
    """Return the fields of a ``memplan_convolution`` from ``x`` to ``y``, of any strides."""
    return {
        "samples": x.shape[0],
        "inputs": x.shape[1], "input_height": x.shape[2], "input_width": x.shape[3],
        "outputs": outputs, "output_height": y.shape[2], "output_width": y.shape[3],
        "kernel_height": kernel[0], "kernel_width": kernel[1],
        "stride_y": movement.stride[0], "stride_x": movement.stride[1],
        "padding_y": movement.padding[0], "padding_x": movement.padding[1],
        "dilation_y": movement.dilation[0], "dilation_x": movement.dilation[1],
        "groups": movement.groups,
        "input": x.strides, "output": y.strides,
    }  # fmt: skip


def convolution_geometry(
    code: Code,
    hint: str,
    x: View,
    y: View,
    kernel: tuple[int, int],
    movement: Movement,
    outputs: int,
) -> str:
    """Return the constant of a convolution of images ``x`` into images ``y``, with any strides."""
    fields = convolution_fields(x, y, kernel, movement, outputs)
    return code.struct("memplan_convolution", f"{hint}_geometry", fields)


def missing(view: View, chosen: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return the channels to pick from ``view``; None if it has these and no others."""
    return None if chosen is None or view.shape[1] == len(chosen) else chosen


def pair(sizes: Any, default: int) -> tuple[int, int]:
    """Return what is given for rows and columns; a sequence has ``default`` along the rows."""
    if len(sizes) > 2:
        raise UnsupportedError(f"windows of {len(sizes)} dimensions")
    return (default, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[-1])


def image(view: View) -> View:
    """Return a view with height and width; a sequence has height 1."""
    if len(view.shape) == 4:
        return view
    if len(view.shape) != 3:
        raise UnsupportedError(f"an operand of shape {view.shape}")
    (a, b, c), (s, t, u), split = view.shape, view.strides, view.split
    geometry = Geometry((a, b, 1, c), (s, t, 0, u), view.geometry.offset)
    return View(view.base, view.dtype, geometry, split, view.skip)


def is_flat(view: View) -> bool:
    """Tell whether the pixels of a plane are one sequence."""
    _, _, height, width = view.shape
    _, _, row, pixel = view.strides
    return height == 1 or row == width * pixel or (width == 1 and pixel <= 1)


def flattened(view: View) -> View:
    """Return (samples, channels, pixels) of a flat image."""
    n, c, height, width = view.shape
    s, t, row, pixel = view.strides
    step = row if width == 1 and height > 1 else pixel
    geometry = Geometry((n, c, height * width), (s, t, step), view.geometry.offset)
    return View(view.base, view.dtype, geometry, view.split, view.skip)
