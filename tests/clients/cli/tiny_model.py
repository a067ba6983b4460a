"""A model that traces in a moment, for tests of the whole path."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["build"]


def build() -> tuple[nn.Module, torch.Tensor]:
    """Return two convolutions with batch norm, a head, and a batch of two."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8)
    assert norm.running_mean is not None and norm.running_var is not None
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        norm,
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )
    generator = torch.Generator().manual_seed(1)
    norm.running_mean.copy_(torch.rand(8, generator=generator))
    norm.running_var.copy_(0.5 + torch.rand(8, generator=generator))
    return module.eval(), torch.randn(2, 3, 12, 12, generator=generator)
