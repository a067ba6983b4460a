"""Who owns which bytes when: no two live buffers share one, but for declared in-place pairs."""

from __future__ import annotations

from dataclasses import dataclass

from memplan.ir.check.cells import Cells
from memplan.ir.check.report import Findings, Rule
from memplan.ir.check.structure import Execution, Facts
from memplan.ir.plan import Buffer

__all__ = ["Occupancy", "occupy"]

_FREE = -1


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
    owner = [_FREE] * cells.count
    at_step = {execution.index: execution for execution in facts.executions}
    live, live_bytes, consistent = 0, [], True
    for step in range(steps):
        for buffer in ending[step]:
            first, last = cells.ranges[buffer.id]
            # An in-place result has taken the bytes already, and keeps them.
            owner[first:last] = [_FREE if o == buffer.id else o for o in owner[first:last]]
        shared = 0
        execution = at_step.get(step)
        # What the host fills is there before the step that starts at the same time.
        written = set(execution.step.writes) if execution else set()
        for buffer in sorted(starting[step], key=lambda b: b.id in written):
            first, last = cells.ranges[buffer.id]
            taken = owner[first:last]
            if taken.count(_FREE) != last - first:
                if _is_in_place(facts, execution, buffer, set(taken)):
                    shared += buffer.size_bytes
                else:
                    consistent = False
                    _report(facts, execution, step, buffer, set(taken) - {_FREE}, findings)
            owner[first:last] = [buffer.id] * (last - first)
        live += change[step]
        live_bytes.append(live - shared)
    return Occupancy(tuple(live_bytes), consistent)


def _is_in_place(
    facts: Facts, execution: Execution | None, buffer: Buffer, owners: set[int]
) -> bool:
    if execution is None or len(owners) != 1:
        return False
    operand = facts.plan.buffers[next(iter(owners))]
    return (
        operand.scope == "body"
        and (operand.region, operand.offset, operand.size_bytes)
        == (buffer.region, buffer.offset, buffer.size_bytes)
        and operand.end_step == execution.index + 1
        and any(
            execution.step.reads[pair.read] == operand.id
            and execution.step.writes[pair.write] == buffer.id
            for pair in execution.alternative.in_place
        )
    )


def _report(
    facts: Facts,
    execution: Execution | None,
    step: int,
    buffer: Buffer,
    owners: set[int],
    findings: Findings,
) -> None:
    for place in sorted(owners):
        other = facts.plan.buffers[place]
        tries_in_place = (
            execution is not None
            and buffer.id in execution.step.writes
            and other.id in execution.step.reads
        )
        findings.add(
            Rule.IN_PLACE if tries_in_place else Rule.OVERLAP,
            f"{facts.name(buffer)} takes bytes of {facts.name(other)}, which lives until step "
            f"{other.end_step}"
            + (
                ": no declared pair with the same offset and size, or the operand does not die here"
                if tries_in_place
                else ""
            ),
            step,
            (facts.name(buffer), facts.name(other)),
            (
                (buffer.offset, buffer.offset + buffer.size_bytes),
                (other.offset, other.offset + other.size_bytes),
            ),
        )
