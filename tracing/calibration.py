"""Ranges of activations, from a user's samples: what int8 scales are chosen by.

The folded forward graph runs in float32, and the smallest and largest value of every tensor is
noted.  Without samples it runs on normal random numbers, and the ranges are a guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from memplan.ir.errors import DataError, ModelError
from memplan.tracing.capture_forward import Forward
from memplan.tracing.loaders.failures import one_line
from memplan.tracing.real_forward import RealInterpreter, real_attributes
from memplan.tracing.samples import Samples, model_inputs

__all__ = ["Ranges", "calibrate"]

#: Batches of random numbers where there are no samples.
_RANDOM_BATCHES = 4


@dataclass(slots=True)
class Ranges:
    """Smallest and largest value of each node's result, by the node's name."""

    #: Samples that were seen; 0: random numbers only.
    samples: int
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)
    #: Values of the graph's attributes, which weights and scales are made of.
    attributes: dict[str, torch.Tensor] = field(default_factory=dict)

    def see(self, name: str, value: torch.Tensor) -> None:
        """Widen the range of a node by a result."""
        low, high = (float(limit) for limit in torch.aminmax(value.detach()))
        before = self.limits.get(name, (low, high))
        self.limits[name] = min(low, before[0]), max(high, before[1])


def calibrate(forward: Forward, samples: Samples | None) -> Ranges:
    """Run the forward graph on samples and return the ranges of its tensors.

    Raises:
        ModelError: the weights have no values, or ranges are not finite without samples.
        DataError: samples do not fit the model, or values are not finite.
    """
    attributes = real_attributes(forward, forward.model.read_weights())
    if any(value.is_meta for value in attributes.values()):
        raise ModelError(
            f"{forward.model.name}: int8 needs the values of the weights, and this model has none; "
            "load it from a file with weights"
        )
    ranges = Ranges(0 if samples is None else samples.count, attributes=attributes)
    interpreter = _Observer(forward, attributes, ranges)
    for batch in _random_batches(forward) if samples is None else _batches(forward, samples):
        try:
            with torch.no_grad():
                interpreter.run(*batch, enable_io_processing=False)
        except (IndexError, RuntimeError, ValueError) as error:
            source = forward.model.name if samples is None else samples.source
            raise DataError(
                f"{source}: the model does not compute on these samples "
                f"({one_line(error, 160)}); does it take such samples?"
            ) from None
    return ranges


class _Observer(RealInterpreter):
    def __init__(self, forward: Forward, values: dict[str, torch.Tensor], ranges: Ranges) -> None:
        super().__init__(forward, values)
        self.ranges = ranges

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor) and result.is_floating_point() and result.numel():
            self.ranges.see(n.name, result)
        return result


def _batches(forward: Forward, samples: Samples) -> Iterator[list[torch.Tensor]]:
    """Yield the samples in batches of the model's own size; the last repeats its last sample."""
    model = forward.model
    inputs = model_inputs(samples, model)
    for start in range(0, samples.count, model.batch):
        part = []
        for value, spec in zip(inputs, model.inputs, strict=True):
            if model.batched(spec):
                value = value[start : start + model.batch]
                missing = model.batch - len(value)
                value = torch.cat([value, value[-1:].expand(missing, *value.shape[1:])])
            part.append(value)
        yield part


def _random_batches(forward: Forward) -> Iterator[list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(_RANDOM_BATCHES):
        yield [
            torch.randn(spec.shape, generator=generator).to(spec.dtype)
            if spec.dtype.is_floating_point
            else torch.zeros(spec.shape, dtype=spec.dtype)
            for spec in forward.model.inputs
        ]
