"""Networks of a few layers, where what fits changes with every kilobyte."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Concatenation", "concatenation"]


class Concatenation(nn.Module):
    """A convolution whose result is read twice: by a grouped one, and beside what comes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.grouped = nn.Conv2d(12, 12, 3, padding=1, groups=4)
        self.norm = nn.GroupNorm(3, 12)
        self.mix = nn.Conv2d(24, 16, 1)
        self.head = nn.Linear(16, 7)

    def forward(self, images: Tensor) -> Tensor:
        """Return scores of 7 classes for (batch, 3, height, width)."""
        features = torch.relu(self.first(images))
        more = nn.functional.hardswish(self.norm(self.grouped(features)))
        mixed = self.mix(torch.cat([features, more], 1))
        scores: Tensor = self.head(mixed.mean((2, 3)))
        return scores


def concatenation() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return the network and four images of 20 x 20."""
    torch.manual_seed(0)
    return Concatenation(), (torch.randn(4, 3, 20, 20),)
