"""Who owns which bytes when: no two live buffers share one, but for declared in-place pairs."""

from __future__ import annotations

from dataclasses import dataclass

from memplan.ir.check.cells import Cells, Marks
from memplan.ir.check.report import MAX_VERDICTS, Findings, Rule
from memplan.ir.check.structure import Execution, Facts
from memplan.ir.plan import Buffer

__all__ = ["Occupancy", "occupy"]


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Measure of the bytes in use, step by step through the whole plan."""

    #: Bytes of the union of the live buffers' addresses: an in-place pair counts once.
    live_bytes: tuple[int, ...]
    #: False where buffers overlap; the live bytes are not right then.
    consistent: bool


def occupy(facts: Facts, cells: Cells, findings: Findings) -> Occupancy:
    """Let every buffer take its bytes when its lifetime starts, and free them when it ends."""
    steps = len(facts.plan.steps)
    starting: list[list[Buffer]] = [[] for _ in range(steps + 1)]
    ending: list[list[Buffer]] = [[] for _ in range(steps + 1)]
    change = [0] * (steps + 1)
    for buffer in facts.plan.buffers:
        start, end = min(buffer.start_step, steps), min(buffer.end_step, steps)
        if start < end:
            starting[start].append(buffer)
            ending[end].append(buffer)
            change[start] += buffer.size_bytes
            change[end] -= buffer.size_bytes
    arena = _Arena(facts, cells)
    live, live_bytes, overlaps = 0, [], 0
    for step, execution in enumerate(facts.executions):
        _check_used_up(facts, execution, findings)
        for buffer in ending[step]:
            arena.owners.pop(buffer.id, None)
        shared = 0
        # What the host fills is there before the step that starts at the same time.
        written = {place: index for index, place in enumerate(execution.step.writes)}
        for buffer in sorted(starting[step], key=lambda b: b.id in written):
            if not arena.is_free(buffer, step):
                operand = arena.operand_in_place(execution, buffer, written.get(buffer.id))
                if operand is not None:
                    # Its bytes are the result's from now on.
                    del arena.owners[operand.id]
                    shared += buffer.size_bytes
                elif overlaps == MAX_VERDICTS:
                    return Occupancy((), False)
                else:
                    overlaps += 1
                    _report(facts, execution, buffer, arena.owners_within(buffer), findings)
            arena.take(buffer, min(buffer.end_step, steps))
        live += change[step]
        live_bytes.append(live - shared)
    return Occupancy(tuple(live_bytes), overlaps == 0)


class _Arena:
    """Which live buffer owns which bytes."""

    def __init__(self, facts: Facts, cells: Cells) -> None:
        self._buffers = facts.plan.buffers
        self._ranges = cells.ranges
        #: On each cell, when the last buffer that took it ends.
        self._busy_until = Marks(cells.count)
        #: On each cell, the turn of the last buffer that took it.
        self._taken_at = Marks(cells.count)
        self._turn: dict[int, int] = {}
        #: Buffers that live and did not pass their bytes on.
        self.owners: dict[int, Buffer] = {}
        self._reads_of_pair: dict[tuple[str, str], dict[int, list[int]]] = {}

    def is_free(self, buffer: Buffer, step: int) -> bool:
        return self._busy_until.highest(self._ranges[buffer.id]) <= step

    def take(self, buffer: Buffer, end: int) -> None:
        cells = self._ranges[buffer.id]
        self.owners[buffer.id] = buffer
        self._turn[buffer.id] = len(self._turn) + 1
        self._taken_at.raise_to(self._turn[buffer.id], cells)
        # Of overlapping buffers, which are reported, the later end counts.
        self._busy_until.raise_to(max(end, self._busy_until.highest(cells)), cells)

    def operand_in_place(
        self, execution: Execution, buffer: Buffer, write: int | None
    ) -> Buffer | None:
        """Return the operand that dies here and whose bytes the result may take, if there is."""
        if write is None:
            return None
        last_turn = self._taken_at.highest(self._ranges[buffer.id])
        for read in self._pairs(execution).get(write, ()):
            place = execution.step.reads[read]
            operand = None if place is None else self.owners.get(place)
            if (
                operand is not None
                and operand.scope == "body"
                and (operand.region, operand.offset, operand.size_bytes)
                == (buffer.region, buffer.offset, buffer.size_bytes)
                and operand.end_step == execution.index + 1
                and self._turn[operand.id] == last_turn
            ):
                return operand
        return None

    def owners_within(self, buffer: Buffer) -> list[Buffer]:
        """Return who owns some of the buffer's bytes."""
        first, last = self._ranges[buffer.id]
        return [
            other
            for place, other in sorted(self.owners.items())
            if max(first, self._ranges[place][0]) < min(last, self._ranges[place][1])
        ]

    def _pairs(self, execution: Execution) -> dict[int, list[int]]:
        """Return for each write of a step the reads in whose bytes it may be written."""
        key = (execution.operation.id, execution.alternative.name)
        if key not in self._reads_of_pair:
            reads: dict[int, set[int]] = {}
            for pair in execution.alternative.in_place:
                reads.setdefault(pair.write, set()).add(pair.read)
            self._reads_of_pair[key] = {write: sorted(places) for write, places in reads.items()}
        return self._reads_of_pair[key]


def _check_used_up(facts: Facts, execution: Execution, findings: Findings) -> None:
    """Check that nobody needs what a step uses up behind it."""
    if execution.alternative.uses_up is None:
        return
    place = execution.step.reads[execution.alternative.uses_up]
    buffer = None if place is None else facts.plan.buffers[place]
    if buffer is None or buffer.scope != "body" or buffer.end_step != execution.index + 1:
        name = execution.alternative.reads[execution.alternative.uses_up].tensor
        findings.add(
            Rule.USED_UP,
            f"{execution.operation.id} uses up {name}, which "
            + ("lives on" if buffer is not None else "lies outside the arena"),
            execution.index,
            (name,),
        )


def _report(
    facts: Facts, execution: Execution, buffer: Buffer, owners: list[Buffer], findings: Findings
) -> None:
    for other in owners:
        tries_in_place = buffer.id in execution.step.writes and other.id in execution.step.reads
        findings.add(
            Rule.IN_PLACE if tries_in_place else Rule.OVERLAP,
            f"{facts.name(buffer)} takes bytes of {facts.name(other)}, which lives until step "
            f"{other.end_step}"
            + (
                ": no declared pair with the same offset and size, or the operand does not die here"
                if tries_in_place
                else ""
            ),
            execution.index,
            (facts.name(buffer), facts.name(other)),
            (
                (buffer.offset, buffer.offset + buffer.size_bytes),
                (other.offset, other.offset + other.size_bytes),
            ),
        )
