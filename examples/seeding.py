"""Seeded weights with signals of sound size."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

__all__ = ["seeded"]


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """Build a module under a seed and give normalizations weights and statistics of their own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build()
        for part in module.modules():
            if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
                assert part.running_mean is not None
                assert part.running_var is not None
                part.weight.data *= torch.empty_like(part.weight).uniform_(0.8, 1.2)
                nn.init.normal_(part.bias, std=0.1)
                nn.init.normal_(part.running_mean, std=0.1)
                nn.init.uniform_(part.running_var, 0.5, 1.5)
            elif isinstance(part, nn.LayerNorm):
                nn.init.uniform_(part.weight, 0.8, 1.2)
                nn.init.normal_(part.bias, std=0.1)
            elif isinstance(part, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
                if part.bias is not None:
                    nn.init.normal_(part.bias, std=0.05)
    return module
