"""Small networks of spatially local operations, each with something that rows must get right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["STRIP_NETWORKS", "InvertedResidual", "Plus", "Shifted"]


class InvertedResidual(nn.Module):
    """Pointwise, depthwise, pointwise, with a skip connection where shapes allow and it is on."""

    def __init__(
        self,
        channels_in: int,
        wide: int,
        channels: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        padding: int | None = None,
        dilation: int = 1,
        skip: bool = False,
        activation: Callable[[], nn.Module] = nn.ReLU6,
    ) -> None:
        super().__init__()
        if padding is None:
            padding = kernel // 2 * dilation
        self.expand = nn.Conv2d(channels_in, wide, 1)
        self.depthwise = nn.Conv2d(
            wide, wide, kernel, stride, padding, dilation, groups=wide, bias=not skip
        )
        self.project = nn.Conv2d(wide, channels, 1)
        self.first, self.second = activation(), activation()
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.depthwise(self.first(self.expand(x))))
        z: Tensor = self.project(y)
        return x + z if self.skip else z


class Plus(nn.Module):
    """A basic residual block: two convolutions, a skip connection, an activation behind."""

    def __init__(self, channels: int, scale: float = 1.0) -> None:
        super().__init__()
        self.a = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.b = nn.Conv2d(channels, channels, 3, padding=1)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(torch.relu(self.a(x)))
        return torch.nn.functional.hardswish(torch.add(x, y, alpha=self.scale))


class Shifted(nn.Module):
    """Reads old rows of the block's input late: a 5x5 branch is added behind a pointwise one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(channels, 6 * channels, 1)
        self.back = nn.Conv2d(6 * channels, channels, 1)
        self.late = nn.Conv2d(channels, channels, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.back(torch.relu(self.wide(x))) + self.late(x)
        return y


def _image(channels: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(3, channels, height, width, generator=generator)


def _sequence(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*layers)


#: Name -> (module, example inputs).
STRIP_NETWORKS: dict[str, tuple[Callable[[], Any], Tensor]] = {
    "inverted residual": (lambda: InvertedResidual(4, 24, 4, skip=True), _image(4, 13, 11)),
    "stride 2": (lambda: InvertedResidual(4, 24, 6, stride=2), _image(4, 13, 10)),
    "stride 2, even": (lambda: InvertedResidual(4, 24, 6, stride=2), _image(4, 12, 12)),
    "7x7": (lambda: InvertedResidual(4, 24, 4, kernel=7, skip=True), _image(4, 21, 9)),
    "no padding": (lambda: InvertedResidual(3, 18, 5, kernel=5, padding=0), _image(3, 17, 12)),
    "wide padding": (lambda: InvertedResidual(3, 24, 3, kernel=3, padding=3), _image(3, 14, 8)),
    "dilation": (lambda: InvertedResidual(4, 24, 4, dilation=2, skip=True), _image(4, 16, 9)),
    "rows left over": (
        lambda: InvertedResidual(3, 24, 3, kernel=3, stride=3, padding=0), _image(3, 17, 9)
    ),
    "hardswish": (
        lambda: InvertedResidual(4, 24, 4, activation=nn.Hardswish, skip=True), _image(4, 12, 9)
    ),
    "basic blocks": (
        _sequence(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), Plus(8), Plus(8, 0.5)),
        _image(3, 15, 14),
    ),
    "two blocks and a stem": (
        _sequence(
            nn.Conv2d(3, 16, 3, 2, padding=1), nn.ReLU6(),
            InvertedResidual(16, 16, 8), InvertedResidual(8, 32, 8, stride=2),
            InvertedResidual(8, 48, 8, kernel=5, skip=True),
        ),
        _image(3, 45, 46),
    ),
    "groups": (
        _sequence(
            nn.Conv2d(4, 24, 3, padding=1, groups=2), nn.ReLU(), nn.Conv2d(24, 4, (3, 1), groups=4)
        ),
        _image(4, 16, 9),
    ),
    "pools": (
        _sequence(
            nn.Conv2d(2, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(24, 24, 3), nn.AvgPool2d(3, 2, 1), nn.Conv2d(24, 3, 1),
        ),
        _image(2, 22, 19),
    ),
    "pools with odd ends": (
        _sequence(
            nn.Conv2d(2, 24, 3, padding=1), nn.MaxPool2d(2, 2, dilation=2, ceil_mode=True),
            nn.Conv2d(24, 24, 3), nn.AvgPool2d(3, 2, 1, ceil_mode=True), nn.Conv2d(24, 4, 1),
            nn.Conv2d(4, 24, 1), nn.AvgPool2d(3, 2, 1, True, count_include_pad=False),
        ),
        _image(2, 31, 26),
    ),
    "late reader": (lambda: Shifted(6), _image(6, 14, 9)),
}  # fmt: skip
