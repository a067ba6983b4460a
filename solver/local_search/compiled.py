"""Compilation of inner loops to machine code, once per installation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

__all__ = ["compiled"]

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile ``function`` at its first call; the result is kept on disk.

    It holds no interpreter lock, so that threads run side by side.
    """
    try:
        return cast(Function, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # neither this folder nor the user's cache folder can be written to
        return cast(Function, numba.njit(nogil=True)(function))
