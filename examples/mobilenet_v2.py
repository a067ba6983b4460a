"""MobileNetV2 1.0 at 224x224 (Sandler et al., 2018): 3.50 M parameters, 300 MMACs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from examples.seeding import seeded

__all__ = ["mobilenet_v2"]

#: Expansion, channels, repetitions, stride of the first.
_TABLE = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip


class InvertedResidual(nn.Module):
    """Expand, filter per channel, project; the shortcut joins the narrow ends."""

    def __init__(self, channels_in: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        layers = _unit(channels_in, wide, 1) if expansion > 1 else []
        layers += _unit(wide, wide, 3, stride, groups=wide)
        layers += [nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels)]
        self.layers = nn.Sequential(*layers)
        self.skip = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.skip else y


def mobilenet_v2() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """MobileNetV2 with 1000 classes, batch 2."""

    def build() -> nn.Module:
        layers = _unit(3, 32, 3, 2)
        channels_in = 32
        for expansion, channels, repetitions, first_stride in _TABLE:
            for repetition in range(repetitions):
                stride = first_stride if repetition == 0 else 1
                layers.append(InvertedResidual(channels_in, channels, stride, expansion))
                channels_in = channels
        layers += _unit(320, 1280, 1)
        return nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, 1000)
        )

    example = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(7))
    return seeded(build).eval(), (example,)


def _unit(
    channels_in: int, channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    return [
        nn.Conv2d(
            channels_in, channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False
        ),
        nn.BatchNorm2d(channels),
        nn.ReLU6(),
    ]
