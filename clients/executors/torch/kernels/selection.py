"""Some channels of a tensor: a view where they are neighbours, else a copy outside the arena."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from memplan.clients.executors.torch.kernels.call import Run

__all__ = ["with_channels"]


def with_channels(
    whole: torch.Tensor, dim: int, channels: Sequence[int], bind: Callable[[torch.Tensor], Run]
) -> Run:
    """Return a run of what ``bind`` makes of the ``channels`` of ``whole`` along ``dim``."""
    first, count = channels[0], len(channels)
    if channels[-1] - first + 1 == count:
        return bind(whole.narrow(dim, first, count))
    chosen = torch.tensor(channels)

    def run() -> None:
        bind(whole.index_select(dim, chosen))()

    return run
