"""The forward graph on real numbers: what importance and calibration run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from memplan.ir.graph import WeightSource
from memplan.tracing.capture_forward import Forward, LocatedInterpreter
from memplan.tracing.capture_operators import operators
from memplan.tracing.loaded import LoadedModel
from memplan.tracing.loaders.fake_run import at_batch, run_fake
from memplan.tracing.weights import apply_source

__all__ = ["RealInterpreter", "real_attributes", "runs_alone"]

Weights = Mapping[str, torch.Tensor]


def real_attributes(forward: Forward, original: Weights) -> dict[str, torch.Tensor]:
    """Return the values of the attributes of a rewritten forward graph.

    Raises:
        DataError: ``original`` lacks one.
    """
    return {
        name: apply_source(
            forward.sources.get(name, WeightSource(kind="copy", names=(name,))), original
        )
        for name in forward.attributes
    }


def runs_alone(model: LoadedModel) -> bool:
    """Tell whether a model runs at a batch of one, which makes samples cheap to separate."""
    if not model.batch_free:
        return False
    try:
        run_fake(model.forward, at_batch(model.inputs, model.batch, 1))
    except Exception:  # operations refuse sizes in many ways; then whole batches are used
        return False
    return True


class RealInterpreter(LocatedInterpreter):
    """Runs the rewritten forward graph; the operators that tracing put in have plain meanings."""

    def __init__(self, forward: Forward, values: Mapping[str, torch.Tensor]) -> None:
        # Buffers may be written (counters); each run starts from the model's own.
        super().__init__(
            forward.graph,
            {name: v if v.requires_grad else v.clone() for name, v in values.items()},
        )

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        plain = _PLAIN.get(target)
        return (
            plain(*args, **kwargs)
            if plain is not None
            else super().call_function(target, args, kwargs)
        )


def _scale_shift(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    shape = [-1] + [1] * (x.dim() - 2)
    return x * scale.view(shape) + shift.view(shape)


def _batch_norm_train(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    epsilon: float,
    site: int,
) -> tuple[torch.Tensor, None, None]:
    return F.batch_norm(x, None, None, weight, bias, training=True, eps=epsilon), None, None


def _no_dropout(x: torch.Tensor, probability: float, salt: int) -> torch.Tensor:
    return x


_PLAIN: dict[Any, Callable[..., Any]] = {
    operators.scale_shift.default: _scale_shift,
    operators.batch_norm_train.default: _batch_norm_train,
    operators.dropout.default: _no_dropout,
}
