"""A BERT encoder of four layers, as "BERT mini" (Turc et al., 2019): 11.17 M parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from examples.attention import SelfAttention
from examples.seeding import seeded

__all__ = ["bert_mini"]


class EncoderLayer(nn.Module):
    """Attention and feed-forward, each with its residual and the norm behind it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads, causal=False)
        self.attention_norm = nn.LayerNorm(width, eps=1e-12)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.feed_forward_norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention_norm(x + self.attention(x))
        y: Tensor = self.feed_forward_norm(x + self.feed_forward(x))
        return y


class Bert(nn.Module):
    """Token and position embeddings, encoder, tanh pooler over the first token, classifier."""

    def __init__(
        self, vocabulary: int, length: int, width: int, layers: int, heads: int, classes: int
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        self.segments = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.Sequential(*(EncoderLayer(width, heads) for _ in range(layers)))
        self.pooler = nn.Linear(width, width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, input_ids: Tensor) -> Tensor:
        position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.tokens(input_ids) + self.positions(position_ids)
        x = x + self.segments(torch.zeros_like(input_ids))
        x = self.layers(self.norm(x))
        logits: Tensor = self.classifier(torch.tanh(self.pooler(x[:, 0])))
        return logits


def bert_mini() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """BERT mini with two classes: batch 2, 64 tokens."""
    example = torch.randint(0, 30522, (2, 64), generator=torch.Generator().manual_seed(7))
    return seeded(lambda: Bert(30522, 512, 256, 4, 4, 2)).eval(), (example,)
