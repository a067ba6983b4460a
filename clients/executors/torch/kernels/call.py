"""Call: one execution of one operation with everything resolved, as kernels get it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from memplan.ir.errors import ModelError
from memplan.ir.request import LayerUpdate
from memplan.ir.units import Affine

__all__ = ["RUNNING", "Call", "Covered", "Kernel", "Run", "RunState", "Running"]

#: What a kernel returns: call it, and the operation happens.
Run = Callable[[], object]


class Running:
    """Stands in arguments for the value so far (``memplan.elementwise``, ``memplan.fused``)."""


RUNNING: Final = Running()


@dataclass(slots=True)
class RunState:
    """What changes from trip to trip and from step to step; kernels read it when they run."""

    seed: int = 0
    trip: int = 0
    #: The batch as the host gives it, by tensor id: what operations take row by row.
    inputs: Mapping[str, torch.Tensor] = field(default_factory=dict)
    #: Is told of each part of a gradient that never exists whole: (parameter, first row, rows).
    on_gradient_rows: Callable[[str, int, torch.Tensor], None] | None = None


@dataclass(frozen=True, slots=True)
class Covered:
    """An update or accumulation that a call performs as well."""

    parameter: str
    mutates: tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One execution of an operation.

    Operands in ``arguments`` and ``keywords`` are views; lists stand for the contract's tuples.
    Results go into ``writes``; ``mutates`` are changed in their own bytes.
    """

    operation: str
    target: str
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    writes: tuple[torch.Tensor, ...]
    mutates: tuple[torch.Tensor, ...] = ()
    #: What the call performs as well; ``mutates`` ends with the tensors of these.
    covered: tuple[Covered, ...] = ()
    #: Bytes of scratch memory in the arena.
    workspace: torch.Tensor | None = None
    #: The mask of the operation's layer.
    update: LayerUpdate | None = None
    parameter: str | None = None
    #: Shapes of ``writes`` as they depend on the micro-batch.
    write_shapes: tuple[tuple[Affine, ...], ...] = ()
    micro_batch: int = 1
    trips: int = 1
    state: RunState = field(default_factory=RunState)

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

    def fail(self, problem: str) -> ModelError:
        """Return the error to raise where the operation cannot be executed as written."""
        return ModelError(f"operation {self.operation} ({self.target}): {problem}")


#: Resolves everything that does not change once, and returns what is left to do at each step.
Kernel = Callable[[Call], Run]
