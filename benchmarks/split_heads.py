"""A decoder whose heads are modules of their own: a step of as many operations as one likes.

Every head of every layer has its three projections, its scores and its softmax, so that 24 layers
of six heads make nearly ten thousand operations of one training step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["SplitHeads"]


class _Head(nn.Module):
    def __init__(self, width: int, part: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, part) for _ in range(3))
        self.scale = 1 / math.sqrt(part)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        scores = torch.matmul(self.query(hidden), self.key(hidden).transpose(1, 2)) * self.scale
        return torch.matmul(torch.softmax(scores + mask, -1), self.value(hidden))


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before, self.behind = nn.LayerNorm(width), nn.LayerNorm(width)
        self.heads = nn.ModuleList(_Head(width, width // heads) for _ in range(heads))
        self.join = nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        normed = self.before(hidden)
        hidden = hidden + self.join(torch.cat([head(normed, mask) for head in self.heads], -1))
        wide = nn.functional.gelu(self.wide(self.behind(hidden)))
        narrow: Tensor = self.narrow(wide)
        return hidden + narrow


class SplitHeads(nn.Module):
    """A causal language model: (batch, length) tokens to (batch, length, vocabulary) logits."""

    mask: Tensor

    def __init__(self, vocabulary: int, length: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)
        self.register_buffer("mask", torch.full((length, length), -1e9).triu(1))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits."""
        hidden = self.tokens(tokens) + self.places
        for layer in self.layers:
            hidden = layer(hidden, self.mask)
        logits: Tensor = self.head(self.norm(hidden))
        return logits
