"""Operators that tracing puts into the forward graph in place of ATen's.

They exist so that autograd records one node with the meaning that the plan needs; lowering turns
them into the ``memplan.*`` operations of ``ir.targets``.  Only the test for coupled samples runs
any of them on numbers, with dropout switched off.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["NAMESPACE", "operators"]

NAMESPACE = "memplan_tracing"

#: torch does not annotate its library class.
_library: Any = torch.library.Library(NAMESPACE, "DEF")  # type: ignore[no-untyped-call]
for _schema in (
    "dropout(Tensor x, float probability, int salt) -> Tensor",
    "dropout_backward(Tensor gy, float probability, int salt) -> Tensor",
    "batch_norm_train(Tensor x, Tensor? weight, Tensor? bias, float epsilon, int site)"
    " -> (Tensor, Tensor, Tensor)",
    "scale_shift(Tensor x, Tensor scale, Tensor shift) -> Tensor",
    "scale_gradient(Tensor gy, Tensor x) -> Tensor",
    "requantize(Tensor x, float scale, int zero_point, int low, int high) -> Tensor",
    "range_backward(Tensor gy, Tensor y, int low, int high) -> Tensor",
):
    _library.define(_schema)

operators: Any = getattr(torch.ops, NAMESPACE)


def _like(x: torch.Tensor, *_: object) -> torch.Tensor:
    return torch.empty_like(x)


def _contiguous(x: torch.Tensor, *_: object) -> torch.Tensor:
    return x.new_empty(x.shape)


def _per_channel(gy: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return x.new_empty((x.shape[1],))


def _batch_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    epsilon: float,
    site: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.empty_like(x), x.new_empty((x.shape[1],)), x.new_empty((x.shape[1],))


def _channels_first(values: torch.Tensor, rank: int) -> torch.Tensor:
    return values.view(-1, *[1] * (rank - 2))


def _dropout_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    _, ctx.probability, ctx.salt = inputs


def _dropout_gradient(ctx: Any, gy: torch.Tensor) -> tuple[torch.Tensor, None, None]:
    return operators.dropout_backward(gy, ctx.probability, ctx.salt), None, None


def _scale_shift_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, scale, _ = inputs
    ctx.save_for_backward(x, scale)


def _scale_shift_gradient(
    ctx: Any, gy: torch.Tensor
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    x, scale = ctx.saved_tensors
    for_x, for_scale, for_shift = ctx.needs_input_grad
    other_dimensions = [d for d in range(x.dim()) if d != 1]
    return (
        gy * _channels_first(scale, x.dim()) if for_x else None,
        operators.scale_gradient(gy, x) if for_scale else None,
        gy.sum(other_dimensions) if for_shift else None,
    )


def _requantize_setup(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    *_, ctx.low, ctx.high = inputs
    ctx.save_for_backward(output)


def _requantize_gradient(ctx: Any, gy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    (y,) = ctx.saved_tensors
    return operators.range_backward(gy, y, ctx.low, ctx.high), None, None, None, None


def _batch_norm_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, weight, _, ctx.epsilon, _ = inputs
    _, mean, rstd = output
    ctx.mark_non_differentiable(mean, rstd)
    ctx.save_for_backward(x, weight, mean, rstd)


def _batch_norm_gradient(ctx: Any, gy: torch.Tensor, *_: Any) -> tuple[Any, ...]:
    x, weight, mean, rstd = ctx.saved_tensors
    # All three results always, so that none is undefined; dead ones are small.
    if weight is None:
        weight = torch.ones_like(mean)
    gradients = torch.ops.aten.native_batch_norm_backward(
        gy, x, weight, None, None, mean, rstd, True, ctx.epsilon, [True, True, True]
    )
    wanted = ctx.needs_input_grad
    return (
        gradients[0] if wanted[0] else None,
        gradients[1] if wanted[1] else None,
        gradients[2] if wanted[2] else None,
        None,
        None,
    )


for _name, _fake in (
    ("dropout", _like),
    ("dropout_backward", _like),
    ("batch_norm_train", _batch_norm),
    ("scale_shift", _like),
    ("scale_gradient", _per_channel),
    ("requantize", _contiguous),
    ("range_backward", _contiguous),
):
    torch.library.register_fake(f"{NAMESPACE}::{_name}", _fake, lib=_library)
for _name, _backward, _setup in (
    ("dropout", _dropout_gradient, _dropout_setup),
    ("batch_norm_train", _batch_norm_gradient, _batch_norm_setup),
    ("scale_shift", _scale_shift_gradient, _scale_shift_setup),
    ("requantize", _requantize_gradient, _requantize_setup),
):
    torch.library.register_autograd(
        f"{NAMESPACE}::{_name}", _backward, setup_context=_setup, lib=_library
    )


def _run_scale_shift(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    return x * _channels_first(scale, x.dim()) + _channels_first(shift, x.dim())


def _run_dropout(x: torch.Tensor, probability: float, salt: int) -> torch.Tensor:
    return x.clone()


def _run_requantize(
    x: torch.Tensor, scale: float, zero_point: int, low: int, high: int
) -> torch.Tensor:
    # Ranges were not seen on random numbers; only an activation's limit at zero is sure.
    return x.clamp(min=0.0).contiguous() if low == zero_point else x.clone().contiguous()


_library.impl("scale_shift", _run_scale_shift, "CPU")
_library.impl("requantize", _run_requantize, "CPU")
_library.impl("dropout", _run_dropout, "CPU")
