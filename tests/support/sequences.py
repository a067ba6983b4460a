"""Every sequence of one mask and micro-batch, built from its last step to its first.

The state is the set of tensors that later steps still want, and at each step what lives is exactly
what is wanted after it, what it writes and what it reads; so what a step needs is known when it
is placed.  ``brute_force`` says why this finds every sequence that matters.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, combinations, count

from memplan.ir.graph import Alternative, Operation, OpGraph
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.ir.sizes import (
    alternative_allowed,
    alternative_cost,
    input_bytes,
    tensor_bytes,
    updated_parameters,
    workspace_bytes,
)
from tests.support.exact_packing import round_up

__all__ = ["Candidate", "Move", "Sequences", "State", "Way", "bits", "matchings"]

#: Wanted tensors, computations so far per operation, MACs so far.
State = tuple[int, tuple[int, ...], int]
#: (operation, alternative) by index.
Move = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Way:
    name: str
    reads: int
    time_ns: int
    macs: int
    workspace: int
    #: (operand, result) as bits of tensors of equal size.
    pairs: tuple[tuple[int, int], ...]
    #: Bit of an operand that is used up, or 0.
    uses_up: int


@dataclass(frozen=True, slots=True)
class Candidate:
    name: str
    most: int
    mandatory: bool
    writes: int
    ways: tuple[Way, ...]
    #: Places of the operations that must run later, and earlier, because of what they mutate.
    before: tuple[int, ...]
    after: tuple[int, ...]


class Sequences:
    """One mask, micro-batch and resident batch: sequences and addresses are left to choose."""

    def __init__(
        self,
        graph: OpGraph,
        request: PlanRequest,
        mask: tuple[LayerUpdate, ...],
        samples: int,
        inputs: frozenset[str],
        outer: tuple[tuple[Operation, Alternative], ...],
    ) -> None:
        self.graph = graph
        self.request = request
        self.mask = mask
        self.by_layer = {update.layer: update for update in mask}
        self.samples = samples
        self.trips = request.batch // samples
        self.inputs = inputs
        self.outer = outer
        self.alignment = request.alignment_bytes
        self._choose_places()
        self._list_candidates()
        self._known_live: dict[int, tuple[int, int]] = {}
        self._known_peaks: dict[State, int | None] = {}
        self._known_times: dict[tuple[State, int], frozenset[int]] = {}
        self._known_timed: dict[tuple[State, int, int], int | None] = {}

    # What there is.

    def _choose_places(self) -> None:
        """Tell tensors of the body, by a bit each, from those that live always."""
        graph, updated = self.graph, updated_parameters(self.graph, self.by_layer)
        phases = {"update", "statistics"} if self.trips == 1 else {"accumulate", "statistics"}
        self.mandatory = [
            operation
            for operation in graph.operations
            if operation.phase in phases
            and (operation.phase == "statistics" or operation.parameter in updated)
        ]
        running = self.mandatory + [operation for operation, _ in self.outer]
        always = {name for operation in running for name in operation.mutates}
        resident = self.trips > 1 and not self.request.stream_inputs
        self.bit: dict[str, int] = {}
        self.size: dict[str, int] = {}
        for tensor in graph.tensors:
            if tensor.role in ("input", "label"):
                self.size[tensor.id] = input_bytes(
                    tensor, self.request.batch, self.samples, self.request.stream_inputs
                )
                if resident and tensor.id in self.inputs:
                    always.add(tensor.id)
            else:
                self.size[tensor.id] = tensor_bytes(tensor, self.samples, self.by_layer)
            if tensor.role in ("activation", "gradient") or (
                tensor.role in ("input", "label") and not resident
            ):
                self.bit[tensor.id] = 1 << len(self.bit)
        self.name_of = {bit: name for name, bit in self.bit.items()}
        self.given = sum(
            self.bit.get(t.id, 0) for t in graph.tensors if t.role in ("input", "label")
        )
        self.outputs = sum(self.bit[name] for name in graph.outputs)
        self.base = sum(round_up(self.size[name], self.alignment) for name in always)
        self.base_padding = max((self.padding(self.size[name]) for name in always), default=0)

    def padding(self, size: int) -> int:
        return round_up(size, self.alignment) - size

    def _list_candidates(self) -> None:
        graph, rates = self.graph, self.request.rates
        operations = [o for o in graph.operations if o.phase in ("forward", "backward")]
        assert not any(o.mutates for o in operations), "mutating forward steps are not enumerated"
        operations = [o for o in graph.operations if o in operations or o in self.mandatory]
        place = {operation.id: i for i, operation in enumerate(operations)}
        order = {operation.id: i for i, operation in enumerate(graph.operations)}
        mutators: dict[str, list[Operation]] = {}
        for operation in self.mandatory:
            for name in operation.mutates:
                mutators.setdefault(name, []).append(operation)
        self.candidates: list[Candidate] = []
        for operation in operations:
            ways = []
            before: set[int] = set()
            after: set[int] = set()
            for way in operation.alternatives:
                reads = {operand.tensor for operand in way.reads}
                unavailable = any(
                    graph.tensor[name].role in ("input", "label") and name not in self.inputs
                    for name in reads
                )
                if unavailable or not alternative_allowed(operation, way, self.by_layer):
                    continue
                uses_up = 0
                if way.uses_up is not None:
                    uses_up = self.bit.get(way.reads[way.uses_up].tensor, 0)
                    if not uses_up:
                        continue  # it lives always
                macs, moved = alternative_cost(operation, way, self.samples, self.by_layer)
                pairs = tuple(
                    (self.bit[way.reads[pair.read].tensor], self.bit[operation.writes[pair.write]])
                    for pair in way.in_place
                    if way.reads[pair.read].tensor in self.bit
                    and self.size[way.reads[pair.read].tensor]
                    == self.size[operation.writes[pair.write]]
                )
                ways.append(
                    Way(
                        name=way.name,
                        reads=sum(self.bit.get(name, 0) for name in reads),
                        time_ns=self.trips * rates.time_ns(macs, moved),
                        macs=macs,
                        workspace=workspace_bytes(operation, way, self.samples, self.by_layer),
                        pairs=pairs,
                        uses_up=uses_up,
                    )
                )
                for name in reads:
                    for mutator in mutators.get(name, ()):
                        if mutator.id == operation.id:
                            continue
                        old = (
                            graph.tensor[name].role == "parameter"
                            or order[operation.id] < order[mutator.id]
                        )
                        (before if old else after).add(place[mutator.id])
            self.candidates.append(
                Candidate(
                    name=operation.id,
                    most=self.request.modelled_computations if operation.recomputable else 1,
                    mandatory=operation in self.mandatory,
                    writes=sum(self.bit[name] for name in operation.writes),
                    ways=tuple(ways),
                    before=tuple(before),
                    after=tuple(after),
                )
            )
        costs = [
            alternative_cost(operation, way, self.samples, self.by_layer)
            for operation, way in self.outer
        ]
        self.outer_time = sum(rates.time_ns(macs, moved) for macs, moved in costs)
        self.outer_macs = sum(macs for macs, _ in costs)
        self.outer_workspace = max(
            (
                workspace_bytes(operation, way, self.samples, self.by_layer)
                for operation, way in self.outer
            ),
            default=0,
        )
        self.start: State = (self.outputs, (0,) * len(self.candidates), 0)

    @cached_property
    def most_macs(self) -> int | None:
        """The most MACs of one trip within the compute limit."""
        limit = self.request.compute_limit
        if limit is None:
            return None
        graph, wanted = self.graph, set(self.graph.outputs)
        plain = forward = 0
        for operation in reversed(graph.operations):
            if operation not in self.mandatory and not (
                operation.phase in ("forward", "backward") and wanted & set(operation.writes)
            ):
                continue
            allowed = [
                way
                for way in operation.alternatives
                if alternative_allowed(operation, way, self.by_layer)
            ]
            first = (allowed or list(operation.alternatives))[0]
            macs = alternative_cost(operation, first, self.samples, self.by_layer)[0]
            plain += macs
            forward += macs if operation.phase == "forward" else 0
            wanted |= {operand.tensor for operand in first.reads}
        first_outer = 0
        for operation, _ in self.outer:
            allowed = [
                way
                for way in operation.alternatives
                if alternative_allowed(operation, way, self.by_layer)
            ]
            first_outer += alternative_cost(operation, allowed[0], self.samples, self.by_layer)[0]
        total = self.trips * plain + first_outer + int(limit * (self.trips * forward))
        return (total - self.outer_macs) // self.trips

    # Moves, from the last step to the first.

    def moves(self, state: State) -> Iterator[tuple[Move, int, State]]:
        """Yield (move, bytes that the arena needs at least because of it, state before it)."""
        wanted, runs, macs = state
        for i, candidate in enumerate(self.candidates):
            if runs[i] >= candidate.most or not (candidate.mandatory or candidate.writes & wanted):
                continue
            if candidate.before and not all(runs[m] for m in candidate.before):
                continue
            if candidate.after and any(runs[m] for m in candidate.after):
                continue
            after = (*runs[:i], runs[i] + 1, *runs[i + 1 :])
            for w, way in enumerate(candidate.ways):
                spent = macs
                if self.most_macs is not None:
                    spent += way.macs
                    if spent > self.most_macs:
                        continue
                if way.uses_up & wanted:
                    continue
                if way.uses_up:
                    # What is written begins to live when the step is over.
                    need = max(
                        self._need(wanted & ~candidate.writes | way.reads, wanted, way),
                        self._need(wanted | candidate.writes, wanted, None),
                    )
                else:
                    need = self._need(wanted | candidate.writes | way.reads, wanted, way)
                yield (i, w), need, ((wanted & ~candidate.writes) | way.reads, after, spent)

    def is_done(self, state: State) -> bool:
        wanted, runs, _ = state
        return not wanted & ~self.given and all(
            ran or not candidate.mandatory
            for ran, candidate in zip(runs, self.candidates, strict=True)
        )

    def _need(self, live: int, wanted: int, way: Way | None) -> int:
        if live not in self._known_live:
            sizes = [self.size[name] for bit, name in self.name_of.items() if bit & live]
            self._known_live[live] = (
                sum(round_up(size, self.alignment) for size in sizes),
                max(map(self.padding, sizes), default=0),
            )
        total, padding = self._known_live[live]
        workspace = 0 if way is None else way.workspace
        total += round_up(workspace, self.alignment)
        padding = max(padding, self.base_padding, self.padding(workspace))
        pairs = [] if way is None else [pair for pair in way.pairs if not pair[0] & wanted]
        if not pairs:
            return self.base + total - padding
        shared = max(
            sum(round_up(self.size[self.name_of[read]], self.alignment) for read, _ in subset)
            for subset in matchings(pairs)
        )
        return self.base + total - shared - padding

    # How good a state can still get.

    def peak_to_go(self, state: State) -> int | None:
        """Return the least peak of what is left to run before; None: it cannot be completed."""
        if state not in self._known_peaks:
            best = 0 if self.is_done(state) else None
            if best is None:
                for _, need, before in self.moves(state):
                    if best is not None and need >= best:
                        continue
                    rest = self.peak_to_go(before)
                    if rest is not None and (best is None or max(need, rest) < best):
                        best = max(need, rest)
            self._known_peaks[state] = best
        return self._known_peaks[state]

    def times_to_go(self, state: State, budget: int) -> frozenset[int]:
        """Return every time that completions may take whose steps need at most ``budget``."""
        key = (state, budget)
        if key not in self._known_times:
            times = {0} if self.is_done(state) else set()
            if not times:
                for (i, w), need, before in self.moves(state):
                    if need <= budget:
                        step = self.candidates[i].ways[w].time_ns
                        times.update(step + rest for rest in self.times_to_go(before, budget))
            self._known_times[key] = frozenset(times)
        return self._known_times[key]

    def peak_in_time(self, state: State, budget: int, time_ns: int) -> int | None:
        """Return the least peak of completions that take exactly ``time_ns``."""
        key = (state, budget, time_ns)
        if key not in self._known_timed:
            best: int | None = None
            if self.is_done(state):
                best = 0 if time_ns == 0 else None
            else:
                for (i, w), need, before in self.moves(state):
                    rest_ns = time_ns - self.candidates[i].ways[w].time_ns
                    if need > budget or rest_ns not in self.times_to_go(before, budget):
                        continue
                    rest = self.peak_in_time(before, budget, rest_ns)
                    if rest is not None and (best is None or max(need, rest) < best):
                        best = max(need, rest)
            self._known_timed[key] = best
        return self._known_timed[key]

    @property
    def floor(self) -> int:
        """No plan of this problem needs fewer bytes."""
        peak = self.peak_to_go(self.start)
        return 2**62 if peak is None else peak

    # Sequences, those with the least peak first.

    def sequences(self, time_ns: int | None, budget: int) -> Iterator[tuple[int, list[Move]]]:
        """Yield (peak, sequence) by rising peak; of exactly ``time_ns`` unless that is None."""
        ticket = count()
        heap: list[tuple[int, int, int, State, int | None, tuple[Move, ...]]] = []

        def push(peak: int, state: State, left_ns: int | None, moves: tuple[Move, ...]) -> None:
            if left_ns is None:
                rest = self.peak_to_go(state)
            else:
                rest = self.peak_in_time(state, budget, left_ns)
            if rest is not None and max(peak, rest) <= budget:
                heapq.heappush(
                    heap, (max(peak, rest), -len(moves), next(ticket), state, left_ns, moves)
                )

        push(0, self.start, time_ns, ())
        while heap:
            peak, _, _, state, left_ns, moves = heapq.heappop(heap)
            if self.is_done(state):
                yield peak, list(reversed(moves))
                continue
            for move, need, before in self.moves(state):
                step_ns = self.candidates[move[0]].ways[move[1]].time_ns
                if left_ns is None or left_ns >= step_ns:
                    rest_ns = None if left_ns is None else left_ns - step_ns
                    push(max(peak, need), before, rest_ns, (*moves, move))


def bits(mask: int) -> Iterator[int]:
    while mask:
        bit = mask & -mask
        yield bit
        mask ^= bit


def matchings(pairs: list[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], ...]]:
    """Yield every set of pairs in which no end stands twice on its side."""
    distinct = sorted(set(pairs))
    for subset in chain.from_iterable(
        combinations(distinct, size) for size in range(len(distinct) + 1)
    ):
        reads, writes = {a for a, _ in subset}, {b for _, b in subset}
        if len(reads) == len(subset) == len(writes):
            yield subset
