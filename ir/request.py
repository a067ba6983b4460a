"""PlanRequest: what the user wants of a graph."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from memplan.ir.base import Contract, Document, Name
from memplan.ir.device import HOST, Device, Rates
from memplan.ir.errors import MemplanError, RequestError
from memplan.ir.graph import AxisName
from memplan.ir.limits import MAX_BATCH, MAX_BYTES, MAX_OPERATIONS

__all__ = ["Criterion", "LayerUpdate", "PlanRequest"]

Criterion = Literal["tinytrain", "fisher", "contribution", "uniform"]
Channels = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=2**20)]


class LayerUpdate(Contract):
    """What of one layer is updated.  Layers that a mask does not list are frozen.

    ``weight``: ``"none"``, ``"whole"``, or the axis along which ``channels`` are updated.
    """

    layer: Name
    bias: bool = False
    weight: Literal["none", "whole"] | AxisName = "none"
    #: Ascending channel indices; empty unless ``weight`` is an axis.
    channels: Channels = ()

    @model_validator(mode="after")
    def _is_consistent(self) -> LayerUpdate:
        if (self.weight in ("input", "output")) != bool(self.channels):
            raise ValueError(
                f"layer {self.layer}: channels go with an axis, and an axis with channels"
            )
        if any(a >= b for a, b in zip(self.channels, self.channels[1:], strict=False)):
            raise ValueError(f"layer {self.layer}: channel indices must ascend")
        if not self.bias and self.weight == "none":
            raise ValueError(f"layer {self.layer}: nothing is updated; leave the layer out")
        return self


class PlanRequest(Document):
    """What the user wants of a graph.  Content hash of graph and request name a job."""

    error: ClassVar[type[MemplanError]] = RequestError

    schema_: Annotated[Literal["memplan.request/1"], Field(alias="schema")] = "memplan.request/1"
    #: Bytes that may be written at run time (design, section 4).
    budget_bytes: Annotated[int, Field(ge=1, le=MAX_BYTES)]
    device: Device | None = None
    batch: Annotated[int, Field(ge=1, le=MAX_BATCH)]
    #: ``"auto"``: any divisor of the batch.
    micro_batch: Literal["auto"] | Annotated[int, Field(ge=1, le=MAX_BATCH)] = "auto"
    #: ``auto`` chooses by importance; a tuple is a mask of the user's.
    update: (
        Literal["auto", "full", "last-layer", "bias"]
        | Annotated[tuple[LayerUpdate, ...], Field(max_length=MAX_OPERATIONS)]
    ) = "auto"
    criterion: Criterion = "tinytrain"
    #: For the criterion ``contribution``: gain of updating each layer whole.
    contributions: dict[str, Annotated[float, Field(ge=0)]] = {}
    #: Parts of the channels that ``auto`` may choose beside the whole: 1/8, 1/4, 1/2.
    slice_divisors: tuple[Annotated[int, Field(ge=2, le=64)], ...] = (8, 4, 2)
    #: Extra MACs (recomputation) at most this times the MACs of one forward pass; null: no limit.
    compute_limit: Annotated[float, Field(ge=0, le=1e6)] | None = 1.0
    #: Most computations of one operation; null: no limit, and exact models consider three.
    computations: Annotated[int, Field(ge=1, le=16)] | None = None
    #: The batch of samples is not resident: each micro-batch is loaded at the start of its trip.
    stream_inputs: bool = False
    alignment_bytes: Annotated[int, Field(ge=1, le=4096)] = 16
    time_limit_seconds: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    #: The time limit counts work done and not the clock: the same plan every time, on any machine.
    deterministic: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    workers: Annotated[int, Field(ge=1, le=256)] = 2

    model_config = Document.model_config | {"populate_by_name": True}

    @model_validator(mode="after")
    def _is_consistent(self) -> PlanRequest:
        if self.micro_batch != "auto" and self.batch % self.micro_batch:
            raise ValueError(
                f"micro_batch {self.micro_batch} does not divide the batch {self.batch}"
            )
        if isinstance(self.update, tuple) and len({u.layer for u in self.update}) < len(
            self.update
        ):
            raise ValueError("a layer stands twice in the update mask")
        return self

    @property
    def modelled_computations(self) -> int:
        """Most computations of one operation that exact models consider."""
        return 3 if self.computations is None else self.computations

    @property
    def rates(self) -> Rates:
        """Speed of the device, or of the stand-in host."""
        return self.device.rates if self.device else HOST
