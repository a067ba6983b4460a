"""DenseNet-121 at 224x224 (Huang et al., 2016): 7.98 M parameters, 2.83 GMACs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from examples.seeding import seeded

__all__ = ["densenet121"]

_GROWTH = 32
_DEPTHS = (6, 12, 24, 16)


class DenseLayer(nn.Module):
    """Adds ``_GROWTH`` channels to its input."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_activated(channels_in), nn.Conv2d(channels_in, 4 * _GROWTH, 1, bias=False),
            *_activated(4 * _GROWTH),
            nn.Conv2d(4 * _GROWTH, _GROWTH, 3, padding=1, bias=False),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.layers(x)], dim=1)


def densenet121() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """DenseNet-121 with 1000 classes, batch 2."""

    def build() -> nn.Module:
        channels = 2 * _GROWTH
        layers: list[nn.Module] = [
            nn.Conv2d(3, channels, 7, 2, padding=3, bias=False),
            *_activated(channels),
            nn.MaxPool2d(3, 2, padding=1),
        ]
        for stage, depth in enumerate(_DEPTHS):
            for _ in range(depth):
                layers.append(DenseLayer(channels))
                channels += _GROWTH
            layers += _activated(channels)
            if stage < len(_DEPTHS) - 1:
                layers += [nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2)]
                channels //= 2
        return nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000)
        )

    example = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(7))
    return seeded(build).eval(), (example,)


def _activated(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
