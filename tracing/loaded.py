"""A model on its way to a graph: what every loader returns, whatever the file was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

__all__ = ["InputSpec", "LoadedModel"]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a model, batch included."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class LoadedModel:
    """The forward pass as an ATen graph without weights, and a way to read the weights.

    ``forward`` is what ``torch.export`` calls the unlifted, pre-dispatch graph: placeholders are
    the user inputs in order; parameters, buffers and lifted constants are attributes (``get_attr``
    nodes with the qualified names of the original module), on the meta device.  Constants and
    buffers that may shape the computation (masks, position indices) have values; running
    statistics, which only batch norm reads, have none.  It takes tensors only, and returns a flat
    tuple of tensors, the model's first output first; arguments that were not tensors are baked in.
    Its operations are ATen overloads and a few functions of ``operator`` (sizes, ``getitem``);
    ``device=`` arguments say ``cpu``.

    The batch is the leading dimension of the first input; inputs of another leading size (a
    table, a scalar) do not grow with it.
    """

    name: str
    forward: torch.fx.GraphModule
    inputs: tuple[InputSpec, ...]
    #: Real values of parameters, buffers and constants by qualified name; read on demand.
    read_weights: Callable[[], Mapping[str, torch.Tensor]]
    #: Parameters that require a gradient.
    trainable: frozenset[str]
    #: Second name -> first name, where two names share one tensor.
    tied: Mapping[str, str] = field(default_factory=dict)
    #: True if ``forward`` also runs at other batches than that of ``inputs``.
    batch_free: bool = True
    #: Where samples of the model's own come from, if the loader knows some.
    source: str = ""
    #: Values for ``inputs`` in order that the model came with; empty if it came with none.
    example_inputs: tuple[torch.Tensor, ...] = ()
    #: What a user should know, one line each (why the batch is fixed, how to re-export).
    notes: tuple[str, ...] = ()

    @property
    def batch(self) -> int:
        """Samples in ``inputs``: the leading dimension of the first."""
        return self.inputs[0].shape[0]

    def batched(self, spec: InputSpec) -> bool:
        """Tell whether an input grows with the batch."""
        return bool(spec.shape) and spec.shape[0] == self.batch
