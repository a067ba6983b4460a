"""Plan: the answer.  With the graph and a weights file an executor needs nothing else.

Steps are numbered through prologue, body and epilogue; a buffer's lifetime counts in that
numbering.  The body runs ``trips`` times with identical addresses.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from memplan.ir.base import Contract, Document, Name
from memplan.ir.errors import MemplanError, PlanRejectedError
from memplan.ir.limits import (
    MAX_ACCESSES,
    MAX_BATCH,
    MAX_BUFFERS,
    MAX_BYTES,
    MAX_OPERATIONS,
    MAX_STEPS,
)
from memplan.ir.request import LayerUpdate, PlanRequest

__all__ = [
    "Buffer",
    "Certificate",
    "Level",
    "Peak",
    "PeakTensor",
    "Plan",
    "Scope",
    "Status",
    "Step",
    "Totals",
]

Count = Annotated[int, Field(ge=0)]
Bytes = Annotated[int, Field(ge=0, le=MAX_BYTES)]
Scope = Literal[
    "persistent",  # the whole plan, whatever it does: updated weights, optimizer state
    "batch",       # owns its bytes through the whole loop: accumulators, the resident batch
    "body",        # dead at the end of its section (the body's trip, the prologue, the epilogue)
]  # fmt: skip
Status = Literal["optimal", "feasible"]


class Step(Contract):
    """One execution of one operation."""

    operation: Name
    #: Which computation of the operation this is, from 0.
    computation: Count = 0
    alternative: Name = "plain"
    #: For each operand of the alternative the buffer it is read from; null: outside the arena
    #: (frozen weights and constants).  A partly updated weight names the buffer of its slice.
    reads: tuple[Count | None, ...] = ()
    #: For each written tensor its buffer.
    writes: tuple[Count, ...] = ()
    #: For each mutated tensor its buffer.
    mutates: tuple[Count, ...] = ()
    workspace: Count | None = None


class Buffer(Contract):
    """Bytes of the arena that a tensor instance owns over a lifetime [start_step, end_step)."""

    id: Count
    #: Null for workspace.
    tensor: Name | None
    #: The computation of its operation that fills it.
    computation: Count = 0
    region: Name = "ram"
    offset: Bytes
    size_bytes: Bytes
    start_step: Count
    end_step: Count
    scope: Scope


class Totals(Contract):
    """What the plan costs; every figure is recomputed by the checker."""

    #: Highest end of any buffer.
    arena_bytes: Bytes
    #: What must be there during the whole step whatever the plan does.
    persistent_bytes: Bytes
    peak_live_bytes: Bytes
    #: Frozen weights and constants, which no step writes; outside the budget unless the device
    #: keeps weights in RAM.
    frozen_bytes: Bytes
    #: Of one batch, as planned.
    macs: Count
    #: Of the plain step: the same mask and micro-batch, every operation at most once.
    plain_macs: Count
    time_ns: Count
    #: Importance units (``ir.importance``) of the update mask, and of updating everything.
    importance: Count
    importance_total: Count
    recomputed_operations: Count
    #: Peak of live bytes of the plain full-update step (``ir.baseline``).
    baseline_bytes: Bytes


class PeakTensor(Contract):
    tensor: Name
    size_bytes: Bytes


class Peak(Contract):
    """What sets the peak of live bytes: the step, and what is live there, largest first."""

    step: Count
    operation: Name
    tensors: Annotated[tuple[PeakTensor, ...], Field(max_length=MAX_BUFFERS)]


class Level(Contract):
    """One level of the objective.  ``bound`` is proven; null where nothing is proven."""

    name: Literal["importance", "time_ns", "arena_bytes"]
    sense: Literal["maximize", "minimize"]
    value: int
    bound: int | None
    #: |value - bound| / max(1, |value|); null without a bound.
    gap: Annotated[float, Field(ge=0)] | None


class Certificate(Contract):
    """What is proved about a plan, and under which restrictions."""

    status: Status
    levels: tuple[Level, ...]
    #: No plan that the request allows needs fewer bytes.
    lower_bound_bytes: Bytes
    #: Under which ``status`` and the levels' bounds hold; empty: none.
    restrictions: tuple[str, ...]
    #: No plan that the request allows, of this importance, is faster, whatever the restrictions
    #: are; null where nothing is proven so.
    lower_bound_time_ns: Annotated[int, Field(ge=0)] | None = None
    solver: Name
    graph_hash: Name
    request_hash: Name
    #: Set by the checker's caller once the plan was accepted.
    checked_by: str = ""


Steps = Annotated[tuple[Step, ...], Field(max_length=MAX_STEPS)]


class Plan(Document):
    """An execution plan."""

    error: ClassVar[type[MemplanError]] = PlanRejectedError

    schema_: Annotated[Literal["memplan.plan/1"], Field(alias="schema")] = "memplan.plan/1"
    request: PlanRequest
    batch: Annotated[int, Field(ge=1, le=MAX_BATCH)]
    micro_batch: Annotated[int, Field(ge=1, le=MAX_BATCH)]
    trips: Annotated[int, Field(ge=1, le=MAX_BATCH)]
    mask: Annotated[tuple[LayerUpdate, ...], Field(max_length=MAX_OPERATIONS)]
    prologue: Steps
    body: Steps
    epilogue: Steps
    buffers: Annotated[tuple[Buffer, ...], Field(max_length=MAX_BUFFERS)]
    #: Predicted live bytes at each step of the body.
    live_bytes: Annotated[tuple[Bytes, ...], Field(max_length=MAX_STEPS)]
    totals: Totals
    peak: Peak
    certificate: Certificate

    model_config = Document.model_config | {"populate_by_name": True}

    @model_validator(mode="after")
    def _is_of_checkable_size(self) -> Plan:
        if len(self.steps) > MAX_STEPS:
            raise ValueError(f"{len(self.steps)} steps; a plan has at most {MAX_STEPS}")
        accesses = sum(
            len(step.reads) + len(step.writes) + len(step.mutates) for step in self.steps
        )
        if accesses > MAX_ACCESSES:
            raise ValueError(
                f"the steps name {accesses} buffers; those of a plan name at most {MAX_ACCESSES}"
            )
        return self

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Prologue, body and epilogue in one numbering."""
        return self.prologue + self.body + self.epilogue

    @cached_property
    def update_of(self) -> dict[str, LayerUpdate]:
        """The mask by layer."""
        return {update.layer: update for update in self.mask}
