"""Device: regions of memory and rates of computing."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from memplan.ir.base import Contract, Document, Name
from memplan.ir.errors import MemplanError, RequestError
from memplan.ir.limits import MAX_BYTES

__all__ = ["HOST", "Device", "Rates", "Region"]


class Region(Contract):
    """One block of a device's memory."""

    name: Name
    kind: Literal["ram", "flash"]
    size_bytes: Annotated[int, Field(ge=1, le=MAX_BYTES)]
    #: Taken by others (stack, runtime); not available to the arena.
    reserved_bytes: Annotated[int, Field(ge=0, le=MAX_BYTES)] = 0
    alignment_bytes: Annotated[int, Field(ge=1, le=4096)] = 16


class Rates(Contract):
    """Analytic speed, from which the deterministic default time of an operation follows."""

    macs_per_second: Annotated[int, Field(ge=1)]
    moved_bytes_per_second: Annotated[int, Field(ge=1)]
    overhead_ns: Annotated[int, Field(ge=0)] = 0

    def time_ns(self, macs: int, moved_bytes: int) -> int:
        """Return the time of one operation in whole nanoseconds, rounded up."""
        return (
            self.overhead_ns
            - (-macs * 1_000_000_000 // self.macs_per_second)
            - (-moved_bytes * 1_000_000_000 // self.moved_bytes_per_second)
        )


class Device(Document):
    """A target: where tensors may live, and how fast it computes."""

    error: ClassVar[type[MemplanError]] = RequestError

    schema_: Annotated[Literal["memplan.device/1"], Field(alias="schema")] = "memplan.device/1"
    name: Name
    regions: Annotated[tuple[Region, ...], Field(min_length=1, max_length=16)]
    rates: Rates
    #: Where frozen weights are read from: flash (microcontrollers) or RAM (phones).
    weights: Literal["flash", "ram"] = "flash"

    model_config = Document.model_config | {"populate_by_name": True}

    @model_validator(mode="after")
    def _has_ram(self) -> Device:
        if not any(region.kind == "ram" for region in self.regions):
            raise ValueError("a device needs at least one region of kind ram")
        if len({region.name for region in self.regions}) < len(self.regions):
            raise ValueError("two regions have the same name")
        return self


#: Rates that stand in where no device is named: a small Linux-class core, round numbers.
HOST = Rates(
    macs_per_second=10_000_000_000, moved_bytes_per_second=10_000_000_000, overhead_ns=1_000
)
