"""Masks of one bit per element: packed bits of activations, and dropout."""

from __future__ import annotations

import math

import pytest
import torch

from memplan.clients.executors.torch.kernels import RunState
from memplan.clients.executors.torch.kernels.dropout import keep_mask
from memplan.ir.units import Affine
from tests.clients.executors.calls import execute


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 7, 7), (2, 200_000), (70_000, 1)])
@pytest.mark.parametrize(("low", "high"), [(0.0, None), (-0.5, 0.5), (None, 0.25)])
def test_bits(shape: tuple[int, ...], low: float | None, high: float | None) -> None:
    y = torch.randn(*shape)
    gy = torch.randn(*shape)
    per_sample = -(-math.prod(shape[1:]) // 8)
    bits = torch.full((shape[0] * per_sample,), 255, dtype=torch.uint8)
    execute("memplan.range_bits", [y, low, high], outs=[bits])
    inside = torch.ones(shape, dtype=torch.bool)
    if low is not None:
        inside &= y > low
    if high is not None:
        inside &= y < high
    expected = torch.where(inside, gy, torch.zeros(()))
    (g,) = execute("memplan.apply_bits", [gy, bits], [shape])
    assert torch.equal(g, expected)
    # In place, and through another order of dimensions.
    swapped = gy.clone().transpose(0, -1).contiguous().transpose(0, -1)
    execute("memplan.apply_bits", [swapped, bits], outs=[swapped])
    assert torch.equal(swapped, expected)


def test_bits_start_at_the_least_significant_one() -> None:
    bits = torch.zeros(4, dtype=torch.uint8)
    y = torch.tensor([[1.0, 0, 0, 1, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0, 0, 0, 0]])
    execute("memplan.range_bits", [y, 0.0, None], outs=[bits])
    assert bits.tolist() == [0b1001, 1, 0b10, 0]


def test_dropout_is_the_same_under_every_micro_batch() -> None:
    x = torch.randn(6, 3, 5)
    shape = [(Affine(0, 1), Affine(3), Affine(5))]
    (expected,) = execute(
        "memplan.dropout", [x, 0.4, 77], [x.shape], write_shapes=shape, state=RunState(seed=5)
    )
    kept = expected != 0
    assert torch.allclose(expected[kept], x[kept] / 0.6)
    assert 0.4 < float(kept.float().mean()) < 0.8
    for micro_batch in (1, 2, 3):
        parts: list[torch.Tensor] = []
        for trip in range(6 // micro_batch):
            part = x[trip * micro_batch : (trip + 1) * micro_batch]
            state = RunState(seed=5, trip=trip)
            parts += execute(
                "memplan.dropout", [part, 0.4, 77], [part.shape],
                write_shapes=shape, trips=6 // micro_batch, state=state,
            )  # fmt: skip
        assert torch.equal(torch.cat(parts), expected)
    other = execute("memplan.dropout", [x, 0.4, 78], [x.shape], state=RunState(seed=5))[0]
    assert not torch.equal(other != 0, kept)


def test_dropout_where_the_batch_is_not_the_first_dimension() -> None:
    x = torch.randn(3, 4, 5)
    shape = [(Affine(3), Affine(0, 1), Affine(5))]
    (expected,) = execute("memplan.dropout", [x, 0.5, 1], [x.shape], write_shapes=shape)
    parts = [
        execute(
            "memplan.dropout", [x[:, 2 * trip : 2 * trip + 2].contiguous(), 0.5, 1], [[3, 2, 5]],
            write_shapes=shape, trips=2, state=RunState(trip=trip),
        )[0]
        for trip in range(2)
    ]  # fmt: skip
    assert torch.equal(torch.cat(parts, 1), expected)
    strided = torch.empty(3, 5, 4).transpose(1, 2)
    execute("memplan.dropout", [x, 0.5, 1], outs=[strided], write_shapes=shape)
    assert torch.equal(strided, expected)
    in_place = x.clone()
    execute("memplan.dropout_backward", [in_place, 0.5, 1], outs=[in_place], write_shapes=shape)
    assert torch.equal(in_place, expected)


def test_dropout_keeps_the_share_that_it_should() -> None:
    for probability in (0.1, 0.5, 0.9):
        kept = keep_mask(3, 9, probability, 12345, 200_000).float()
        assert abs(float(kept.mean()) - (1 - probability)) < 0.005
        pairs = (kept[1:] - kept.mean()) * (kept[:-1] - kept.mean())
        assert abs(float(pairs.mean())) < 0.005
    assert keep_mask(0, 0, 0.0, 0, 10).all()
    assert not keep_mask(0, 0, 1.0, 0, 10).any()
    ends = [keep_mask(1, 2, 0.5, start, 64) for start in (0, 2**32)]
    assert not torch.equal(ends[0], ends[1])
