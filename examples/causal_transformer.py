"""A small causal transformer (pre-norm, as GPT-2), predicting each next token; tied embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from examples.attention import SelfAttention
from examples.seeding import seeded

__all__ = ["causal_transformer"]


class DecoderLayer(nn.Module):
    """Attention and feed-forward, each behind its norm, each with its residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, causal=True)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        y: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return y


class CausalTransformer(nn.Module):
    """Returns one row of logits per token; the output layer is the token embedding's weight."""

    def __init__(self, vocabulary: int, length: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        self.layers = nn.Sequential(*(DecoderLayer(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        nn.init.normal_(self.tokens.weight, std=width**-0.5)
        self.head.weight = self.tokens.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.tokens(input_ids) + self.positions(position_ids)
        logits: Tensor = self.head(self.norm(self.layers(x)))
        return logits


def causal_transformer() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Four layers of width 128 over 1024 tokens: batch 2, 32 tokens."""
    example = torch.randint(0, 1024, (2, 32), generator=torch.Generator().manual_seed(7))
    return seeded(lambda: CausalTransformer(1024, 128, 128, 4, 4)).eval(), (example,)
