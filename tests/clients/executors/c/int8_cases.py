"""Calls on integers: convolutions, sums, means, masks, gradients against integers, updates."""

from __future__ import annotations

from typing import Any

import torch

from memplan.clients.export.c.call import RUNNING
from memplan.ir.fixed_point import fixed_point, fixed_point_sum
from memplan.ir.request import LayerUpdate
from tests.clients.executors.c.convolution_cases import SHAPES
from tests.clients.executors.c.kernel_checks import Cases, cut, randn
from tests.clients.executors.c.kernel_program import Case, PartlyUpdated

__all__ = ["int8_cases"]

_GENERATOR = torch.Generator().manual_seed(8)
_PLAIN: tuple[Any, ...] = ([1, 1], [1, 1], [1, 1])
_POINT: tuple[Any, ...] = ([1, 1], [0, 0], [1, 1])

#: As ``convolution_cases.SHAPES``: what the ways of the int8 kernels differ in.
_MORE: dict[str, tuple[Any, ...]] = {
    "pointwise of many channels": ((1, 19, 3, 7), (7, 19, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    "pointwise of few pixels": ((2, 8, 1, 3), (4, 8, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    "pointwise with padding": ((1, 5, 4, 6), (3, 5, 1, 1), (1, 1), (1, 1), (1, 1), 1),
    "pointwise in groups": ((1, 8, 5, 5), (6, 4, 1, 1), (1, 1), (0, 0), (1, 1), 2),
    "wide": ((1, 6, 5, 21), (4, 6, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    "seven by seven": ((1, 3, 14, 18), (3, 1, 7, 7), (1, 1), (3, 3), (1, 1), 3),
    "nine by nine": ((1, 2, 12, 13), (2, 1, 9, 9), (1, 1), (4, 4), (1, 1), 2),
    "dilated depthwise": ((1, 4, 11, 15), (4, 1, 3, 3), (1, 2), (2, 2), (2, 2), 4),
    "wide depthwise": ((1, 3, 6, 22), (3, 1, 3, 3), (1, 1), (1, 1), (1, 1), 3),
    "strided wide depthwise": ((1, 3, 9, 23), (3, 1, 3, 3), (2, 2), (1, 1), (1, 1), 3),
    "stem": ((1, 3, 16, 24), (8, 3, 3, 3), (2, 2), (1, 1), (1, 1), 1),
}


def integers(*shape: int, most: int = 127, low: int | None = None) -> torch.Tensor:
    """Return uniform int8, low to most; without ``low``, as weights have them."""
    return torch.randint(-most if low is None else low, most + 1, shape, generator=_GENERATOR).to(
        torch.int8
    )


def image(*shape: int) -> torch.Tensor:
    return integers(*shape, low=-128)


def scales(count: int) -> torch.Tensor:
    return torch.rand(count, generator=_GENERATOR) * 0.02 + 0.001


def factors(count: int, products: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return multipliers and shifts that bring sums of this many products into int8."""
    size = 60.0 / (70.0 * 70.0 * products**0.5)
    chosen = [fixed_point(float(size * (0.5 + f))) for f in torch.rand(count, generator=_GENERATOR)]
    return (
        torch.tensor([multiplier for multiplier, _ in chosen], dtype=torch.int32),
        torch.tensor([shift for _, shift in chosen], dtype=torch.int8),
    )


def convolution(
    x: torch.Tensor, w: Any, movement: tuple[Any, ...], groups: int, *, bias: bool = True
) -> Case:
    value = w.value if isinstance(w, PartlyUpdated) else w
    outputs, products = value.shape[0], value[0].numel()
    start = torch.randint(-9000, 9000, (outputs,), generator=_GENERATOR).to(torch.int32)
    around: tuple[Any, ...] = (*movement, False, [0] * len(movement[0]), groups)
    shape = torch.convolution(x.float(), value.float(), None, *around).shape
    return Case(
        "memplan.conv_int8",
        (x, w, start if bias else None, *movement, groups, *factors(outputs, products),
         -17, 9, -110, 120),
        (tuple(shape),), dtype=torch.int8,
    )  # fmt: skip


def convolution_cases() -> Cases:
    cases = {}
    for name, (x_shape, w_shape, *rest, groups) in {**SHAPES, **_MORE}.items():
        movement: tuple[Any, ...] = tuple(map(list, rest))
        x, w = image(*x_shape), integers(*w_shape)
        forward = convolution(x, w, movement, groups, bias=name != "strided")
        cases[name] = forward
        gy = randn(*forward.shapes[0])
        around = (*movement, False, [0] * len(movement[0]), groups)
        cases[f"{name}, input gradient"] = Case(
            "memplan.conv_input_gradient_int8w",
            (gy, w, list(x_shape), *around, scales(w_shape[0])), (x_shape,),
        )  # fmt: skip
        cases[f"{name}, weight gradient"] = Case(
            "memplan.conv_weight_gradient_int8x",
            (gy, x, list(w_shape), *around, 0.013, -17), (w_shape,),
        )  # fmt: skip
    return cases


def slice_cases() -> Cases:
    """Weights in two pieces, and gradients of slices."""
    cases: Cases = {}
    x, gy = image(2, 6, 7, 8), randn(2, 5, 7, 8)
    deep: tuple[Any, ...] = ([2, 2], [1, 1], [1, 1])
    deep_gy = randn(2, 6, 4, 4)
    for axis, dim, channels in (("output", 0, (0, 3)), ("input", 1, (1, 2, 5))):
        for size, movement in ((3, _PLAIN), (1, _POINT)):
            weight = PartlyUpdated(integers(5, 6, size, size), dim, channels)
            name = f"{size} x {size} cut along {axis}"
            cases[name] = convolution(x, weight, movement, 1)
            cases[f"{name}, input gradient"] = Case(
                "memplan.conv_input_gradient_int8w",
                (gy, weight, [2, 6, 7, 8], *movement, False, [0, 0], 1, scales(5)),
                ((2, 6, 7, 8),),
            )  # fmt: skip
    wide = PartlyUpdated(integers(9, 22, 1, 1), 1, (0, 3, 4, 5, 6, 7, 12, 21))
    cases["wide pointwise cut along input"] = convolution(image(1, 22, 5, 5), wide, _POINT, 1)
    split = PartlyUpdated(integers(6, 1, 3, 3), 0, (0, 5))
    cases["depthwise, cut"] = convolution(x, split, deep, 6)
    cases["depthwise, cut, input gradient"] = Case(
        "memplan.conv_input_gradient_int8w",
        (deep_gy, split, [2, 6, 7, 8], *deep, False, [0, 0], 6, scales(6)), ((2, 6, 7, 8),),
    )  # fmt: skip
    gathered = x[:, [0, 2, 3]].contiguous()

    def gradient(
        name: str, source: torch.Tensor, size: int, shape: tuple[int, ...], update: LayerUpdate
    ) -> None:
        around = (*(_PLAIN if size == 3 else _POINT), False, [0, 0], 1)
        cases[f"{name} of {size} x {size}"] = Case(
            "memplan.conv_weight_gradient_int8x",
            (gy, source, [5, 6, size, size], *around, 0.02, 5),
            ((*shape, size, size),), update=update,
        )  # fmt: skip

    for size in (3, 1):
        gradient("outputs", x, size, (2, 6), cut("output", 1, 4))
        gradient("neighbouring outputs", x, size, (3, 6), cut("output", 1, 2, 3))
        gradient("inputs, gathered", gathered, size, (5, 3), cut("input", 0, 2, 3))
        gradient("inputs, whole", x, size, (5, 3), cut("input", 0, 2, 3))
    for name, source in (("gathered", gathered), ("whole", x)):
        cases[f"depthwise channels, {name}"] = Case(
            "memplan.conv_weight_gradient_int8x",
            (deep_gy, source, [6, 1, 3, 3], *deep, False, [0, 0], 6, 0.02, 5), ((3, 1, 3, 3),),
            update=cut("input", 0, 2, 3),
        )  # fmt: skip
    cases["outputs in groups"] = Case(
        "memplan.conv_weight_gradient_int8x",
        (randn(1, 4, 7, 8), x[:1].clone(), [4, 3, 3, 3], *_PLAIN, False, [0, 0], 2, 0.02, 5),
        ((3, 3, 3, 3),), update=cut("output", 0, 2, 3),
    )  # fmt: skip
    return cases


def view_cases() -> Cases:
    """Operands that are views, as networks have them."""
    spread = randn(2, 5).view(2, 5, 1, 1).expand(2, 5, 4, 4)
    part = image(2, 9, 4, 4)[:, 3:9]
    cases = {"part of channels": convolution(part, integers(5, 6, 3, 3), _PLAIN, 1)}
    cases["part of channels, pointwise"] = convolution(part, integers(5, 6, 1, 1), _POINT, 1)
    for size, movement in ((3, _PLAIN), (1, _POINT)):
        around = (*movement, False, [0, 0], 1)
        w = integers(5, 6, size, size)
        cases[f"{size} x {size}, input gradient of what is expanded"] = Case(
            "memplan.conv_input_gradient_int8w",
            (spread, w, [2, 6, 4, 4], *around, scales(5)), ((2, 6, 4, 4),),
        )  # fmt: skip
        cases[f"{size} x {size}, weight gradient of what is expanded"] = Case(
            "memplan.conv_weight_gradient_int8x",
            (spread, part, [5, 6, size, size], *around, 0.1, -3), ((5, 6, size, size),),
        )  # fmt: skip
    cases["gradient by range, expanded"] = Case(
        "memplan.range_backward", (spread, image(2, 5, 4, 4), -90, 100), ((2, 5, 4, 4),)
    )
    return cases


def rescaling_cases() -> Cases:
    """One output channel for each kind of factor: shifts of 1 to 62, ties, both limits."""
    pairs = [fixed_point(f) for f in (2.0**28, 1.5, 1.0, 0.75, 0.5, 0.25, 1e-3, 2**-20, 1e-30, 0)]
    pairs += [(2**30, 32), (2**31 - 1, 33), (2**30, 31), (1, 1), (1, 62), (2**31 - 1, 62)]
    count = len(pairs)
    multipliers = torch.tensor([m for m, _ in pairs], dtype=torch.int32)
    shifts = torch.tensor([s for _, s in pairs], dtype=torch.int8)
    x = image(1, 1, 1, 256)
    w = torch.ones(count, 1, 1, 1, dtype=torch.int8)
    cases = {}
    for name, start in (("near zero", 0), ("high", 2**30), ("low", -(2**30))):
        bias = torch.full((count,), start, dtype=torch.int32)
        cases[f"factors, sums {name}"] = Case(
            "memplan.conv_int8",
            (x, w, bias, *_POINT, 1, multipliers, shifts, 0, -3, -128, 127),
            ((1, count, 1, 256),), dtype=torch.int8,
        )  # fmt: skip
    return cases


def element_cases() -> Cases:
    x, y, gy = image(2, 6, 5, 7), image(2, 6, 5, 7), randn(2, 6, 5, 7)
    shape = (2, 6, 5, 7)
    (a, b), shift = fixed_point_sum([0.7, 0.31])
    reals = torch.cat([3 * randn(95), torch.arange(-2.5, 3, 0.5), torch.tensor([1e30, -1e30])])
    mean = fixed_point(0.9 / 35)
    window = fixed_point(1.2 / 6)
    eight: dict[str, Any] = {"dtype": torch.int8}
    bits: dict[str, Any] = {"dtype": torch.uint8}
    three = [[3, 3], [2, 2], [1, 1], [1, 1], False]
    return {
        "sum": Case(
            "memplan.add_int8", (x, y, 4, -9, a, b, shift, 11, -120, 100), (shape,), **eight
        ),
        "sum with one row": Case(
            "memplan.add_int8", (x, y[:1, :1, :, :1], 4, -9, a, b, shift, 11, -128, 127), (shape,),
            **eight,
        ),
        "quantize": Case("memplan.quantize", (reals, 0.02, -7, -128, 127), ((108,),), **eight),
        "quantize ties": Case("memplan.quantize", (reals, 1.0, 3, -100, 90), ((108,),), **eight),
        "dequantize": Case("memplan.dequantize", (x, 0.0137, -7), (shape,)),
        "mean": Case(
            "memplan.mean_int8", (x, [2, 3], False, *mean, 12, -5, -128, 127), ((2, 6),), **eight
        ),
        "mean over channels": Case(
            "memplan.mean_int8", (x, [1], True, *fixed_point(1 / 5), -30, 7, -90, 90),
            ((2, 1, 5, 7),), **eight,
        ),
        "average": Case(
            "memplan.avg_pool_int8", (x, [3, 2], [2, 2], [0, 0], *window, 12, -5, -128, 127),
            ((2, 6, 2, 3),), **eight,
        ),
        "average, padded": Case(
            "memplan.avg_pool_int8", (x, [3, 3], [1, 2], [1, 1], *window, 12, -5, -128, 127),
            ((2, 6, 5, 4),), **eight,
        ),
        "maximum": Case("aten.max_pool2d.default", (x, *three), ((2, 6, 3, 4),), **eight),
        "maximum, dilated": Case(
            "aten.max_pool2d.default", (x, [2, 2], [1, 2], [0, 1], [3, 2], False),
            ((2, 6, 2, 4),), **eight,
        ),
        "positions": Case(
            "memplan.max_pool_positions", (x.clamp(-3, 3), *three), ((2, 6, 3, 4),), **bits
        ),
        "lowest only": Case(
            "aten.max_pool2d.default", (torch.full_like(x, -128), *three), ((2, 6, 3, 4),), **eight
        ),
        "padding": Case(
            "aten.constant_pad_nd.default", (x, [1, 2, 0, 1], -9), ((2, 6, 6, 10),), **eight
        ),
        "copy": Case("aten.clone.default", (x.permute(0, 2, 3, 1),), ((2, 5, 7, 6),), **eight),
        "gathered": Case(
            "memplan.gather_channels", (x, 1), ((2, 3, 5, 7),), update=cut("input", 0, 2, 5),
            **eight,
        ),
        "bits": Case("memplan.range_bits", (x[:, :1].clone(), -60, 70), ((10,),), **bits),
        "bits at the limits": Case(
            "memplan.range_bits", (x.clamp(-2, 2)[:, :1].clone(), -2, 2), ((10,),), **bits
        ),
        "bits without a limit": Case("memplan.range_bits", (x, None, 70), ((54,),), **bits),
        "gradient by range": Case("memplan.range_backward", (gy, x.clamp(-9, 9), -9, 9), (shape,)),
    }  # fmt: skip


def update_cases() -> Cases:
    cases: Cases = {}
    unit = scales(5)
    for scaling in (True, False):
        # Steps of some units either way, and one far beyond the limits.
        size = 2.0 if scaling else 5e5
        label = "aware" if scaling else "plain"
        for dtype, factor in ((torch.int8, 1.0), (torch.int32, 0.02)):
            g = randn(5, 4) * (0.02 if scaling else 1.0)
            g[0, 0], g[1, 1], g[2, 2] = 1e20, -1e20, 0.0
            w = integers(5, 4).to(dtype) * (1 if dtype == torch.int8 else 100_003)
            name = f"{label} {'weights' if dtype == torch.int8 else 'biases'}"
            cases[name] = Case(
                "memplan.sgd_int8", (w, g, size, unit, factor, scaling), mutates=(w,)
            )
    ties = integers(5, 9, most=100)
    halves = (torch.arange(45, dtype=torch.float32).view(5, 9) - 22) / 2
    cases["ties go to the even"] = Case(
        "memplan.sgd_int8", (ties, halves, 1.0, torch.ones(5), 1.0, True), mutates=(ties,)
    )
    chosen = integers(2, 4)
    cases["rows that are chosen"] = Case(
        "memplan.sgd_int8", (chosen, randn(2, 4) * 0.2, 1.0, unit, 1.0, True), mutates=(chosen,),
        update=cut("output", 1, 4),
    )  # fmt: skip
    gy, x = randn(2, 5, 6, 7), image(2, 4, 6, 7)
    around = (*_PLAIN, False, [0, 0], 1, 0.01, -12)

    def fused(name: str, shape: tuple[int, ...], rows: int, source: Any, **options: Any) -> None:
        w = integers(*shape)
        row_bytes = 4 * w[0].numel()
        cases[f"fused, {name}"] = Case(
            "memplan.fused",
            ("memplan.sgd_int8", "memplan.conv_weight_gradient_int8x",
             (w, RUNNING, 0.005, unit, 1.0, True), (gy, source, [5, 4, 3, 3], *around)),
            mutates=(w,), workspace_bytes=rows * row_bytes + 8, **options,
        )  # fmt: skip

    for rows, label in ((1, "one row"), (2, "rows"), (5, "whole")):
        fused(f"{label} at once", (5, 4, 3, 3), rows, x)
    fused("outputs", (3, 4, 3, 3), 2, x, update=cut("output", 0, 1, 4))
    fused("gathered inputs", (5, 2, 3, 3), 2, x[:, [1, 3]].contiguous(), update=cut("input", 1, 3))
    deep = integers(3, 1, 3, 3)
    cases["fused, depthwise channels"] = Case(
        "memplan.fused",
        ("memplan.sgd_int8", "memplan.conv_weight_gradient_int8x",
         (deep, RUNNING, 0.005, scales(4), 1.0, True),
         (randn(2, 4, 6, 7), x[:, [0, 1, 3]].contiguous(), [4, 1, 3, 3],
          *_PLAIN, False, [0, 0], 4, 0.01, -12)),
        mutates=(deep,), workspace_bytes=72, update=cut("input", 0, 1, 3),
    )  # fmt: skip
    total = randn(5, 4, 3, 3)
    cases["fused accumulation"] = Case(
        "memplan.fused",
        ("memplan.accumulate", "memplan.conv_weight_gradient_int8x", (total, RUNNING),
         (gy, x, [5, 4, 3, 3], *around)),
        mutates=(total,), workspace_bytes=300, trips=2,
    )  # fmt: skip
    return cases


def int8_cases() -> Cases:
    """Return all cases, with operands of their own."""
    return {
        **convolution_cases(),
        **slice_cases(),
        **view_cases(),
        **rescaling_cases(),
        **element_cases(),
        **update_cases(),
    }
