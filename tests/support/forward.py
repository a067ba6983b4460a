"""Run a loaded model's forward graph on real weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from memplan.tracing.loaded import LoadedModel

__all__ = ["run_with_weights"]


def run_with_weights(loaded: LoadedModel, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the outputs of ``loaded.forward`` with the weights that ``read_weights`` gives."""
    weights = loaded.read_weights()

    class Runner(fx.Interpreter):
        def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
            return weights[target].clone()

    with torch.no_grad():
        outputs: tuple[torch.Tensor, ...] = Runner(loaded.forward).run(*inputs)
    return outputs
