"""Python's cycle collector, paused where large documents are read, written and checked.

Documents are trees, so there is nothing for it to find; but while a million of their objects come
into being it would walk all of them again and again, which takes more time than all the rest.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collector_paused"]


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the cycle collector.  What has no cycles is freed all the same."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
