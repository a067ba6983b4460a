"""The three networks of on-device training in 256 KB (Lin et al., MCUNetV3, 2022), at 128x128.

Batch norm is folded, as in the networks that go to the device: convolution, bias, ReLU6.  The
block tables are those of the paper's published models; the classifier has ten classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from examples.seeding import seeded

__all__ = [
    "MCUNET_5FPS",
    "MOBILENET_V2_035",
    "PROXYLESS_03",
    "Block",
    "mcunet_5fps",
    "mobilenet_v2_035",
    "proxyless_03",
]

Example = tuple[nn.Module, tuple[Tensor, ...]]


class Block(NamedTuple):
    """One row of a block table."""

    channels_in: int
    expansion: int
    channels: int
    kernel: int
    stride: int
    skip: bool


MCUNET_5FPS: tuple[Block, ...] = (
    Block(16, 1, 8, 3, 1, False),
    Block(8, 4, 16, 3, 2, False),
    Block(16, 3, 16, 3, 1, True),
    Block(16, 3, 24, 7, 2, False),
    Block(24, 5, 24, 3, 1, True),
    Block(24, 5, 40, 3, 2, False),
    Block(40, 4, 40, 7, 1, True),
    Block(40, 4, 48, 5, 1, False),
    Block(48, 3, 48, 3, 1, True),
    Block(48, 4, 48, 3, 1, True),
    Block(48, 5, 96, 7, 2, False),
    Block(96, 4, 96, 5, 1, True),
    Block(96, 4, 96, 5, 1, True),
    Block(96, 6, 160, 3, 1, False),
)

MOBILENET_V2_035: tuple[Block, ...] = (
    Block(16, 1, 8, 3, 1, False),
    Block(8, 6, 8, 3, 2, False),
    Block(8, 6, 8, 3, 1, True),
    Block(8, 6, 16, 3, 2, False),
    Block(16, 6, 16, 3, 1, True),
    Block(16, 6, 16, 3, 1, True),
    Block(16, 6, 24, 3, 2, False),
    Block(24, 6, 24, 3, 1, True),
    Block(24, 6, 24, 3, 1, True),
    Block(24, 6, 24, 3, 1, True),
    Block(24, 6, 32, 3, 1, False),
    Block(32, 6, 32, 3, 1, True),
    Block(32, 6, 32, 3, 1, True),
    Block(32, 6, 56, 3, 2, False),
    Block(56, 6, 56, 3, 1, True),
    Block(56, 6, 56, 3, 1, True),
    Block(56, 6, 112, 3, 1, False),
)

PROXYLESS_03: tuple[Block, ...] = (
    Block(16, 1, 8, 3, 1, False),
    Block(8, 3, 16, 5, 2, False),
    Block(16, 3, 16, 3, 1, True),
    Block(16, 3, 16, 7, 2, False),
    Block(16, 3, 16, 3, 1, True),
    Block(16, 3, 16, 5, 1, True),
    Block(16, 3, 16, 5, 1, True),
    Block(16, 6, 24, 7, 2, False),
    Block(24, 3, 24, 5, 1, True),
    Block(24, 3, 24, 5, 1, True),
    Block(24, 3, 24, 5, 1, True),
    Block(24, 6, 32, 5, 1, False),
    Block(32, 3, 32, 5, 1, True),
    Block(32, 3, 32, 5, 1, True),
    Block(32, 3, 32, 5, 1, True),
    Block(32, 6, 64, 7, 2, False),
    Block(64, 6, 64, 7, 1, True),
    Block(64, 3, 64, 7, 1, True),
    Block(64, 3, 64, 7, 1, True),
    Block(64, 6, 96, 7, 1, False),
)


class InvertedResidual(nn.Module):
    """Pointwise expansion (if it expands), depthwise convolution, linear pointwise projection."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        wide = block.channels_in * block.expansion
        layers: list[nn.Module] = []
        if block.expansion > 1:
            layers += [nn.Conv2d(block.channels_in, wide, 1), nn.ReLU6()]
        layers += [
            nn.Conv2d(
                wide, wide, block.kernel, block.stride, padding=block.kernel // 2, groups=wide
            ),
            nn.ReLU6(),
            nn.Conv2d(wide, block.channels, 1),
        ]
        self.layers = nn.Sequential(*layers)
        self.skip = block.skip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.skip else y


def mcunet_5fps() -> Example:
    """MCUNet for 5 frames per second on a Cortex-M7: 22.5 MMACs."""
    return _network(MCUNET_5FPS)


def mobilenet_v2_035() -> Example:
    """MobileNetV2 with width 0.35: 16.6 MMACs."""
    return _network(MOBILENET_V2_035)


def proxyless_03() -> Example:
    """ProxylessNAS with width 0.3: 18.6 MMACs."""
    return _network(PROXYLESS_03)


def _network(blocks: tuple[Block, ...]) -> Example:
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, blocks[0].channels_in, 3, 2, padding=1),
            nn.ReLU6(),
            *(InvertedResidual(block) for block in blocks),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(blocks[-1].channels, 10),
        )

    example = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(7))
    return seeded(build).eval(), (example,)
