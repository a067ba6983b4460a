"""ResNet-18 and ResNet-50 at 224x224 (He et al., 2015; the stride sits in the 3x3 convolution)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from examples.seeding import seeded

__all__ = ["resnet18", "resnet50"]

Example = tuple[nn.Module, tuple[Tensor, ...]]
#: (channels in, width, stride) -> the convolutions of one block, with the last batch norm last.
Block = Callable[[int, int, int], list[nn.Module]]


class Residual(nn.Module):
    """Some convolutions and a shortcut around them."""

    def __init__(self, layers: list[nn.Module], shortcut: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.shortcut = shortcut
        self.relu = nn.ReLU(inplace=True)
        # Sixteen blocks that each doubled the variance would end at 65536 times the signal.
        last = layers[-1]
        assert isinstance(last, nn.BatchNorm2d)
        nn.init.constant_(last.weight, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.layers(x) + self.shortcut(x))
        return y


def resnet18() -> Example:
    """ResNet-18: 11.69 M parameters, 1.81 GMACs."""
    return _network(_basic, expansion=1, depths=(2, 2, 2, 2))


def resnet50() -> Example:
    """ResNet-50: 25.56 M parameters, 4.09 GMACs."""
    return _network(_bottleneck, expansion=4, depths=(3, 4, 6, 3))


def _network(block: Block, expansion: int, depths: tuple[int, ...]) -> Example:
    def build() -> nn.Module:
        layers = [*_unit(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1)]
        channels_in = 64
        for stage, depth in enumerate(depths):
            width = 64 * 2**stage
            for position in range(depth):
                stride = 2 if stage > 0 and position == 0 else 1
                channels = width * expansion
                plain = stride == 1 and channels_in == channels
                shortcut = (
                    nn.Identity()
                    if plain
                    else nn.Sequential(*_unit(channels_in, channels, 1, stride))
                )
                layers.append(Residual(block(channels_in, width, stride), shortcut))
                channels_in = channels
        return nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels_in, 1000)
        )

    example = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(7))
    return seeded(build).eval(), (example,)


def _basic(channels_in: int, width: int, stride: int) -> list[nn.Module]:
    return [
        *_unit(channels_in, width, 3, stride), nn.ReLU(inplace=True),
        *_unit(width, width, 3),
    ]  # fmt: skip


def _bottleneck(channels_in: int, width: int, stride: int) -> list[nn.Module]:
    return [
        *_unit(channels_in, width, 1), nn.ReLU(inplace=True),
        *_unit(width, width, 3, stride), nn.ReLU(inplace=True),
        *_unit(width, 4 * width, 1),
    ]  # fmt: skip


def _unit(channels_in: int, channels: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels),
    ]
