"""The problem that is solved: a graph at one micro-batch, as plain integers.

An ``Instance`` keeps every update option of every layer that the request allows.  Sizes and costs
are tuples over the options of the layer that cuts them (one entry where nothing does).
``build_instance`` makes them of a graph and a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import lcm

from memplan.ir.device import Region
from memplan.ir.graph import OpGraph
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.ir.sizes import frozen_bytes

__all__ = ["Choice", "Instance", "Item", "Store", "Way", "Work"]


@dataclass(frozen=True, slots=True)
class Choice:
    """The update options of one layer, and what each is worth in importance units."""

    layer: str
    options: tuple[LayerUpdate | None, ...]
    units: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """A tensor whose bytes the plan gives out and takes back within the body."""

    tensor: str
    #: Index of the layer whose option cuts it, or -1.
    choice: int
    #: Bytes per option (one entry without a layer).
    size_bytes: tuple[int, ...]
    #: Written by the host before the body starts.
    given: bool
    #: Must be there at the end of the body.
    kept: bool


@dataclass(frozen=True, slots=True)
class Store:
    """A tensor that lives through the whole plan if its layer's option wants it."""

    tensor: str
    choice: int
    #: Bytes per option; 0 where the option does not need it.
    size_bytes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Way:
    """One alternative of an operation, in indices of items and stores."""

    name: str
    #: Position among the operation's alternatives.
    alternative: int
    reads: tuple[int, ...]
    #: Names of parameters and states that it reads.
    stores: tuple[str, ...]
    #: Per option of the operation's layer; None where the option forbids this way.
    time_ns: tuple[int | None, ...]
    macs: tuple[int, ...]
    workspace_bytes: tuple[int, ...]
    #: (item read, item written) that may share bytes.
    in_place: tuple[tuple[int, int], ...]
    #: Parameters, states and accumulators that it mutates: the work's, and those of what it covers.
    mutates: tuple[str, ...]
    #: Works (updates) that it does as well.
    covers: tuple[int, ...]
    #: Item that it uses up, or -1.  It dies here, and what is written lives from the next step on.
    uses_up: int = -1


@dataclass(frozen=True, slots=True)
class Work:
    """An operation of the body."""

    operation: str
    phase: str
    choice: int
    writes: tuple[int, ...]
    mutates: tuple[str, ...]
    ways: tuple[Way, ...]
    recomputable: bool
    #: Per option of its layer: must it run?  (Updates.)  Others run if they are needed.
    demanded: tuple[bool, ...]

    def of_option(self, option: int) -> Work:
        """Return the work with one option of its layer, and the ways that this allows."""
        return replace(
            self,
            ways=tuple(
                replace(
                    way,
                    time_ns=(way.time_ns[option],),
                    macs=(way.macs[option],),
                    workspace_bytes=(way.workspace_bytes[option],),
                )
                for way in self.ways
                if way.time_ns[option] is not None
            ),
            demanded=(self.demanded[option],),
        )


@dataclass(frozen=True)
class Instance:
    """A graph, a request and a micro-batch as integers."""

    graph: OpGraph
    request: PlanRequest
    samples: int
    trips: int
    choices: tuple[Choice, ...]
    items: tuple[Item, ...]
    stores: tuple[Store, ...]
    works: tuple[Work, ...]
    #: Operations of prologue and epilogue.
    outside_operations: tuple[str, ...]
    #: Time and MACs of prologue and epilogue per layer option: (choice, time_ns, macs) tuples.
    outside_time_ns: tuple[tuple[int, tuple[int, ...]], ...]
    outside_macs: tuple[tuple[int, tuple[int, ...]], ...]
    #: Workspace that the epilogue needs beside the stores, per layer option.
    outside_workspace_bytes: tuple[tuple[int, tuple[int, ...]], ...]
    #: MACs of one forward pass over the whole batch.
    forward_macs: int

    @cached_property
    def producer(self) -> dict[int, int]:
        """The work that writes each item."""
        return {item: index for index, work in enumerate(self.works) for item in work.writes}

    @cached_property
    def coverable(self) -> frozenset[int]:
        """Works that some way of another work does as well."""
        return frozenset(v for work in self.works for way in work.ways for v in way.covers)

    @cached_property
    def fixed(self) -> bool:
        """True where each layer has one option."""
        return all(len(choice.options) == 1 for choice in self.choices)

    @cached_property
    def outside_ways(self) -> int:
        """Most ways of any operation of prologue and epilogue; plans use the first."""
        operation = self.graph.operation
        return max((len(operation[n].alternatives) for n in self.outside_operations), default=1)

    @cached_property
    def extra_macs_limit(self) -> int | None:
        """Most extra MACs that the request allows per batch; None: no limit."""
        limit = self.request.compute_limit
        return None if limit is None else int(limit * self.forward_macs)

    def chosen(self, mask: Mapping[str, LayerUpdate]) -> list[int] | None:
        """Return which option a mask gives each layer; None where it is not among them."""
        indices = self._option_index
        chosen = [indices.get((c.layer, mask.get(c.layer)), -1) for c in self.choices]
        return None if -1 in chosen else chosen

    def work_of_option(self, index: int, option: int) -> Work:
        """Return a work, none of whose ways covers others, with one option of its layer left."""
        key = index, option
        if key not in self._works_of_options:
            self._works_of_options[key] = self.works[index].of_option(option)
        return self._works_of_options[key]

    @cached_property
    def _option_index(self) -> dict[tuple[str, LayerUpdate | None], int]:
        return {(c.layer, o): index for c in self.choices for index, o in enumerate(c.options)}

    @cached_property
    def _works_of_options(self) -> dict[tuple[int, int], Work]:
        return {}

    def mask(self) -> dict[str, LayerUpdate]:
        """Return the update mask of a fixed instance."""
        return {c.layer: c.options[0] for c in self.choices if c.options[0] is not None}

    def aligned(self, size_bytes: int) -> int:
        """Round bytes up to the request's alignment."""
        return -(-size_bytes // self.alignment_bytes) * self.alignment_bytes

    @cached_property
    def region(self) -> Region | None:
        """The RAM region that the arena lies in: the device's largest; None without a device."""
        device = self.request.device
        if device is None:
            return None
        return max(
            (region for region in device.regions if region.kind == "ram"),
            key=lambda region: region.size_bytes - region.reserved_bytes,
        )

    @cached_property
    def alignment_bytes(self) -> int:
        """Every offset is a multiple of this."""
        own = self.request.alignment_bytes
        return own if self.region is None else lcm(own, self.region.alignment_bytes)

    @cached_property
    def capacity_bytes(self) -> int:
        """Highest end of any buffer: the budget, or what the region has."""
        if self.region is None:
            return self.request.budget_bytes
        return min(self.request.budget_bytes, self.region.size_bytes - self.region.reserved_bytes)

    @cached_property
    def store_bytes(self) -> int:
        """Aligned bytes of all stores of a fixed instance."""
        return sum(self.aligned(store.size_bytes[0]) for store in self.stores)

    @cached_property
    def limit_bytes(self) -> int:
        """Largest arena that a fixed instance may have."""
        request = self.request
        limit = self.capacity_bytes
        if request.device is not None and request.device.weights == "ram":
            frozen = frozen_bytes(self.graph, self.samples, self.mask())
            limit = min(limit, request.budget_bytes - frozen)
        return limit

    @cached_property
    def room_bytes(self) -> int:
        """Bytes that are left for the body's items in a fixed instance, rounded up to whole units.

        Up, because the topmost buffer need not be padded.
        """
        return self.aligned(max(0, self.limit_bytes - self.store_bytes))
