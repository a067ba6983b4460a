"""How many threads torch computes with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: sums in one order, so that two programs may be compared.

    On several, a convolution's sums depend on how its work was split, which differs from call to
    call; an activation on the kink of a ReLU then falls to one side here and to the other there,
    and gradients differ by per cents, though both are right.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
