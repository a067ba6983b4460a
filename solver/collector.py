"""Python's garbage collector, kept from what was there before a search."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["old_objects_left_alone"]


@contextmanager
def old_objects_left_alone() -> Iterator[None]:
    """Let the collector pass over everything that exists now, until the context ends.

    A traced graph and the modules around it are hundreds of thousands of objects that all stay.  A
    search makes many of its own, and each full collection would look through all of them: about a
    third of the time of choosing masks.  Whoever has frozen objects already is left alone.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
