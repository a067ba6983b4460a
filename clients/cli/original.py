"""The original module of a plan, for ``plan run --against MODEL``."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

from memplan.clients import pipeline

if TYPE_CHECKING:
    from torch import nn

__all__ = ["original_module"]


def original_module(argument: str, inputs: Sequence[str], trust: bool) -> nn.Module:
    """Return the exported forward pass of a model with its weights in place.

    It is what the loader read, before anything that tracing does to it.

    Raises:
        ModelError: the model cannot be loaded.
    """
    import torch
    from torch import nn

    loaded = pipeline.load_model(argument, inputs, trust)
    module = copy.deepcopy(loaded.forward)
    for name, value in loaded.read_weights().items():
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
