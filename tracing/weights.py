"""Weights of a graph: made by its recipes from a model's own, kept in safetensors files.

A graph names the source of every parameter (``WeightSource``): a copy, or a layer with its batch
norm folded in.  A weights file holds the results by tensor id, so that an executor needs neither
the model nor its code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from memplan.ir.errors import DataError
from memplan.ir.graph import OpGraph, Tensor, WeightSource
from memplan.tracing.loaders.pt2 import read_pt2_weights
from memplan.tracing.loaders.sniff import sniff
from memplan.tracing.quantized_weights import quantized_value

__all__ = [
    "apply_source",
    "build_weights",
    "read_weights_file",
    "real_parameters",
    "real_value",
    "write_weights",
]

Weights = Mapping[str, torch.Tensor]

_ACCEPTED = "weights are the model's .pt2, or what plan MODEL --weights-out w.safetensors writes"


def build_weights(graph: OpGraph, read: Callable[[], Weights]) -> dict[str, torch.Tensor]:
    """Return the value of every tensor of ``graph`` that comes from the model, by tensor id.

    Args:
        graph: whose tensors say where they come from.
        read: gives the model's parameters, buffers and constants by qualified name.

    Raises:
        DataError: a name is missing, or a value does not have the tensor's shape and dtype.
    """
    original = read()
    return {
        tensor.id: _value(graph, tensor, original)
        for tensor in graph.tensors
        if tensor.source is not None
    }


def real_parameters(graph: OpGraph, read: Callable[[], Weights]) -> dict[str, torch.Tensor]:
    """Return the real values of the parameters of ``graph``, also where it has integers.

    Raises:
        DataError: a name is missing.
    """
    original = read()
    return {
        tensor.id: real_value(tensor.source, original)
        for tensor in graph.tensors
        if tensor.role == "parameter" and tensor.source is not None
    }


def apply_source(source: WeightSource, original: Weights) -> torch.Tensor:
    """Follow one recipe; folding is done in float64 and rounded once.

    Raises:
        DataError: ``original`` lacks a name, or integers cannot be made of its values.
    """
    value = real_value(source, original)
    step = source.quantized
    if step is None:
        return value
    weight = value if step.weight is None else real_value(step.weight, original)
    try:
        return quantized_value(step, value, weight)
    except ValueError as error:
        raise DataError(f"weights: {source.names[0] or source.names[1]}: {error}") from None


def real_value(source: WeightSource, original: Weights) -> torch.Tensor:
    """Follow one recipe up to its step to integers.

    Raises:
        DataError: ``original`` lacks a name.
    """
    parts = [_named(name, original) if name else None for name in source.names]
    match source.kind, parts:
        case "copy", [torch.Tensor() as value]:
            return value.detach()
        case "folded_weight", [weight, gamma, torch.Tensor() as variance]:
            scale = _scale(gamma, variance, source.epsilon)
            if weight is None:
                return scale.to(variance.dtype)
            shape = [1] * weight.dim()
            shape[1 if source.transposed else 0] = -1
            return (weight.double() * scale.view(shape)).to(weight.dtype)
        case "folded_bias", [bias, beta, gamma, torch.Tensor() as mean, torch.Tensor() as variance]:
            scale = _scale(gamma, variance, source.epsilon)
            start = bias.double() if bias is not None else torch.zeros_like(scale)
            end = beta.double() if beta is not None else torch.zeros_like(scale)
            return ((start - mean.double()) * scale + end).to(mean.dtype)
    raise DataError(f"weights: the recipe {source.kind} of {source.names} is malformed")


def write_weights(path: str, weights: Weights) -> None:
    """Write a safetensors file, whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    # Tensors may share bytes or be strided; the format has neither.
    plain = {name: tensor.detach().contiguous().clone() for name, tensor in weights.items()}
    partial = f"{path}.{os.getpid()}.partial"
    try:
        save_file(plain, partial)
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        if os.path.exists(partial):
            os.unlink(partial)
        raise DataError(f"{path}: the weights cannot be written ({error})") from None


def read_weights_file(graph: OpGraph, path: str) -> dict[str, torch.Tensor]:
    """Read weights for ``graph``: a safetensors file by tensor ids, or the model's ``.pt2``.

    Neither way runs code of the file.

    Raises:
        DataError: the file is damaged, or lacks a tensor or has it in another shape.
        ModelError: the ``.pt2`` is damaged or hostile.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(4)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if head == b"PK\3\4":
        kind = sniff(path)
        if kind != "pt2":
            raise DataError(_no_weights(path, kind))
        return build_weights(graph, lambda: read_pt2_weights(path))
    try:
        stored = load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        if head[:1] == b"\x80":  # also a length that a safetensors file may begin with
            raise DataError(_no_weights(path, "pickle")) from None
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: no safetensors file ({reason}); {_ACCEPTED}") from None
    weights = {}
    for tensor in graph.tensors:
        if tensor.source is None:
            continue
        if tensor.id in stored:
            weights[tensor.id] = _checked(graph, tensor, stored[tensor.id], path)
        elif tensor.source.kind == "zeros":
            weights[tensor.id] = _zeros(graph, tensor)
        else:
            raise DataError(
                f"{path}: no weights for {tensor.id!r}; write the file again with --weights-out"
            )
    return weights


def _no_weights(path: str, kind: str) -> str:
    what = "this is no weights file" if kind == "unknown" else f"a {kind} (.pt) is not read here"
    return f"{path}: {what}; {_ACCEPTED}"


def _value(graph: OpGraph, tensor: Tensor, original: Weights) -> torch.Tensor:
    assert tensor.source is not None
    if tensor.source.kind == "zeros":
        return _zeros(graph, tensor)
    return _checked(graph, tensor, apply_source(tensor.source, original), "weights")


def _checked(graph: OpGraph, tensor: Tensor, value: torch.Tensor, where: str) -> torch.Tensor:
    shape = _shape(graph, tensor)
    dtype = str(value.dtype).removeprefix("torch.")
    if tuple(value.shape) != shape or dtype != tensor.dtype:
        raise DataError(
            f"{where}: {tensor.id!r} is {dtype}{list(value.shape)}, the graph says "
            f"{tensor.dtype}{list(shape)}; is this the model that the graph was traced from?"
        )
    return value


def _zeros(graph: OpGraph, tensor: Tensor) -> torch.Tensor:
    return torch.zeros(_shape(graph, tensor), dtype=getattr(torch, tensor.dtype))


def _shape(graph: OpGraph, tensor: Tensor) -> tuple[int, ...]:
    return tuple(size.at(graph.traced_batch) for size in tensor.shape)


def _scale(gamma: torch.Tensor | None, variance: torch.Tensor, epsilon: float) -> torch.Tensor:
    scale = (variance.double() + epsilon).rsqrt()
    return scale if gamma is None else gamma.double() * scale


def _named(name: str, original: Weights) -> torch.Tensor:
    if name not in original:
        raise DataError(f"weights: the model has no tensor {name!r}; is it another model?")
    return original[name].detach()
