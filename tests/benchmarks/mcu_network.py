"""A network small enough for a board in a test, whose image is larger than all that follows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["tiny"]


def tiny() -> tuple[nn.Module, tuple[Tensor]]:
    """Return the network, seeded, and an image."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU6(),
        nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.ReLU6(),
        nn.Conv2d(8, 8, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 4),
    )  # fmt: skip
    return network.eval(), (torch.randn(1, 3, 64, 64),)
