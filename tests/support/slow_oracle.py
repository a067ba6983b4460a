"""The optimum once more, with none of brute force's arguments: for graphs smaller still.

Sequences are built forwards, useless steps included; each read may be served by any computation
so far; every in-place choice is tried; persistent buffers are packed like all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

from memplan.ir.graph import Alternative, Operation, OpGraph
from memplan.ir.importance import importance_units
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.ir.sizes import (
    alternative_allowed,
    alternative_cost,
    input_bytes,
    tensor_bytes,
    updated_parameters,
    workspace_bytes,
)
from tests.support.brute_force import masks, micro_batches
from tests.support.exact_packing import Rectangle, lower_bound, min_height
from tests.support.naive_plan import plain_body

__all__ = ["SlowTruth", "slow_oracle"]

Entry = tuple[Operation, Alternative]


@dataclass(slots=True)
class SlowTruth:
    """Best (-importance, time, arena) within the budget, and the least arena beyond it."""

    key: tuple[int, int, int] | None = None
    smallest_arena: int | None = None
    sequences: int = 0


def slow_oracle(graph: OpGraph, request: PlanRequest) -> SlowTruth:
    """Return the truth by trying everything."""
    truth = SlowTruth()
    for mask in masks(graph, request):
        for samples in micro_batches(graph, request):
            _Everything(graph, request, mask, samples, truth).run()
    return truth


class _Everything:
    def __init__(
        self,
        graph: OpGraph,
        request: PlanRequest,
        mask: tuple[LayerUpdate, ...],
        samples: int,
        truth: SlowTruth,
    ) -> None:
        self.graph, self.request, self.samples, self.truth = graph, request, samples, truth
        self.mask = {update.layer: update for update in mask}
        self.trips = request.batch // samples
        self.importance = sum(importance_units(graph, request, mask).values())
        self.updated = updated_parameters(graph, self.mask)
        self.place = {operation.id: i for i, operation in enumerate(graph.operations)}
        phases = (
            ("forward", "backward", "statistics", "update")
            if self.trips == 1
            else ("forward", "backward", "statistics", "accumulate")
        )
        self.operations = [
            o
            for o in graph.operations
            if o.phase in phases and (o.parameter is None or o.parameter in self.updated)
        ]
        self.mandatory = {o.id for o in self.operations if o.mutates}

    def run(self) -> None:
        outer: list[list[Entry]] = []
        for operation in self.graph.operations:
            if (
                self.trips > 1
                and operation.phase in ("clear", "apply")
                and operation.parameter in self.updated
            ):
                outer.append([(operation, way) for way in self._ways(operation)])
        for chosen in product(*outer):
            prologue = [entry for entry in chosen if entry[0].phase == "clear"]
            epilogue = [entry for entry in chosen if entry[0].phase == "apply"]
            for body in self._sequences([], {}):
                self.truth.sequences += 1
                self._judge(prologue, body, epilogue)

    def _ways(self, operation: Operation) -> list[Alternative]:
        return [w for w in operation.alternatives if alternative_allowed(operation, w, self.mask)]

    def _sequences(self, done: list[Entry], runs: dict[str, int]) -> Iterator[list[Entry]]:
        known = {name for operation, _ in done for name in operation.writes}
        if self.mandatory <= runs.keys() and known.issuperset(self.graph.outputs):
            yield list(done)
        for operation in self.operations:
            most = self.request.modelled_computations if operation.recomputable else 1
            if runs.get(operation.id, 0) >= most:
                continue
            for way in self._ways(operation):
                if all(self._is_there(operation, o.tensor, known, runs) for o in way.reads):
                    entry = (operation, way)
                    more = {**runs, operation.id: runs.get(operation.id, 0) + 1}
                    yield from self._sequences([*done, entry], more)

    def _is_there(
        self, operation: Operation, name: str, known: set[str], runs: dict[str, int]
    ) -> bool:
        role = self.graph.tensor[name].role
        if role in ("activation", "gradient"):
            return name in known
        mutated_by = [o for o in self.operations if name in o.mutates and o.id != operation.id]
        if role == "parameter":
            return not any(o.id in runs for o in mutated_by)
        return role == "accumulator" or all(
            (o.id in runs) == (self.place[o.id] < self.place[operation.id]) for o in mutated_by
        )

    def _judge(self, prologue: list[Entry], body: list[Entry], epilogue: list[Entry]) -> None:
        request, truth = self.request, self.truth
        macs = time_ns = 0
        for times, entries in ((1, prologue), (self.trips, body), (1, epilogue)):
            for operation, way in entries:
                step_macs, moved = alternative_cost(operation, way, self.samples, self.mask)
                macs += times * step_macs
                time_ns += times * request.rates.time_ns(step_macs, moved)
        if request.compute_limit is not None:
            plain, forward = self._plain(prologue + epilogue)
            if macs - plain > request.compute_limit * forward:
                return
        better = truth.key is None or (-self.importance, time_ns) <= truth.key[:2]
        limits = [2**62 if truth.smallest_arena is None else truth.smallest_arena]
        if better:
            limits.append(request.budget_bytes + 1)
        arena = self._arena(prologue, body, epilogue, max(limits))
        if arena is None:
            return
        if truth.smallest_arena is None or arena < truth.smallest_arena:
            truth.smallest_arena = arena
        key = (-self.importance, time_ns, arena)
        if arena <= request.budget_bytes and (truth.key is None or key < truth.key):
            truth.key = key

    def _plain(self, outer: list[Entry]) -> tuple[int, int]:
        plain = forward = 0
        for name, way_name in plain_body(self.graph, self.mask, self.trips):
            operation = self.graph.operation[name]
            way = next(w for w in operation.alternatives if w.name == way_name)
            macs = alternative_cost(operation, way, self.samples, self.mask)[0]
            plain += self.trips * macs
            forward += self.trips * macs if operation.phase == "forward" else 0
        for operation, _ in outer:
            way = self._ways(operation)[0]
            plain += alternative_cost(operation, way, self.samples, self.mask)[0]
        return plain, forward

    def _arena(
        self, prologue: list[Entry], body: list[Entry], epilogue: list[Entry], below: int
    ) -> int | None:
        """Return the least arena of this sequence if it is less than ``below``."""
        steps = prologue + body + epilogue
        first, last, total = len(prologue), len(prologue) + len(body), len(steps)
        choices: list[list[int | None]] = []
        for step, (_, way) in enumerate(steps):
            for operand in way.reads:
                writers: list[int | None] = [
                    s for s in range(step) if operand.tensor in steps[s][0].writes
                ]
                choices.append(writers or [None])
        best: int | None = None
        for served in product(*choices):
            found = self._pack(steps, served, first, last, total, below if best is None else best)
            best = found if best is None else (best if found is None else min(best, found))
        return best

    def _pack(
        self,
        steps: list[Entry],
        served: tuple[int | None, ...],
        first: int,
        last: int,
        total: int,
        below: int,
    ) -> int | None:
        tensors = self.graph.tensor
        life: dict[tuple[str, int], list[int]] = {}
        always: dict[str, int] = {}
        extra: list[Rectangle] = []
        serving = iter(served)
        reads: list[list[tuple[str, int] | None]] = []
        used_up: list[tuple[int, tuple[str, int] | None]] = []
        for step, (operation, way) in enumerate(steps):
            mine: list[tuple[str, int] | None] = []
            for operand in way.reads:
                writer, role = next(serving), tensors[operand.tensor].role
                instance: tuple[str, int] | None = None
                if writer is not None:
                    instance = (operand.tensor, writer)
                elif role in ("input", "label"):
                    size = input_bytes(
                        tensors[operand.tensor],
                        self.request.batch,
                        self.samples,
                        self.request.stream_inputs,
                    )
                    if self.trips > 1 and not self.request.stream_inputs:
                        always[operand.tensor] = size
                    else:
                        instance = (operand.tensor, first)
                        life.setdefault(instance, [first, first + 1, size])
                if instance is not None:
                    life[instance][1] = max(life[instance][1], step + 1)
                mine.append(instance)
            reads.append(mine)
            ready = step if way.uses_up is None else step + 1
            for name in operation.writes:
                size = tensor_bytes(tensors[name], self.samples, self.mask)
                life[name, step] = [ready, ready + 1, size]
            if way.uses_up is not None:
                used_up.append((step, mine[way.uses_up]))
            for name in operation.mutates:
                always[name] = tensor_bytes(tensors[name], self.samples, self.mask)
            scratch = workspace_bytes(operation, way, self.samples, self.mask)
            if scratch:
                extra.append((step, step + 1, scratch))
        outputs = [
            [(name, s) for s in range(first, last) if name in steps[s][0].writes]
            for name in self.graph.outputs
        ]
        for step, instance in used_up:
            if instance is None or life[instance][1] > step + 1 or step + 1 == last:
                return None
        gone = {instance for _, instance in used_up}
        fixed = [(0, total, size) for size in always.values()] + extra
        best: int | None = None
        for kept in product(*outputs):
            if gone.intersection(kept):
                continue
            lives = {instance: tuple(life[instance]) for instance in life}
            for instance in kept:
                lives[instance] = (lives[instance][0], last, lives[instance][2])
            limit = below if best is None else best
            found = self._in_place(steps, reads, lives, fixed, set(kept), limit)
            best = found if best is None else (best if found is None else min(best, found))
        return best

    def _in_place(
        self,
        steps: list[Entry],
        reads: list[list[tuple[str, int] | None]],
        lives: dict[tuple[str, int], tuple[int, ...]],
        fixed: list[Rectangle],
        kept: set[tuple[str, int]],
        below: int,
    ) -> int | None:
        pairs = []
        for step, (operation, way) in enumerate(steps):
            for pair in way.in_place:
                operand = reads[step][pair.read]
                result = (operation.writes[pair.write], step)
                if (
                    operand is not None
                    and operand not in kept
                    and lives[operand][1] == step + 1
                    and lives[operand][2] == lives[result][2]
                ):
                    pairs.append((operand, result))
        best: int | None = None
        for size in range(len(pairs) + 1):
            for subset in combinations(pairs, size):
                if len({a for a, _ in subset}) < size or len({b for _, b in subset}) < size:
                    continue
                merged = {instance: list(life) for instance, life in lives.items()}
                head = {instance: instance for instance in lives}
                for operand, result in subset:
                    head[result] = head[operand]
                    merged[head[operand]][1] = lives[result][1]
                rectangles = (
                    *fixed,
                    *(tuple(merged[i]) for i in merged if head[i] == i),
                )
                packed = tuple((a, b, c) for a, b, c in rectangles)
                limit = below if best is None else best
                if lower_bound(packed, self.request.alignment_bytes) < limit:
                    height = min_height(packed, self.request.alignment_bytes, limit)
                    best = best if height is None else height
        return best
