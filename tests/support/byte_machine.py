"""Runs a plan over real bytes, each tensor's value a pattern that tells what it is.

A second opinion on the checker's replay: a plain byte array per region, no cells, no tokens.  An
operation compares the bytes of its operands with the pattern that they must hold, then writes
its workspace, over an operand that it uses up, and last the patterns of its results.  Bytes that no
live buffer owns are poisoned after every step.
"""

from __future__ import annotations

from hashlib import blake2b

from memplan.ir.blocks import covered_operations, mutated_tensors
from memplan.ir.graph import Operation, OpGraph
from memplan.ir.plan import Buffer, Plan, Step

__all__ = ["run_faults"]


def pattern(size: int, *what: object) -> bytes:
    """Return ``size`` bytes that no other tensor, version or trip has."""
    digest = blake2b(repr(what).encode(), digest_size=32).digest()
    return (digest * (size // 32 + 1))[:size]


def run_faults(graph: OpGraph, plan: Plan, batches: int = 2) -> list[str]:
    """Return what goes wrong in some batches of the plan; empty if nothing does."""
    machine = _Machine(graph, plan)
    for batch in range(batches):
        machine.run_batch(batch)
    return machine.faults


class _Machine:
    def __init__(self, graph: OpGraph, plan: Plan) -> None:
        self.graph, self.plan = graph, plan
        self.faults: list[str] = []
        ends: dict[str, int] = {}
        for b in plan.buffers:
            ends[b.region] = max(ends.get(b.region, 0), b.offset + b.size_bytes)
        self.memory = {region: bytearray(b"\xff" * end) for region, end in ends.items()}
        #: Updates and trips that parameters, states and accumulators have seen.
        self.version: dict[str, int] = {}
        for b in plan.buffers:
            if b.tensor is not None and graph.tensor[b.tensor].role in ("parameter", "state"):
                self.version[b.tensor] = 0
                self.write(b, self.value(b, b.tensor))

    def run_batch(self, batch: int) -> None:
        plan = self.plan
        before = len(plan.prologue)
        after = before + len(plan.body)
        self.host_fills("batch", batch, 0)
        for index, step in enumerate(plan.prologue):
            self.execute(index, step, batch, -1)
        for trip in range(plan.trips):
            self.host_fills("body", batch, trip)
            for index, step in enumerate(plan.body, before):
                self.execute(index, step, batch, trip)
            for name in self.graph.outputs:
                if not any(
                    b.tensor == name and self.read(b) == self.value(b, name, batch, trip)
                    for b in plan.buffers
                ):
                    self.faults.append(f"output {name} is not there after trip {trip}")
        for index, step in enumerate(plan.epilogue, after):
            self.execute(index, step, batch, plan.trips)

    def host_fills(self, scope: str, batch: int, trip: int) -> None:
        for b in self.plan.buffers:
            if b.tensor is not None and b.scope == scope:
                role = self.graph.tensor[b.tensor].role
                if role in ("input", "label"):
                    self.write(b, self.value(b, b.tensor, batch, trip))

    def value(self, b: Buffer, name: str, batch: int = 0, trip: int = 0) -> bytes:
        role = self.graph.tensor[name].role
        if role in ("parameter", "state", "accumulator"):
            return pattern(b.size_bytes, name, self.version.get(name))
        resident = role in ("input", "label") and b.scope == "batch"
        return pattern(b.size_bytes, name, batch, None if resident else trip)

    def execute(self, index: int, step: Step, batch: int, trip: int) -> None:
        plan, operation = self.plan, self.graph.operation[step.operation]
        way = next(w for w in operation.alternatives if w.name == step.alternative)
        for operand, place in zip(way.reads, step.reads, strict=True):
            name = operand.tensor
            if place is None or (operation.phase == "clear" and name in operation.mutates):
                continue
            b = plan.buffers[place]
            if self.read(b) != self.value(b, name, batch, trip):
                self.faults.append(f"step {index}: {operation.id} finds something else for {name}")
            mine = mutated_tensors(self.graph, operation, way)
            if name not in mine and not self.is_version(operation, name, batch, trip):
                self.faults.append(f"step {index}: {operation.id} reads {name} too late")
        places = iter(step.mutates)
        for each in (operation, *covered_operations(self.graph, way)):
            for name in each.mutates:
                self.mutate(index, each, name, batch, trip)
                b = plan.buffers[next(places)]
                self.write(b, self.value(b, name))
        if step.workspace is not None:
            b = plan.buffers[step.workspace]
            self.write(b, pattern(b.size_bytes, "workspace", index, batch, trip))
        place = None if way.uses_up is None else step.reads[way.uses_up]
        if place is not None:
            b = plan.buffers[place]
            self.write(b, pattern(b.size_bytes, "used up", index, batch, trip))
        for name, place in zip(operation.writes, step.writes, strict=True):
            b = plan.buffers[place]
            self.write(b, self.value(b, name, batch, trip))
        self.poison(index, () if way.uses_up is None else step.writes)

    def is_version(self, operation: Operation, name: str, batch: int, trip: int) -> bool:
        role = self.graph.tensor[name].role
        if role == "parameter":
            return self.version[name] == batch
        if role == "accumulator":
            return operation.phase == "apply" and self.version.get(name) == self.plan.trips
        return True

    def mutate(self, index: int, operation: Operation, name: str, batch: int, trip: int) -> None:
        if self.graph.tensor[name].role != "accumulator":
            self.version[name] += 1
            return
        seen = self.version.get(name)
        if operation.phase == "accumulate" and seen != trip:
            self.faults.append(f"step {index}: {name} holds {seen} parts before trip {trip}")
        self.version[name] = 0 if operation.phase == "clear" else trip + 1

    def read(self, b: Buffer) -> bytes:
        return bytes(self.memory[b.region][b.offset : b.offset + b.size_bytes])

    def write(self, b: Buffer, value: bytes) -> None:
        self.memory[b.region][b.offset : b.offset + b.size_bytes] = value

    def poison(self, index: int, early: tuple[int, ...]) -> None:
        """Overwrite every byte that no buffer owns once this step is over.

        Outputs of the body's last step are read by the host before they die.

        Args:
            early: what is there already although it lives from the next step on only.
        """
        last_of_body = len(self.plan.prologue) + len(self.plan.body) - 1
        alive = {region: bytearray(len(memory)) for region, memory in self.memory.items()}
        for b in self.plan.buffers:
            is_read_now = index == last_of_body and b.tensor in self.graph.outputs
            start = b.start_step - (b.id in early)
            lives_on = start <= index and index + (not is_read_now) < b.end_step
            if b.scope != "body" or lives_on:
                alive[b.region][b.offset : b.offset + b.size_bytes] = b"\1" * b.size_bytes
        for region, memory in self.memory.items():
            for place, lives in enumerate(alive[region]):
                if not lives:
                    memory[place] = 0xAA
