"""From a solution back to a Plan on the graph's own names."""

from __future__ import annotations

from dataclasses import dataclass, field

from memplan.ir.baseline import baseline_bytes
from memplan.ir.graph import Operation
from memplan.ir.importance import total_units
from memplan.ir.plan import (
    Buffer,
    Certificate,
    Peak,
    PeakTensor,
    Plan,
    Scope,
    Step,
    Totals,
)
from memplan.ir.sizes import frozen_bytes
from memplan.solver.solution import Solution, layout, plain_costs

__all__ = ["assemble"]


def assemble(solution: Solution, certificate: Certificate) -> Plan:
    """Return the plan that ``solution`` means, with totals, live bytes and peak."""
    return _Assembly(solution).plan(certificate)


@dataclass
class _Assembly:
    solution: Solution
    buffers: list[Buffer] = field(default_factory=list)
    store_buffer: dict[str, int] = field(default_factory=dict)

    def plan(self, certificate: Certificate) -> Plan:
        solution, instance = self.solution, self.solution.instance
        graph, request = instance.graph, instance.request
        mask = instance.mask()
        self.region = "ram" if instance.region is None else instance.region.name
        outside = [
            operation
            for phase in ("clear", "apply")
            for operation in graph.operations
            if instance.trips > 1 and operation.phase == phase and self._wanted(operation)
        ]
        clears = [operation for operation in outside if operation.phase == "clear"]
        applies = [operation for operation in outside if operation.phase == "apply"]
        self.first, self.length = len(clears), len(solution.schedule)
        self.total = self.first + self.length + len(applies)
        self.layout = layout(solution.lifetimes, solution.offsets, instance)
        self._stores()
        body = self._body()
        prologue = tuple(self._outside_step(op, step) for step, op in enumerate(clears))
        epilogue = tuple(
            self._outside_step(op, self.first + self.length + step)
            for step, op in enumerate(applies)
        )
        live = self._live()
        return Plan(
            request=request,
            batch=request.batch,
            micro_batch=instance.samples,
            trips=instance.trips,
            mask=tuple(mask.values()),
            prologue=prologue,
            body=body,
            epilogue=epilogue,
            buffers=tuple(self.buffers),
            live_bytes=tuple(live),
            totals=self._totals(live),
            peak=self._peak(live),
            certificate=certificate,
        )

    def _wanted(self, operation: Operation) -> bool:
        sizes = {s.tensor: s.size_bytes[0] for s in self.solution.instance.stores}
        return all(sizes.get(name, 0) > 0 for name in operation.mutates)

    def _add(
        self,
        tensor: str | None,
        offset: int,
        size_bytes: int,
        start_step: int,
        end_step: int,
        scope: Scope,
        computation: int = 0,
    ) -> int:
        number = len(self.buffers)
        self.buffers.append(
            Buffer(
                id=number,
                tensor=tensor,
                computation=computation,
                region=self.region,
                offset=offset,
                size_bytes=size_bytes,
                start_step=start_step,
                end_step=end_step,
                scope=scope,
            )
        )
        return number

    def _stores(self) -> None:
        instance = self.solution.instance
        offset = self.layout.stores_offset
        order = sorted(
            range(len(instance.stores)), key=lambda index: index == self.layout.last_store
        )
        for store in (instance.stores[index] for index in order):
            size = store.size_bytes[0]
            if not size:
                continue
            role = instance.graph.tensor[store.tensor].role
            scope: Scope = "persistent" if role in ("parameter", "state") else "batch"
            self.store_buffer[store.tensor] = self._add(
                tensor=store.tensor,
                offset=offset,
                size_bytes=size,
                start_step=0,
                end_step=self.total,
                scope=scope,
            )
            offset += instance.aligned(size)

    def _body(self) -> tuple[Step, ...]:
        solution, instance = self.solution, self.solution.instance
        lifetimes, first = solution.lifetimes, self.first
        member_buffer: dict[tuple[int, int, int], int] = {}
        scratch_buffer: dict[int, int] = {}
        for index, (block, offset) in enumerate(
            zip(lifetimes.blocks, solution.offsets, strict=True)
        ):
            offset += self.layout.body_offset
            for item, computation, start, end in block.members:
                member_buffer[index, item, computation] = self._add(
                    tensor=instance.items[item].tensor,
                    computation=computation,
                    offset=offset,
                    size_bytes=block.exact,
                    start_step=first + start,
                    end_step=first + end,
                    scope="body",
                )
            if not block.members:
                scratch_buffer[index] = self._add(
                    tensor=None,
                    offset=offset,
                    size_bytes=block.exact,
                    start_step=first + block.start,
                    end_step=first + block.end,
                    scope="body",
                )
        count: dict[int, int] = {}
        item_of = {item.tensor: index for index, item in enumerate(instance.items)}
        steps = []
        for step, (work_index, way_index) in enumerate(solution.schedule):
            work = instance.works[work_index]
            way = work.ways[way_index]
            computation = count.get(work_index, 0)
            count[work_index] = computation + 1
            operation = instance.graph.operation[work.operation]
            reads: list[int | None] = []
            for operand in operation.alternatives[way.alternative].reads:
                read = item_of.get(operand.tensor)
                if read is None:
                    reads.append(self.store_buffer.get(operand.tensor))
                else:
                    block_index, made = lifetimes.served[step][read]
                    reads.append(member_buffer[block_index, read, made])
            scratch = lifetimes.workspace[step]
            steps.append(
                Step(
                    operation=work.operation,
                    computation=computation,
                    alternative=way.name,
                    reads=tuple(reads),
                    writes=tuple(
                        member_buffer[block_index, item, computation]
                        for item, block_index in zip(
                            work.writes, lifetimes.written[step], strict=True
                        )
                    ),
                    mutates=tuple(self.store_buffer[name] for name in way.mutates),
                    workspace=scratch_buffer[scratch] if scratch >= 0 else None,
                )
            )
        return tuple(steps)

    def _outside_step(self, operation: Operation, step: int) -> Step:
        instance = self.solution.instance
        plain = operation.alternatives[0]
        needed = plain.workspace_bytes.at(instance.samples)
        for (_, sizes), name in zip(
            instance.outside_workspace_bytes, instance.outside_operations, strict=True
        ):
            if name == operation.id:
                needed = sizes[0]
        workspace = None
        if needed:
            workspace = self._add(
                tensor=None,
                offset=self.layout.body_offset,
                size_bytes=needed,
                start_step=step,
                end_step=step + 1,
                scope="body",
            )
        return Step(
            operation=operation.id,
            alternative=plain.name,
            reads=tuple(self.store_buffer.get(operand.tensor) for operand in plain.reads),
            mutates=tuple(self.store_buffer[name] for name in operation.mutates),
            workspace=workspace,
        )

    def _live(self) -> list[int]:
        """Return the bytes owned at each step of the body, shared bytes counted once."""
        instance = self.solution.instance
        change = [0] * (self.length + 1)
        for block in self.solution.lifetimes.blocks:
            change[block.start] += block.exact
            change[block.end] -= block.exact
        stores = sum(store.size_bytes[0] for store in instance.stores)
        live, total = [], stores
        for step in range(self.length):
            total += change[step]
            live.append(total)
        return live

    def _totals(self, live: list[int]) -> Totals:
        solution, instance = self.solution, self.solution.instance
        table, graph, request = solution.table, instance.graph, instance.request
        _, outside_macs = plain_costs(instance)
        count: dict[int, int] = {}
        for work, _ in solution.schedule:
            count[work] = count.get(work, 0) + 1
        return Totals(
            arena_bytes=max(b.offset + b.size_bytes for b in self.buffers),
            persistent_bytes=sum(b.size_bytes for b in self.buffers if b.scope == "persistent"),
            peak_live_bytes=max(live, default=0),
            frozen_bytes=frozen_bytes(graph, instance.samples, instance.mask()),
            macs=outside_macs
            + instance.trips * sum(table.macs[work][way] for work, way in solution.schedule),
            plain_macs=outside_macs + instance.trips * table.plain_macs,
            time_ns=solution.worth.time_ns,
            importance=-solution.worth.minus_importance,
            importance_total=total_units(graph, request),
            recomputed_operations=sum(1 for times in count.values() if times > 1),
            baseline_bytes=baseline_bytes(graph, request.batch),
        )

    def _peak(self, live: list[int]) -> Peak:
        step = max(range(len(live)), key=lambda s: live[s])
        at = self.first + step
        there = [b for b in self.buffers if b.start_step <= at < b.end_step]
        tensors = [
            PeakTensor(tensor=b.tensor or "workspace", size_bytes=b.size_bytes) for b in there
        ]
        work = self.solution.instance.works[self.solution.schedule[step][0]]
        return Peak(
            step=at,
            operation=work.operation,
            tensors=tuple(sorted(tensors, key=lambda t: (-t.size_bytes, t.tensor))),
        )
