"""Run an original graph and its re-batched twin on the same samples.

Weights are random (the file's are not needed to compare two graphs), statistics frozen and
dropout off, so that samples cannot influence each other by design.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx

from memplan.tracing.loaded import InputSpec, LoadedModel
from memplan.tracing.loaders.failures import one_line
from memplan.tracing.loaders.fake_run import at_batch, attribute, run_fake
from memplan.tracing.loaders.inputs import sample_inputs
from memplan.tracing.training_flags import without_chance

__all__ = ["same_per_sample"]

_TOLERANCE = 1e-4
#: All results of one run together; a comparison of more would take minutes.
MAX_VERIFIED_BYTES = 8 * 2**30


def same_per_sample(loaded: LoadedModel, rebatched: fx.GraphModule) -> str | None:
    """Compare on samples; return None if both graphs agree, else what differs."""
    old = loaded.batch
    chunks = 3 if old == 1 else 2
    total = chunks * old
    samples = sample_inputs(at_batch(loaded.inputs, old, total), seed=1)
    _, size_bytes = run_fake(loaded.forward, loaded.inputs)
    if size_bytes > MAX_VERIFIED_BYTES:
        return f"{size_bytes} bytes of results are too many to compare the re-batched graph on"
    try:
        return _compare(loaded, rebatched, samples, old)
    except (IndexError, RuntimeError, ValueError) as error:
        return f"on samples: {one_line(error, 120)}"


def _compare(
    loaded: LoadedModel, rebatched: fx.GraphModule, samples: tuple[torch.Tensor, ...], old: int
) -> str | None:
    total = samples[0].shape[0]
    weights = _random_weights(loaded.forward)
    original = _with_weights(without_chance(loaded.forward), weights)
    twin = _with_weights(without_chance(rebatched), weights)
    with torch.no_grad(), _checking_kernels():
        expected = [
            original(*_part(samples, loaded.inputs, old, range(at, at + old)))
            for at in range(0, total, old)
        ]
        if not _leads(expected[0][0], old):
            return "the first output has no batch dimension"
        joined = [torch.cat(parts) if _leads(parts[0], old) else None
                  for parts in zip(*expected, strict=True)]  # fmt: skip
        first = torch.cat([parts[0] for parts in expected]).double()
        if not bool((first[0] - first[1]).abs().max() > 1e-6 * first.abs().max()):
            return "the outputs do not depend on the sample, so nothing can be compared"
        for batch in (total, old + 1):
            results = twin(*_part(samples, loaded.inputs, old, range(batch)))
            for position, (result, wanted) in enumerate(zip(results, joined, strict=True)):
                # Outputs after the first may have their batch elsewhere.
                if wanted is None or (position > 0 and not _leads(result, batch)):
                    continue
                if not _close(result, wanted[:batch]):
                    return f"at batch {batch} it would compute other values"
    return None


@contextmanager
def _checking_kernels() -> Iterator[None]:
    """Compute without oneDNN: its kernels trust sizes that ATen's own check."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about graphics cards that are not there
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def _leads(tensor: torch.Tensor, batch: int) -> bool:
    return tensor.dim() > 0 and tensor.shape[0] == batch


def _close(left: torch.Tensor, right: torch.Tensor) -> bool:
    if left.shape != right.shape:
        return False
    if not left.is_floating_point():
        return bool((left == right).all())
    scale = right.double().abs().max().clamp_min(1e-30)
    return bool((left.double() - right.double()).abs().max() <= _TOLERANCE * scale)


def _part(
    samples: tuple[torch.Tensor, ...], specs: tuple[InputSpec, ...], old: int, rows: range
) -> list[torch.Tensor]:
    return [
        sample[rows.start : rows.stop] if spec.shape and spec.shape[0] == old else sample
        for sample, spec in zip(samples, specs, strict=True)
    ]


def _random_weights(forward: fx.GraphModule) -> dict[str, torch.Tensor]:
    """Return values for every attribute; those that have values keep them."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for node in forward.graph.nodes:
        if node.op != "get_attr" or node.target in weights:
            continue
        tensor = attribute(forward, node.target)
        if not tensor.is_meta:
            weights[node.target] = tensor.detach().clone()
        elif not tensor.is_floating_point():
            weights[node.target] = torch.zeros(tuple(tensor.shape), dtype=tensor.dtype)
        elif tensor.dim() < 2:
            # Gains, biases, means and variances alike: positive, and not all the same.
            values = torch.rand(tuple(tensor.shape), generator=generator) + 0.5
            weights[node.target] = values.to(tensor.dtype)
        else:
            fan_in = max(1, tensor[0].numel())
            values = torch.randn(tuple(tensor.shape), generator=generator) * fan_in**-0.5
            weights[node.target] = values.to(tensor.dtype)
    return weights


def _with_weights(forward: fx.GraphModule, weights: dict[str, torch.Tensor]) -> Any:
    class Runner(fx.Interpreter):
        def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
            return weights[target].clone() if weights[target].dim() == 0 else weights[target]

    return Runner(forward).run
