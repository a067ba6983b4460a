"""VGG-11 for 32x32 images (Simonyan and Zisserman, 2014): 9.23 M parameters, one linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from examples.seeding import seeded

__all__ = ["vgg11"]

#: Channels of the convolutions; 0 is a pooling layer.
_TABLE = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)


def vgg11() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """VGG-11 with ten classes, batch 2."""

    def build() -> nn.Module:
        layers: list[nn.Module] = []
        channels_in = 3
        for channels in _TABLE:
            if channels == 0:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(channels_in, channels, 3, padding=1), nn.ReLU(inplace=True)]
            channels_in = channels
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))

    example = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(7))
    return seeded(build).eval(), (example,)
