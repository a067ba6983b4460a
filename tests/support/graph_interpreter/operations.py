"""Operations of ours that compute, written with ATen as plainly as can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from memplan.ir.graph import LocalArgument, RunningArgument
from memplan.ir.request import LayerUpdate
from tests.support.graph_interpreter.pooling import max_pool_input_gradient, max_pool_positions

__all__ = ["OPERATIONS", "Moment", "call_aten", "dropout_mask"]

aten = torch.ops.aten

_Results = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Moment:
    """Where in a step an operation runs."""

    #: Of its layer; None: the layer is not updated, or there is none.
    update: LayerUpdate | None
    trip: int
    trips: int
    seed: int
    #: What the host gives for this trip, by tensor id.
    inputs: Mapping[str, torch.Tensor]


def call_aten(target: str, *arguments: Any, **keywords: Any) -> Any:
    """Call an ATen operation by its full name."""
    _, packet, overload = target.split(".")
    return getattr(getattr(aten, packet), overload)(*arguments, **keywords)


def _conv_input_gradient(
    at: Moment, gy: torch.Tensor, w: torch.Tensor, shape: list[int], *geometry: Any
) -> torch.Tensor:
    x = gy.new_full((), float("nan")).expand(shape)
    mask = [True, False, False]
    gradients: _Results = aten.convolution_backward(gy, x, w, None, *geometry, mask)
    return gradients[0]


def _conv_weight_gradient(
    at: Moment, gy: torch.Tensor, x: torch.Tensor, shape: list[int], *geometry: Any
) -> torch.Tensor:
    *window, groups = geometry
    shape, update = list(shape), at.update
    if update is not None and update.weight in ("input", "output"):
        channels = torch.tensor(update.channels)
        if groups > 1:  # depthwise: a channel is one group
            assert update.weight == "input"
            assert x.shape[1] == len(channels)
            gy, shape[0], groups = gy.index_select(1, channels), len(channels), len(channels)
        elif update.weight == "output":
            gy, shape[0] = gy.index_select(1, channels), len(channels)
        else:
            assert x.shape[1] == len(channels)
            shape[1] = len(channels)
    w = gy.new_full((), float("nan")).expand(shape)
    mask = [False, True, False]
    gradients: _Results = aten.convolution_backward(gy, x, w, None, *window, groups, mask)
    return gradients[1]


def _linear_weight_gradient(at: Moment, gy: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    update = at.update
    if update is not None and update.weight == "output":
        gy = gy.index_select(1, torch.tensor(update.channels))
    if update is not None and update.weight == "input":
        assert x.shape[1] == len(update.channels)
    return gy.t() @ x


def _embedding_weight_gradient(
    at: Moment, gy: torch.Tensor, indices: torch.Tensor, rows: int, padding: int
) -> torch.Tensor:
    if at.update is not None and at.update.weight == "output":
        gy = gy.index_select(-1, torch.tensor(at.update.channels))
    gradient: torch.Tensor = aten.embedding_dense_backward(gy, indices, rows, padding, False)
    return gradient


def _layer_norm_gradient(index: int) -> Callable[..., torch.Tensor]:
    mask = [position == index for position in range(3)]

    def gradient(at: Moment, gy: torch.Tensor, *arguments: Any) -> torch.Tensor:
        weight = None
        if index == 0:
            x, mean, rstd, weight, shape = arguments
        elif index == 1:
            x, mean, rstd, shape = arguments
        else:
            (shape,) = arguments
            return gy.reshape(-1, *shape).sum(0)
        unit = x.new_ones(shape) if index == 1 else None
        gradients: _Results = aten.native_layer_norm_backward(
            gy, x, shape, mean, rstd, weight if index == 0 else unit, unit, mask
        )
        return gradients[index]

    return gradient


def _range_bits(at: Moment, y: torch.Tensor, low: float | None, high: float | None) -> torch.Tensor:
    inside = torch.ones_like(y, dtype=torch.bool)
    if low is not None:
        inside &= y > low
    if high is not None:
        inside &= y < high
    rows = inside.reshape(inside.shape[0], -1)
    rows = torch.nn.functional.pad(rows, (0, -rows.shape[1] % 8)).view(rows.shape[0], -1, 8)
    weights = torch.tensor([1 << bit for bit in range(8)])
    return (rows * weights).sum(-1).to(torch.uint8).reshape(-1)


def _apply_bits(at: Moment, gy: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    rows = bits.view(gy.shape[0], -1, 1) >> torch.arange(8)
    inside = (rows & 1).bool().view(gy.shape[0], -1)[:, : gy[0].numel()].view(gy.shape)
    return torch.where(inside, gy, 0)


def _gather_channels(at: Moment, x: torch.Tensor, dim: int) -> torch.Tensor:
    assert at.update is not None
    return x.index_select(dim, torch.tensor(at.update.channels))


def dropout_mask(
    seed: int, salt: int, shape: tuple[int, ...], probability: float, dtype: torch.dtype
) -> torch.Tensor:
    """Return the factors of a dropout over a whole batch."""
    generator = torch.Generator().manual_seed(seed * 1000 + salt)
    kept = torch.rand(shape, generator=generator) >= probability
    return kept.to(dtype) / (1 - probability)


def _dropout(at: Moment, x: torch.Tensor, probability: float, salt: int) -> torch.Tensor:
    mask = dropout_mask(at.seed, salt, (at.trips, *x.shape), probability, x.dtype)
    return x * mask[at.trip]


def _batch_norm_train(
    at: Moment, x: Any, weight: Any, bias: Any, epsilon: float
) -> tuple[torch.Tensor, ...]:
    y, mean, rstd = aten.native_batch_norm(x, weight, bias, None, None, True, 0.0, epsilon)
    return y, mean, rstd


def _elementwise(at: Moment, *program: Any) -> torch.Tensor:
    running = None
    for target, arguments, keywords in program:
        assert keywords == []
        arguments = [running if isinstance(a, RunningArgument) else a for a in arguments]
        running = call_aten(target, *arguments)
    assert isinstance(running, torch.Tensor)
    return running


def _input_rows(at: Moment, name: str) -> torch.Tensor:
    return at.inputs[name]


def _row_strips(at: Moment, *program: Any) -> torch.Tensor:
    """Every entry whole, in the order in which they stand."""
    results: list[torch.Tensor] = []

    def value(argument: Any) -> Any:
        if isinstance(argument, list):
            return [value(part) for part in argument]
        return results[argument.local] if isinstance(argument, LocalArgument) else argument

    for target, arguments, keywords, _, shape, dtype, _ in program:
        found = [value(argument) for argument in arguments]
        named = {name: value(argument) for name, argument in keywords}
        compute = OPERATIONS.get(target)
        if compute is None:
            result = call_aten(target, *found, **named)
        else:
            assert not named
            result = compute(at, *found)
        assert list(result.shape[1:]) == shape
        assert result.dtype == dtype
        results.append(result)
    return results[-1]


#: By target.
OPERATIONS: dict[str, Callable[..., Any]] = {
    "memplan.conv_input_gradient": _conv_input_gradient,
    "memplan.conv_weight_gradient": _conv_weight_gradient,
    "memplan.linear_weight_gradient": _linear_weight_gradient,
    "memplan.embedding_weight_gradient": _embedding_weight_gradient,
    "memplan.layer_norm_input_gradient": _layer_norm_gradient(0),
    "memplan.layer_norm_weight_gradient": _layer_norm_gradient(1),
    "memplan.layer_norm_bias_gradient": _layer_norm_gradient(2),
    "memplan.range_bits": _range_bits,
    "memplan.apply_bits": _apply_bits,
    "memplan.max_pool_positions": max_pool_positions,
    "memplan.max_pool_input_gradient": max_pool_input_gradient,
    "memplan.gather_channels": _gather_channels,
    "memplan.dropout": _dropout,
    "memplan.dropout_backward": _dropout,
    "memplan.batch_norm_train": _batch_norm_train,
    "memplan.elementwise": _elementwise,
    "memplan.input_rows": _input_rows,
    "memplan.row_strips": _row_strips,
}
