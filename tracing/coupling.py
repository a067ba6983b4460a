"""Do the samples of a batch depend on each other?

Three runs of the forward graph on real numbers: the same sample 0 beside two different samples 1,
and in a batch of three.  If sample 0's outputs differ, samples are coupled, and a batch cannot be
split.  If sample 1's outputs do not differ, the test shows nothing, and the samples count as
coupled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree

from memplan.tracing.capture_forward import Forward, LocatedInterpreter, attribute_value

__all__ = ["samples_coupled_by"]

_TOLERANCE = 1e-5
_SCALES = (1.4, 0.7, 2.8)


def samples_coupled_by(forward: Forward, outputs: list[int]) -> str:
    """Return why the samples of a batch depend on each other, or an empty string."""
    if forward.sites:
        return "batch norm over batch statistics"
    for attempt, scale in enumerate(_SCALES):
        try:
            verdict = _compare(forward, outputs, scale, attempt)
        except (RuntimeError, IndexError, ValueError):
            continue  # random numbers are no valid input of this model
        if verdict is not None:
            return "" if not verdict else "results of a sample that depend on the rest of its batch"
    return "a test on random numbers could not show that samples are independent"


def _compare(forward: Forward, outputs: list[int], scale: float, seed: int) -> bool | None:
    """Return whether sample 0 depends on sample 1; None if the test shows nothing."""
    generator = torch.Generator().manual_seed(seed)
    attributes = _random_attributes(forward, scale, generator)
    first = _random_inputs(forward, generator)
    other = _random_inputs(forward, generator)
    batched = [forward.model.batched(spec) for spec in forward.model.inputs]
    beside = [
        torch.cat([mine[:1], theirs[1:]]) if grows else mine
        for mine, theirs, grows in zip(first, other, batched, strict=True)
    ]
    longer = [
        torch.cat([mine, theirs[:1]]) if grows else mine
        for mine, theirs, grows in zip(first, other, batched, strict=True)
    ]
    results = [_run(forward, attributes, inputs, outputs) for inputs in (first, beside, longer)]
    depends = False
    for triple in zip(*results, strict=True):
        before, after, among = triple
        if [result.shape[:1] for result in triple] != [(2,), (2,), (3,)]:
            return True  # not one result per sample
        size = max(result.abs().max().item() for result in triple)
        if not 0 < size < float("inf"):
            return None
        if (before[1] - after[1]).abs().max().item() <= _TOLERANCE * size:
            return None
        for result in (after, among):
            depends = depends or (before[0] - result[0]).abs().max().item() > _TOLERANCE * size
    return depends


def _run(
    forward: Forward,
    attributes: dict[str, torch.Tensor],
    inputs: list[torch.Tensor],
    outputs: list[int],
) -> list[torch.Tensor]:
    interpreter = LocatedInterpreter(forward.graph, attributes)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        result = interpreter.run(*inputs, enable_io_processing=False)
    flat = pytree.tree_leaves(result)
    return [flat[index] for index in outputs]


def _random_attributes(
    forward: Forward, scale: float, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Return weights of sound size; buffers and constants keep their values where known."""
    values: dict[str, torch.Tensor] = {}
    for name, like in forward.attributes.items():
        known = attribute_value(forward, name)
        if known is not None:
            values[name] = known
        elif not like.dtype.is_floating_point:
            values[name] = torch.zeros(like.shape, dtype=like.dtype)
        elif like.dim() < 2:
            noise = torch.rand(like.shape, generator=generator)
            values[name] = (0.75 + 0.5 * noise).to(like.dtype)
        else:
            fan_in = max(1, like[0].numel())
            noise = torch.randn(like.shape, generator=generator)
            values[name] = (noise * (scale / fan_in**0.5)).to(like.dtype)
    return values


def _random_inputs(forward: Forward, generator: torch.Generator) -> list[torch.Tensor]:
    inputs: list[torch.Tensor] = []
    for spec in forward.model.inputs:
        shape = (2, *spec.shape[1:]) if forward.model.batched(spec) else spec.shape
        if spec.dtype.is_floating_point:
            value: Any = torch.randn(shape, generator=generator)
        elif spec.dtype == torch.bool or "mask" in spec.name:
            value = torch.ones(shape)
        else:
            value = torch.randint(0, 2, shape, generator=generator)
        inputs.append(value.to(spec.dtype))
    return inputs
