"""The original module of a plan, for ``plan run --against MODEL``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from memplan.clients import pipeline
from memplan.clients.executors.torch import sound_originals
from memplan.ir.graph import OpGraph

if TYPE_CHECKING:
    import torch
    from torch import nn

    from memplan.tracing.loaded import LoadedModel

__all__ = ["Original"]


@dataclass(frozen=True)
class Original:
    """What the loader read, before anything that tracing does to it, and values for it."""

    model: LoadedModel
    #: Parameters, buffers and constants by qualified name.
    values: Mapping[str, torch.Tensor]

    @classmethod
    def load(cls, argument: str, inputs: Sequence[str], trust: bool) -> Original:
        """Load a model with its own weights.

        Raises:
            ModelError: the model cannot be loaded.
        """
        model = pipeline.load_model(argument, inputs, trust)
        return cls(model, model.read_weights())

    def redrawn(self, graph: OpGraph, seed: int) -> Original:
        """Return the same model with random weights that keep its signals alive."""
        values = sound_originals(graph, self.values, seed)
        tied = {name: values[first] for name, first in self.model.tied.items() if first in values}
        return replace(self, values={**values, **tied})

    def weights_of(self, graph: OpGraph) -> dict[str, torch.Tensor]:
        """Return what its graph makes of these values (batch norm folded, for one)."""
        from memplan.tracing.weights import build_weights

        return build_weights(graph, lambda: self.values)

    def module(self, graph: OpGraph) -> nn.Module:
        """Return the exported forward pass with these values in place, as its graph treats it.

        An exported program says in every batch norm and dropout whether it trains; a graph says
        once what becomes of them.  Dropout is off.
        """
        import torch
        from torch import nn

        from memplan.tracing.training_flags import without_chance

        trains = graph.mode == "train" and graph.batch_norm == "train"
        module = without_chance(self.model.forward, batch_statistics=trains)
        for name, value in self.values.items():
            owner_name, _, attribute = name.rpartition(".")
            try:
                owner = module.get_submodule(owner_name)
            except AttributeError:
                continue  # a parameter that the forward pass does not read
            if attribute in owner._parameters:
                owner._parameters[attribute] = nn.Parameter(
                    value, requires_grad=value.is_floating_point()
                )
            elif attribute in owner._buffers:
                owner._buffers[attribute] = value
            elif isinstance(getattr(owner, attribute, None), torch.Tensor):
                setattr(owner, attribute, value)
        return module
