"""The four reference networks of MLPerf Tiny (Banbury et al., 2021), as torch modules.

Architectures follow the Keras references of the benchmark: ResNet-8 (CIFAR-10), DS-CNN (keyword
spotting, 49x10 features), MobileNetV1 x0.25 (visual wake words, 96x96), dense autoencoder
(anomaly detection, 640 features).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from examples.seeding import seeded

__all__ = ["autoencoder", "ds_cnn", "mobilenet_v1", "resnet8"]

Example = tuple[nn.Module, tuple[Tensor, ...]]


class SamePad(nn.Module):
    """Zero padding as TensorFlow's "same" does it: the odd pixel on the right and below."""

    def __init__(self, kernel: tuple[int, int], stride: int, size: tuple[int, int]) -> None:
        super().__init__()
        vertical, horizontal = (
            max((-(-full // stride) - 1) * stride + width - full, 0)
            for full, width in zip(size, kernel, strict=True)
        )
        self.pad = nn.ZeroPad2d(
            (horizontal // 2, -(-horizontal // 2), vertical // 2, -(-vertical // 2))
        )

    def forward(self, x: Tensor) -> Tensor:
        padded: Tensor = self.pad(x)
        return padded


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the size changes."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = (
            nn.Identity() if stride == 1 else nn.Conv2d(channels_in, channels, 1, stride)
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y)) + self.shortcut(x)
        activated: Tensor = self.relu(y)
        return activated


def resnet8() -> Example:
    """ResNet-8 for CIFAR-10: 78,186 parameters, 78,666 with the statistics of batch norm."""

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            ResidualBlock(16, 16, 1), ResidualBlock(16, 32, 2), ResidualBlock(32, 64, 2),
            nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10),
        )  # fmt: skip

    return seeded(build).eval(), (_randn(2, 3, 32, 32),)


def ds_cnn() -> Example:
    """DS-CNN for keyword spotting on 49x10 features, 12 classes, 64 channels."""

    def separable() -> list[nn.Module]:
        return [
            nn.Conv2d(64, 64, 3, padding=1, groups=64), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, 64, 1), nn.BatchNorm2d(64), nn.ReLU(),
        ]  # fmt: skip

    def build() -> nn.Module:
        return nn.Sequential(
            SamePad((10, 4), 2, (49, 10)),
            nn.Conv2d(1, 64, (10, 4), 2), nn.BatchNorm2d(64), nn.ReLU(), nn.Dropout(0.2),
            *separable(), *separable(), *separable(), *separable(),
            nn.Dropout(0.4), nn.AvgPool2d((25, 5)), nn.Flatten(), nn.Linear(64, 12),
        )  # fmt: skip

    return seeded(build).eval(), (_randn(2, 1, 49, 10),)


def mobilenet_v1() -> Example:
    """MobileNetV1 x0.25 for visual wake words: 96x96 RGB, two classes."""

    def separable(channels_in: int, channels: int, stride: int, size: int) -> list[nn.Module]:
        return [
            SamePad((3, 3), stride, (size, size)),
            nn.Conv2d(channels_in, channels_in, 3, stride, groups=channels_in),
            nn.BatchNorm2d(channels_in), nn.ReLU(),
            nn.Conv2d(channels_in, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(),
        ]  # fmt: skip

    table = [
        (16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (128, 1), (128, 1),
        (128, 1), (128, 1), (256, 2), (256, 1),
    ]  # fmt: skip

    def build() -> nn.Module:
        size = 96
        layers: list[nn.Module] = [
            SamePad((3, 3), 2, (size, size)),
            nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(),
        ]  # fmt: skip
        channels_in, size = 8, size // 2
        for channels, stride in table:
            layers += separable(channels_in, channels, stride, size)
            channels_in, size = channels, size // stride
        return nn.Sequential(*layers, nn.AvgPool2d(size), nn.Flatten(), nn.Linear(256, 2))

    return seeded(build).eval(), (_randn(2, 3, 96, 96),)


def autoencoder() -> Example:
    """Dense autoencoder for machine sounds, bottleneck of 8; its target is its input."""
    widths = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128)

    def build() -> nn.Module:
        layers: list[nn.Module] = []
        for width_in, width in itertools.pairwise(widths):
            layers += [nn.Linear(width_in, width), nn.BatchNorm1d(width), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(128, 640))

    return seeded(build).eval(), (_randn(2, 640),)


def _randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))
