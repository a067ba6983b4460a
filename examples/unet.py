"""A small U-Net (Ronneberger et al., 2015) for 64x64 images: four classes per pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from examples.seeding import seeded

__all__ = ["unet"]


class UNet(nn.Module):
    """Contracts and expands; every level of the way up sees its twin of the way down."""

    def __init__(self, widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        pairs = list(zip((3, *widths), widths, strict=False))
        self.down = nn.ModuleList(_double(channels_in, width) for channels_in, width in pairs)
        self.pool = nn.MaxPool2d(2)
        upward = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.rise = nn.ModuleList(nn.ConvTranspose2d(wide, width, 2, 2) for wide, width in upward)
        self.up = nn.ModuleList(_double(2 * width, width) for _, width in upward)
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, convolutions in enumerate(self.down):
            x = convolutions(x if level == 0 else self.pool(x))
            skips.append(x)
        skips.pop()
        for rise, convolutions in zip(self.rise, self.up, strict=True):
            x = convolutions(torch.cat([skips.pop(), rise(x)], dim=1))
        pixels: Tensor = self.head(x)
        return pixels


def unet() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """U-Net with widths 16 to 128, batch 2; labels are one class per pixel."""
    example = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(7))
    return seeded(lambda: UNet((16, 32, 64, 128), classes=4)).eval(), (example,)


def _double(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
    )  # fmt: skip
