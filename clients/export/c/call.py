"""Call: one execution of one operation with everything resolved, as makers of C code get it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from memplan.clients.export.c.views import View
from memplan.ir.request import LayerUpdate
from memplan.ir.units import Affine

__all__ = ["RUNNING", "Call", "Phantom", "Running", "UnsupportedError"]


class UnsupportedError(Exception):
    """There is no C code for a call; says why in a few words.  Never leaves the exporter."""


class Running:
    """Stands in arguments for the value so far (``memplan.elementwise``, ``memplan.fused``)."""


RUNNING: Final = Running()


@dataclass(frozen=True, slots=True)
class Phantom:
    """A tensor whose shape matters and whose values are never read."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Call:
    """One execution of an operation; operands in ``arguments`` are views."""

    operation: str
    target: str
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    writes: tuple[View, ...]
    mutates: tuple[View, ...] = ()
    #: Of each update that the call performs as well, what it mutates; ``mutates`` ends with these.
    covered: tuple[tuple[View, ...], ...] = ()
    #: Bytes of scratch memory in the arena.
    workspace: View | None = None
    #: The mask of the operation's layer.
    update: LayerUpdate | None = None
    write_shapes: tuple[tuple[Affine, ...], ...] = ()
    micro_batch: int = 1
    trips: int = 1
    reads: Sequence[View] = field(default_factory=tuple)
    #: The operand whose bytes are scratch as soon as nothing needs them; the result goes last.
    used_up: View | None = None

    @property
    def axis(self) -> str | None:
        """The axis along which the layer's weight is cut, or None."""
        if self.update is not None and self.update.weight in ("input", "output"):
            return self.update.weight
        return None

    @property
    def channels(self) -> tuple[int, ...]:
        """The channels that the mask takes along ``axis``."""
        return self.update.channels if self.update is not None else ()

    def argument(self, index: int, default: Any = None) -> Any:
        """Return a positional argument, or its default where it is left out."""
        return self.arguments[index] if index < len(self.arguments) else default


def floats(*views: View | None) -> None:
    """Refuse operands that are not float32."""
    for view in views:
        if view is not None and view.dtype != "float32":
            raise UnsupportedError(f"operands of type {view.dtype}")


def dense(*views: View | None) -> None:
    """Refuse operands with gaps, or in another order than row-major."""
    for view in views:
        if view is not None and not view.is_dense:
            raise UnsupportedError(f"an operand of shape {view.shape} with strides {view.strides}")


def whole(*views: View | None) -> None:
    """Refuse partly updated weights where nothing reads them in two pieces."""
    for view in views:
        if view is not None and view.split is not None:
            raise UnsupportedError("a partly updated operand")


__all__ += ["dense", "floats", "whole"]
