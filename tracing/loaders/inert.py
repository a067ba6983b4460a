"""Unpickle a module without creating a module.

``weights_only=True`` is no sandbox: allow-listed classes are instantiated, their ``__setstate__``
runs, and callables in an instance's ``__dict__`` survive.  So the names of ``torch.nn`` classes
resolve to inert records here, which only keep the state they are given.  ``rebuild`` makes
modules of them after looking at everything.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import nn

__all__ = ["ALLOWED", "InertFunction", "InertModule"]


class InertModule:
    """What a pickled module left: its class, and its state unopened."""

    real: ClassVar[type[nn.Module]]

    def __new__(cls, *arguments: Any) -> InertModule:
        """Accept no arguments: a module is pickled by its state, not by a call."""
        if arguments or cls is InertModule:
            raise ValueError("a module cannot be made by a call")
        made = super().__new__(cls)
        made.state = None
        return made

    state: Any

    def __setstate__(self, state: Any) -> None:
        self.state = state


class InertFunction:
    """A function that a module may name as its activation.  It cannot be called here."""

    real: ClassVar[Callable[..., Any]]

    def __new__(cls, *arguments: Any) -> InertFunction:
        """Refuse to run."""
        raise ValueError("a function cannot be called while a file is read")


def _module_classes() -> dict[str, type[nn.Module]]:
    """Return all concrete layers of ``torch.nn``, by the name a pickle gives them."""
    import torch.nn.modules as modules

    classes = [member for _, member in inspect.getmembers(nn, inspect.isclass)]
    classes.append(modules.linear.NonDynamicallyQuantizableLinear)
    return {
        f"{found.__module__}.{found.__qualname__}": found
        for found in classes
        if issubclass(found, nn.Module)
        and found.__module__.startswith("torch.nn.modules.")
        and not issubclass(found, nn.modules.lazy.LazyModuleMixin)
    }


def _inert_types() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    inert: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = []
    for name, real in _module_classes().items():
        inert.append((type(f"Inert{real.__name__}", (InertModule,), {"real": real}), name))
    for name in ("relu", "gelu"):
        function = staticmethod(getattr(torch.nn.functional, name))
        stand_in = type(f"Inert_{name}", (InertFunction,), {"real": function})
        inert.append((stand_in, f"torch.nn.functional.{name}"))
        # gelu is a builtin, which pickles under the name of its C module.
        inert.append((stand_in, f"torch._C._nn.{name}"))
    return inert


#: For ``torch.serialization.safe_globals``: (stand-in, name in the pickle).
ALLOWED: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = _inert_types()
