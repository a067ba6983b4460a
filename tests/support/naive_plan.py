"""Valid plans by the plainest means, for tests of the checker and of what consumes plans.

Shares no code with the solver or the checker.  A body is a list of (operation, alternative);
each read is served by the latest computation, each buffer lives until its last read, and
addresses are stacked, or found by first fit where ``reuse``.  What uses an operand up writes its
results a step later; that no one reads the operand again is up to the body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from memplan.ir.baseline import baseline_bytes
from memplan.ir.blocks import block_cost, mutated_tensors
from memplan.ir.graph import Alternative, Operation, OpGraph
from memplan.ir.importance import importance_units, total_units
from memplan.ir.options import update_options
from memplan.ir.plan import (
    Buffer,
    Certificate,
    Level,
    Peak,
    PeakTensor,
    Plan,
    Scope,
    Step,
    Totals,
)
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.ir.sizes import (
    alternative_allowed,
    alternative_cost,
    frozen_bytes,
    input_bytes,
    tensor_bytes,
    updated_parameters,
    workspace_bytes,
)

__all__ = ["Layout", "default_mask", "naive_plan", "plain_body", "with_recomputation"]

Body = Sequence[tuple[str, str]]
Mask = Mapping[str, LayerUpdate]


def default_mask(graph: OpGraph, request: PlanRequest) -> tuple[LayerUpdate, ...]:
    """Return the last option of every layer: the whole of it, where that is allowed."""
    chosen = (choices[-1] for choices in update_options(graph, request).values())
    return tuple(update for update in chosen if update is not None)


def plain_body(graph: OpGraph, mask: Mask, trips: int) -> list[tuple[str, str]]:
    """Return what one trip needs in traced order, each by its first allowed alternative."""
    updating = "update" if trips == 1 else "accumulate"
    updated = updated_parameters(graph, mask)
    wanted = set(graph.outputs)
    body = []
    for operation in reversed(graph.operations):
        if operation.phase == updating:
            runs = operation.parameter in updated
        elif operation.phase in ("forward", "backward"):
            runs = any(name in wanted for name in operation.writes)
        else:
            runs = operation.phase == "statistics"
        if runs:
            first = _first(operation, mask)
            body.append((operation.id, first.name))
            wanted.update(operand.tensor for operand in first.reads)
    return body[::-1]


def with_recomputation(body: Body, again: str, before: str) -> list[tuple[str, str]]:
    """Return a body that computes ``again`` once more right before ``before`` first runs."""
    place = next(i for i, (name, _) in enumerate(body) if name == before)
    way = next(way for name, way in body if name == again)
    return [*body[:place], (again, way), *body[place:]]


def naive_plan(
    graph: OpGraph,
    request: PlanRequest,
    mask: Sequence[LayerUpdate] | None = None,
    micro_batch: int | None = None,
    body: Body | None = None,
    reuse: bool = False,
    in_place: bool = False,
) -> Plan:
    """Return a valid plan; it is within the budget only if the budget is large enough."""
    chosen = tuple(default_mask(graph, request) if mask is None else mask)
    if graph.mode == "infer":
        chosen = ()
    by_layer = {update.layer: update for update in chosen}
    samples = micro_batch or (
        request.batch if request.micro_batch == "auto" else request.micro_batch
    )
    trips = request.batch // samples
    body = plain_body(graph, by_layer, trips) if body is None else list(body)
    updated = updated_parameters(graph, by_layer)
    outer: dict[str, list[tuple[str, str]]] = {"clear": [], "apply": []}
    for operation in graph.operations:
        if trips > 1 and operation.phase in outer and operation.parameter in updated:
            outer[operation.phase].append((operation.id, _first(operation, by_layer).name))
    layout = Layout(graph, request, by_layer, samples)
    layout.run(outer["clear"], body, outer["apply"])
    layout.place(reuse, in_place)
    return layout.plan(chosen)


def _first(operation: Operation, mask: Mask) -> Alternative:
    return next(way for way in operation.alternatives if alternative_allowed(operation, way, mask))


class Layout:
    """Steps and buffers of one plan while they are put together."""

    def __init__(self, graph: OpGraph, request: PlanRequest, mask: Mask, samples: int) -> None:
        self.graph = graph
        self.request = request
        self.mask = mask
        self.samples = samples
        self.trips = request.batch // samples
        self.steps: list[dict[str, Any]] = []
        self.buffers: list[dict[str, Any]] = []
        self.sections: list[tuple[int, int]] = []
        self.ways: list[tuple[Operation, Alternative]] = []
        self.pairs: list[tuple[int, int]] = []

    def run(self, *sections: Body) -> None:
        """Lay out steps and lifetimes."""
        for section in sections:
            start = len(self.ways)
            for name, way_name in section:
                operation = self.graph.operation[name]
                way = next(w for w in operation.alternatives if w.name == way_name)
                self.ways.append((operation, way))
            self.sections.append((start, len(self.ways)))
        total = len(self.ways)
        mutated = {name for each in self.ways for name in mutated_tensors(self.graph, *each)}
        body_start, body_end = self.sections[1]
        latest: dict[str, int] = {}
        used = {o.tensor for _, way in self.ways for o in way.reads}
        for tensor in self.graph.tensors:
            if tensor.id in mutated:
                scope: Scope = "batch" if tensor.role == "accumulator" else "persistent"
                latest[tensor.id] = self._buffer(tensor.id, 0, 0, total, scope)
            elif tensor.role in ("input", "label") and tensor.id in used:
                if self.trips > 1 and not self.request.stream_inputs:
                    latest[tensor.id] = self._buffer(tensor.id, 0, 0, total, "batch")
                else:
                    latest[tensor.id] = self._buffer(
                        tensor.id, 0, body_start, body_start + 1, "body"
                    )
        counts: dict[str, int] = {}
        for index, (operation, way) in enumerate(self.ways):
            computation = counts.get(operation.id, 0)
            counts[operation.id] = computation + 1
            reads = [latest.get(operand.tensor) for operand in way.reads]
            for place in reads:
                if place is not None and self.buffers[place]["scope"] == "body":
                    self.buffers[place]["end_step"] = index + 1
            workspace = None
            scratch = workspace_bytes(operation, way, self.samples, self.mask)
            if scratch:
                workspace = self._buffer(None, computation, index, index + 1, "body", scratch)
            writes = []
            ready = index if way.uses_up is None else index + 1
            for name in operation.writes:
                latest[name] = self._buffer(name, computation, ready, ready + 1, "body")
                writes.append(latest[name])
            self.steps.append(
                {
                    "operation": operation.id,
                    "computation": computation,
                    "alternative": way.name,
                    "reads": tuple(reads),
                    "writes": tuple(writes),
                    "mutates": tuple(
                        latest[name] for name in mutated_tensors(self.graph, operation, way)
                    ),
                    "workspace": workspace,
                }
            )
        for name in self.graph.outputs:
            self.buffers[latest[name]]["end_step"] = body_end

    def _buffer(
        self,
        name: str | None,
        computation: int,
        start: int,
        end: int,
        scope: Scope,
        size: int | None = None,
    ) -> int:
        if name is not None:
            tensor = self.graph.tensor[name]
            if tensor.role in ("input", "label"):
                size = input_bytes(
                    tensor, self.request.batch, self.samples, self.request.stream_inputs
                )
            else:
                size = tensor_bytes(tensor, self.samples, self.mask)
        self.buffers.append(
            {
                "id": len(self.buffers),
                "tensor": name,
                "computation": computation,
                "region": self._region(),
                "offset": 0,
                "size_bytes": size,
                "start_step": start,
                "end_step": end,
                "scope": scope,
            }
        )
        return len(self.buffers) - 1

    def _region(self) -> str:
        device = self.request.device
        return "ram" if device is None else next(r for r in device.regions if r.kind == "ram").name

    def place(self, reuse: bool, in_place: bool) -> None:
        """Choose addresses; in-place results take the place of their operand."""
        leader = list(range(len(self.buffers)))
        if in_place:
            self._alias(leader)
        groups: dict[int, list[dict[str, Any]]] = {}
        for place, buffer in enumerate(self.buffers):
            groups.setdefault(leader[place], []).append(buffer)
        step = self.request.alignment_bytes
        placed: list[tuple[int, int, list[dict[str, Any]]]] = []
        order = sorted(groups.values(), key=lambda g: (-g[0]["size_bytes"], g[0]["id"]))
        for group in order if reuse else groups.values():
            size = group[0]["size_bytes"]
            taken = sorted(
                (first, last)
                for first, last, other in placed
                if not reuse
                or any(
                    a["start_step"] < b["end_step"] and b["start_step"] < a["end_step"]
                    for a in group
                    for b in other
                )
            )
            offset = 0
            for first, last in taken:
                if offset + size <= first:
                    break
                offset = max(offset, -(-last // step) * step)
            placed.append((offset, offset + size, group))
            for buffer in group:
                buffer["offset"] = offset

    def _alias(self, leader: list[int]) -> None:
        for index, (_operation, way) in enumerate(self.ways):
            step = self.steps[index]
            taken: set[int] = set()
            for pair in way.in_place:
                read, write = step["reads"][pair.read], step["writes"][pair.write]
                if read is None or {read, write} & taken:
                    continue
                operand, result = self.buffers[read], self.buffers[write]
                if (
                    operand["scope"] == "body"
                    and operand["end_step"] == index + 1
                    and operand["size_bytes"] == result["size_bytes"]
                    and operand["tensor"] not in self.graph.outputs
                ):
                    leader[write] = leader[read]
                    taken |= {read, write}
                    self.pairs.append((index, operand["size_bytes"]))

    def plan(self, mask: tuple[LayerUpdate, ...]) -> Plan:
        """Return the plan with its figures."""
        body_start, body_end = self.sections[1]
        live = []
        for step in range(len(self.ways)):
            alive = sum(
                b["size_bytes"] for b in self.buffers if b["start_step"] <= step < b["end_step"]
            )
            live.append(alive - sum(size for index, size in self.pairs if index == step))
        body_live = live[body_start:body_end]
        peak_step = body_start + body_live.index(max(body_live))
        buffers = tuple(Buffer(**b) for b in self.buffers)
        totals = self._totals(buffers, max(body_live), mask)
        steps = tuple(Step(**s) for s in self.steps)
        names: list[tuple[str, str]] = [("time_ns", "minimize"), ("arena_bytes", "minimize")]
        if self.graph.mode == "train" and self.request.update == "auto":
            names.insert(0, ("importance", "maximize"))
        return Plan(
            request=self.request,
            batch=self.request.batch,
            micro_batch=self.samples,
            trips=self.trips,
            mask=mask,
            prologue=steps[:body_start],
            body=steps[body_start:body_end],
            epilogue=steps[body_end:],
            buffers=buffers,
            live_bytes=tuple(body_live),
            totals=totals,
            peak=Peak(
                step=peak_step,
                operation=steps[peak_step].operation,
                tensors=tuple(
                    PeakTensor(tensor=b.tensor or "workspace", size_bytes=b.size_bytes)
                    for b in sorted(buffers, key=lambda b: (-b.size_bytes, b.id))
                    if b.start_step <= peak_step < b.end_step
                ),
            ),
            certificate=Certificate(
                status="feasible",
                levels=tuple(
                    Level.model_validate(
                        {
                            "name": name,
                            "sense": sense,
                            "value": getattr(totals, name),
                            "bound": None,
                            "gap": None,
                        }
                    )
                    for name, sense in names
                ),
                lower_bound_bytes=0,
                restrictions=("traced order",),
                solver="naive",
                graph_hash=self.graph.content_hash(),
                request_hash=self.request.content_hash(),
            ),
        )

    def _totals(
        self, buffers: tuple[Buffer, ...], peak: int, mask: tuple[LayerUpdate, ...]
    ) -> Totals:
        graph, request, samples = self.graph, self.request, self.samples
        macs = time_ns = 0
        runs: dict[str, int] = {}
        for index, (operation, way) in enumerate(self.ways):
            times = self.trips if self.sections[1][0] <= index < self.sections[1][1] else 1
            cost, moved = block_cost(graph, operation, way, samples, self.mask)
            macs += times * cost
            time_ns += times * request.rates.time_ns(cost, moved)
            runs[operation.id] = runs.get(operation.id, 0) + 1
        plain = 0
        for name, way_name in plain_body(graph, self.mask, self.trips):
            operation = graph.operation[name]
            way = next(w for w in operation.alternatives if w.name == way_name)
            plain += self.trips * alternative_cost(operation, way, samples, self.mask)[0]
        for index in (*range(*self.sections[0]), *range(*self.sections[2])):
            operation, way = self.ways[index]
            plain += alternative_cost(operation, way, samples, self.mask)[0]
        return Totals(
            arena_bytes=max(b.offset + b.size_bytes for b in buffers),
            persistent_bytes=sum(b.size_bytes for b in buffers if b.scope == "persistent"),
            peak_live_bytes=peak,
            frozen_bytes=frozen_bytes(graph, samples, self.mask),
            macs=macs,
            plain_macs=plain,
            time_ns=time_ns,
            importance=sum(importance_units(graph, request, mask).values()),
            importance_total=total_units(graph, request),
            recomputed_operations=sum(count > 1 for count in runs.values()),
            baseline_bytes=baseline_bytes(graph, request.batch),
        )
