"""From a stored plan back to a solution: the reverse of ``assemble``.

A stored plan may be a stranger's file, and may have been made for another budget, alignment or
compute limit.  So nothing that it says of itself is used, only what it does: mask, micro-batch,
steps, buffers.  What it costs is computed anew, and its bounds are left where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from memplan.ir.check import check
from memplan.ir.errors import RequestError
from memplan.ir.plan import Buffer, Certificate, Plan
from memplan.ir.request import LayerUpdate
from memplan.solver.assemble import assemble
from memplan.solver.build_instance import fix_mask
from memplan.solver.instance import Instance
from memplan.solver.levels import Proof, certify_levels
from memplan.solver.schedule import Block, Lifetimes, Table, live_bytes, live_peak
from memplan.solver.solution import Solution, layout, worth

__all__ = ["Start", "bare_plan", "restore"]

Steps = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Start:
    """What the search goes on from."""

    samples: int
    mask: dict[str, LayerUpdate]
    #: Arena of the stored plan.
    arena_bytes: int
    #: The stored schedule; None: the request does not allow it as it is.
    steps: Steps | None
    #: With the addresses of the stored plan; None: they do not hold under this request.
    solution: Solution | None


def restore(instance: Instance, plan: Plan) -> Start:
    """Return what ``plan`` means for an instance of its micro-batch.

    Args:
        instance: of the request that is to be answered, with open or fixed mask.
        plan: one that the checker accepts for the instance's graph, made for any request.

    Raises:
        RequestError: the request does not allow the plan's update mask.
    """
    mask = {update.layer: update for update in plan.mask}
    _must_be_allowed(instance, mask)
    table = Table.of(fix_mask(instance, mask))
    arena_bytes = plan.totals.arena_bytes
    steps = _steps(table, plan)
    if steps is None or live_peak(table, steps) is None:
        return Start(instance.samples, mask, arena_bytes, None, None)
    return Start(instance.samples, mask, arena_bytes, steps, _solution(table, steps, plan))


def _must_be_allowed(instance: Instance, mask: Mapping[str, LayerUpdate]) -> None:
    for choice in instance.choices:
        if mask.get(choice.layer) not in choice.options:
            what = "updates" if choice.layer in mask else "freezes"
            raise RequestError(
                f"start: the stored plan {what} layer {choice.layer[:80]} in a way that this "
                "request does not allow; ask for the same --update as the plan was made with"
            )


def _steps(table: Table, plan: Plan) -> Steps | None:
    works = table.instance.works
    index = {work.operation: number for number, work in enumerate(works)}
    names = [{way.name: number for number, way in enumerate(work.ways)} for work in works]
    steps = []
    for step in plan.body:
        work = index.get(step.operation)
        way = None if work is None else names[work].get(step.alternative)
        if work is None or way is None or way not in table.allowed[work]:
            return None
        steps.append((work, way))
    return tuple(steps)


def _solution(table: Table, steps: Steps, plan: Plan) -> Solution | None:
    """Return the schedule with the lifetimes and addresses of the plan, if all of that holds."""
    instance = table.instance
    found = _Blocks(table, plan).of(steps)
    if found is None:
        return None
    lifetimes, offsets = found
    total = layout(lifetimes, offsets, instance).arena_bytes
    solution = Solution(table, steps, lifetimes, offsets, worth(table, steps, total))
    return solution if _keeps_addresses(solution) else None


def _keeps_addresses(solution: Solution) -> bool:
    """Tell whether the checker accepts the solution, its limits aside.

    Under another alignment, or with buffers between the stores, addresses may be wrong here that
    were right there.
    """
    verdicts = check(solution.instance.graph, bare_plan(solution)).verdicts
    return all(verdict.rule in ("budget", "compute-limit", "region") for verdict in verdicts)


def bare_plan(solution: Solution) -> Plan:
    """Return the plan that ``solution`` means, which claims nothing to be proved."""
    graph, request = solution.instance.graph, solution.instance.request
    choice = graph.mode == "train" and request.update == "auto"
    levels, _ = certify_levels(solution.worth, Proof(), 0, choice)
    certificate = Certificate(
        status="feasible",
        levels=levels,
        lower_bound_bytes=0,
        restrictions=(),
        solver="none",
        graph_hash=graph.content_hash(),
        request_hash=request.content_hash(),
    )
    return assemble(solution, certificate)


class _Blocks:
    """Collects the buffers of a plan's body as blocks."""

    def __init__(self, table: Table, plan: Plan) -> None:
        self.table, self.plan = table, plan
        self.first = len(plan.prologue)
        self.item = {item.tensor: number for number, item in enumerate(table.instance.items)}
        self.blocks: list[Block] = []
        self.offsets: list[int] = []
        #: By buffer.
        self.block_of: dict[int, int] = {}
        self.below = self._bytes_below()

    def of(self, steps: Steps) -> tuple[Lifetimes, tuple[int, ...]] | None:
        """Return lifetimes and offsets, or None where the plan does what blocks cannot say."""
        table, plan = self.table, self.plan
        given = {table.instance.items[number].tensor for number in table.given}
        served, written, workspace = [], [], []
        for (work, way), step in zip(steps, plan.body, strict=True):
            operation = table.instance.graph.operation[step.operation]
            operands = operation.alternatives[
                table.instance.works[work].ways[way].alternative
            ].reads
            serving: dict[int, tuple[int, int]] = {}
            read: dict[int, Buffer] = {}
            for operand, place in zip(operands, step.reads, strict=True):
                item = self.item.get(operand.tensor)
                if item is None:
                    continue
                if place is None:
                    return None
                buffer = plan.buffers[place]
                if place not in self.block_of:
                    if operand.tensor not in given:
                        return None
                    self._new(buffer, table.size[item], item)
                serving.setdefault(item, (self.block_of[place], buffer.computation))
                read.setdefault(item, buffer)
            blocks = []
            for item, place in zip(table.writes[work], step.writes, strict=True):
                buffer = plan.buffers[place]
                partner = next(
                    (
                        read[operand]
                        for operand, result in table.pairs[work][way]
                        if result == item and _shares(read[operand], buffer)
                    ),
                    None,
                )
                if partner is None:
                    self._new(buffer, table.size[item], item)
                else:
                    self._join(partner, buffer, item)
                blocks.append(self.block_of[place])
            served.append(serving)
            written.append(tuple(blocks))
            needed = table.workspace[work][way]
            if bool(needed) != (step.workspace is not None):
                return None
            workspace.append(-1)
            if step.workspace is not None:
                self._new(plan.buffers[step.workspace], needed, None)
                workspace[-1] = self.block_of[step.workspace]
        if min(self.offsets, default=0) < 0:
            return None
        lifetimes = Lifetimes(
            blocks=tuple(self.blocks),
            served=tuple(served),
            written=tuple(written),
            workspace=tuple(workspace),
            live=live_bytes(self.blocks, len(steps)),
        )
        return lifetimes, tuple(self.offsets)

    def _bytes_below(self) -> int:
        """Return what stands below the body: all stores, or nothing."""
        body = [b.offset for b in self.plan.buffers if b.scope == "body"]
        stores = [b.offset for b in self.plan.buffers if b.scope != "body"]
        stands_above = stores and body and max(stores) < min(body)
        return self.table.instance.store_bytes if stands_above else 0

    def _new(self, buffer: Buffer, size: int, item: int | None) -> None:
        start, end = buffer.start_step - self.first, buffer.end_step - self.first
        members = [] if item is None else [(item, buffer.computation, start, end)]
        self.block_of[buffer.id] = len(self.blocks)
        self.blocks.append(Block(start, end, size, buffer.size_bytes, members))
        self.offsets.append(buffer.offset - self.below)

    def _join(self, before: Buffer, buffer: Buffer, item: int) -> None:
        """Put a result into the block of the operand whose bytes it takes."""
        number = self.block_of[buffer.id] = self.block_of[before.id]
        start, end = buffer.start_step - self.first, buffer.end_step - self.first
        self.blocks[number].members.append((item, buffer.computation, start, end))
        self.blocks[number].end = end


def _shares(operand: Buffer, result: Buffer) -> bool:
    return (
        operand.offset == result.offset
        and operand.size_bytes == result.size_bytes
        and operand.end_step == result.start_step + 1
    )
