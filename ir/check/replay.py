"""Byte replay: run the plan without computing, and see that every read finds what it needs.

Two batches are replayed, each with up to two trips of the body: what the second finds is what
every later one finds.  Each write marks its bytes with a token of its own, higher than all before;
a read is whole if none of its bytes carries a higher token than the buffer's last write.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from memplan.ir.check.cells import Cells, Marks
from memplan.ir.check.report import Findings, Rule
from memplan.ir.check.structure import Execution, Facts, Section
from memplan.ir.plan import Buffer

__all__ = ["replay"]

_BATCHES: Final = 2
_NEVER: Final = 0


def replay(facts: Facts, cells: Cells, findings: Findings) -> None:
    """Check operands, versions, accumulators and outputs."""
    memory = _Memory(facts, cells, findings)
    trips = min(facts.plan.trips, 2)
    parts: dict[Section, list[Execution]] = {"prologue": [], "body": [], "epilogue": []}
    for execution in facts.executions:
        parts[execution.section].append(execution)
    memory.fill("parameter", "state")
    for _ in range(_BATCHES):
        memory.start_batch()
        memory.run(parts["prologue"], trip=0, trips=trips)
        for trip in range(trips):
            memory.start_trip()
            memory.run(parts["body"], trip=trip, trips=trips)
            memory.check_outputs()
        memory.run(parts["epilogue"], trip=trips, trips=trips)


class _Memory:
    """The arena while the plan runs."""

    def __init__(self, facts: Facts, cells: Cells, findings: Findings) -> None:
        self.facts = facts
        self.findings = findings
        self.ranges = cells.ranges
        self.marks = Marks(cells.count)
        #: Token of the last write into each buffer.
        self.token = [_NEVER] * len(facts.plan.buffers)
        self.writes = _NEVER
        #: Since the section began: how often each tensor was mutated.
        self.mutations: Counter[str] = Counter()
        #: Parts that each accumulator holds; absent until it is cleared.
        self.parts: dict[str, int] = {}
        #: Buffers that may be an output when the body ends.
        self.outputs: dict[str, list[int]] = {name: [] for name in facts.graph.outputs}
        for buffer in facts.plan.buffers:
            if buffer.tensor in self.outputs and buffer.end_step == facts.body_end:
                self.outputs[buffer.tensor].append(buffer.id)

    def write(self, place: int) -> None:
        self.writes += 1
        self.marks.raise_to(self.writes, self.ranges[place])
        self.token[place] = self.writes

    def fill(self, *roles: str, scope: str | None = None) -> None:
        """Let the host write tensors that come from outside."""
        for buffer in self.facts.plan.buffers:
            if (
                buffer.tensor is not None
                and self.facts.graph.tensor[buffer.tensor].role in roles
                and scope in (None, buffer.scope)
            ):
                self.write(buffer.id)

    def start_batch(self) -> None:
        self.parts.clear()
        self.fill("input", "label", scope="batch")

    def start_trip(self) -> None:
        self.fill("input", "label", scope="body")

    def is_whole(self, place: int) -> bool:
        return self.marks.highest(self.ranges[place]) <= self.token[place]

    def run(self, executions: list[Execution], trip: int, trips: int) -> None:
        self.mutations.clear()
        for execution in executions:
            step, operation = execution.step, execution.operation
            read = set(step.reads)
            mutated = set(execution.mutates)
            for operand, place in zip(execution.alternative.reads, step.reads, strict=True):
                if place is None:
                    continue
                if operation.phase == "clear" and operand.tensor in mutated:
                    continue  # only the place is read, not what is there
                self._read(execution, self.facts.plan.buffers[place])
                self._check_version(execution, operand.tensor, trips)
            for name, place in zip(execution.mutates, step.mutates, strict=True):
                if operation.phase != "clear" and place not in read:
                    self._read(execution, self.facts.plan.buffers[place])
                if self.facts.graph.tensor[name].role == "accumulator":
                    self._accumulate(execution, name, trip)
                self.mutations[name] += 1
                self.write(place)
            if step.workspace is not None:
                self.write(step.workspace)
            if execution.alternative.uses_up is not None:
                self._use_up(step.reads[execution.alternative.uses_up])
            for place in step.writes:
                self.write(place)

    def _use_up(self, place: int | None) -> None:
        """Let a step write into an operand what is not the operand."""
        if place is not None:
            self.writes += 1
            self.marks.raise_to(self.writes, self.ranges[place])

    def check_outputs(self) -> None:
        for name, places in self.outputs.items():
            if not any(self.token[place] != _NEVER and self.is_whole(place) for place in places):
                self.findings.add(
                    Rule.OUTPUT,
                    f"output {name} is not whole and alive at the end of the body",
                    self.facts.body_end - 1,
                    (name,),
                )

    def _read(self, execution: Execution, buffer: Buffer) -> None:
        name = self.facts.name(buffer)
        if self.token[buffer.id] == _NEVER or execution.index < buffer.start_step:
            rule, fault = Rule.MISSING, "which no step before has written"
        elif execution.index >= buffer.end_step:
            rule, fault = Rule.EARLY_FREE, f"which is freed at step {buffer.end_step}"
        elif not self.is_whole(buffer.id):
            rule, fault = Rule.OVERWRITTEN, "whose bytes were overwritten"
        else:
            return
        self.findings.add(
            rule,
            f"{execution.operation.id} reads computation {buffer.computation} of {name}, {fault}",
            execution.index,
            (name,),
            ((buffer.offset, buffer.offset + buffer.size_bytes),),
        )

    def _check_version(self, execution: Execution, name: str, trips: int) -> None:
        facts, operation = self.facts, execution.operation
        role = facts.graph.tensor[name].role
        if role == "accumulator":
            if operation.phase == "apply" and self.parts.get(name, 0) != trips:
                self.findings.add(
                    Rule.ACCUMULATOR,
                    f"{operation.id} applies {name} before it holds the sum of all trips",
                    execution.index,
                    (name,),
                )
            elif operation.phase not in ("apply", "accumulate"):
                self.findings.add(
                    Rule.ACCUMULATOR,
                    f"{operation.id} of phase {operation.phase} reads accumulator {name}",
                    execution.index,
                    (name,),
                )
            return
        if name not in facts.mutators:
            return
        place = facts.order[operation.id]
        # A parameter is read as it was when the batch began; a state as in the traced order.
        expected = 0 if role == "parameter" else sum(m < place for m in facts.mutators[name])
        if self.mutations[name] != expected:
            self.findings.add(
                Rule.VERSION,
                f"{operation.id} reads {name} after {self.mutations[name]} of its updates, "
                f"traced is a read after {expected}",
                execution.index,
                (name,),
            )

    def _accumulate(self, execution: Execution, name: str, trip: int) -> None:
        phase = next(
            operation.phase
            for operation in (execution.operation, *execution.covered)
            if name in operation.mutates
        )
        if phase == "clear":
            self.parts[name] = 0
        elif phase == "accumulate":
            if self.parts.get(name) != trip:
                held = "was not cleared" if name not in self.parts else f"holds {self.parts[name]}"
                self.findings.add(
                    Rule.ACCUMULATOR,
                    f"{execution.operation.id} adds part {trip} to {name}, which {held}",
                    execution.index,
                    (name,),
                )
            self.parts[name] = self.parts.get(name, 0) + 1
