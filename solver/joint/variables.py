"""The decisions of the joint model as CP-SAT variables.

Sets: works v (operations), ways w of v, items t, choices l (layers), options o of l, computations
c of v (0 .. C_v - 1).

=============================  ==========================================================
``option[l][o]``               layer l is updated by option o; exactly one per layer
``runs[v, c]``                 computation c of v takes place
``way[v, c, w]``               ... by way w
``start[v, c]``                its step, 0 .. H - 1
``serves[v, c, t, d]``         computation c of v reads item t from computation d of its producer
``end[t, d]``                  first step at which that instance is no longer needed
``shares[Sharing]``            a written item takes the bytes of an operand that dies
``offset[t, d]``               address of the instance
=============================  ==========================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ortools.sat.python import cp_model

from memplan.solver.instance import Instance

__all__ = ["Expression", "JointModel", "Literal", "Sharing", "Windows"]

Literal = cp_model.IntVar
#: A linear expression, or the number that is left of it where nothing is variable.
Expression = cp_model.LinearExpr | int
#: Allowed steps (first, last) of (work, computation); absent: any.
Windows = Mapping[tuple[int, int], tuple[int, int]]


class Sharing(NamedTuple):
    """Computation ``computation`` of ``work`` writes over instance ``copy`` of ``read``."""

    work: int
    computation: int
    way: int
    read: int
    copy: int
    written: int


@dataclass
class JointModel:
    """The CP-SAT model under construction, and its variables by what they mean."""

    instance: Instance
    #: Computations per work that the model may choose.
    computations: tuple[int, ...]
    horizon: int
    windows: Windows = field(default_factory=dict)
    model: cp_model.CpModel = field(default_factory=cp_model.CpModel)
    option: list[list[Literal]] = field(default_factory=list)
    runs: dict[tuple[int, int], Literal] = field(default_factory=dict)
    way: dict[tuple[int, int, int], Literal] = field(default_factory=dict)
    start: dict[tuple[int, int], Literal] = field(default_factory=dict)
    serves: dict[tuple[int, int, int, int], Literal] = field(default_factory=dict)
    end: dict[tuple[int, int], Literal] = field(default_factory=dict)
    shares: dict[Sharing, Literal] = field(default_factory=dict)
    offset: dict[tuple[int, int], Literal] = field(default_factory=dict)
    #: Is the instance there at all?  (Computed, or given and read.)
    present: dict[tuple[int, int], Literal] = field(default_factory=dict)
    #: Interval of each instance's lifetime, without the step in which it gives its bytes away.
    lifetime: dict[tuple[int, int], cp_model.IntervalVar] = field(default_factory=dict)
    #: Size of each item in alignment units: a number, or a variable of its layer's option.
    size: list[Literal | int] = field(default_factory=list)
    #: Interval of the step of each way that needs workspace, and its size.
    scratch: dict[tuple[int, int, int], tuple[cp_model.IntervalVar, Literal | int]] = field(
        default_factory=dict
    )
    scratch_offset: dict[tuple[int, int, int], Literal] = field(default_factory=dict)
    #: Alignment units that the stores take, and that the body's items may take.
    stores: Literal | None = None
    room: Literal | None = None
    #: The stores stand above the body's items, a padded one on top (else below them all).
    stores_above: Literal | None = None
    #: Bytes of padding that the topmost store saves.
    spared: Literal | None = None
    arena: Literal | None = None
    importance: Expression = 0
    time_ns: Expression = 0

    @property
    def beyond(self) -> int:
        """End of what is there when the body is over: no operation of the body takes its bytes."""
        return self.horizon + 1

    def of_option(self, choice: int, values: tuple[int, ...], name: str) -> Literal | int:
        """Return the entry of ``values`` that belongs to the chosen option of a layer."""
        if choice < 0 or len(set(values)) == 1:
            return values[0]
        variable = self.model.new_int_var(min(values), max(values), name)
        self.model.add(
            variable
            == sum(v * literal for v, literal in zip(values, self.option[choice], strict=True))
        )
        return variable

    def late(self, work: int, computation: int) -> list[Literal]:
        """Return the ways of a computation that write when everything has been read."""
        return [
            self.way[work, computation, w]
            for w, way in enumerate(self.instance.works[work].ways)
            if way.uses_up >= 0
        ]

    def units(self, size_bytes: int) -> int:
        """Return bytes in alignment units, rounded up."""
        alignment = self.instance.alignment_bytes
        return -(-size_bytes // alignment)
