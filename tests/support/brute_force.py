"""The exact optimum of tiny graphs by enumeration: the truth that the solver is tested against.

Everything that a plan may choose is enumerated: update mask, micro-batch, which operations run
how often in which order and by which alternative, which in-place pairs are used, and addresses.
Shares no code with the solver or the checker.

Why this is enough:

* *Shortest lifetimes.*  Freeing a buffer after its last read never hurts.
* *The latest computation serves each read.*  Let an older one, u1, serve a read at step t after a
  newer one, u2, was computed.  If u2 lives beyond t it can serve that read itself and u1 ends
  earlier; else u2 can stand in u1's bytes from its computation to t, and its own bytes become
  free.  In-place results on either keep their address.  Either way nothing new overlaps.
* *Nothing useless runs.*  Leaving out an operation whose results nobody reads frees bytes.

So a plan is its sequence, in-place choices and packing.  Sequences are built backwards: the state
is the set of tensors that later steps still want, and at each step what lives is exactly what is
wanted after it, what it writes and what it reads.

Persistent and batch-scope buffers live always, so they may stand below everything else; only the
one on top may save its padding.  ``slow_oracle`` checks all of this on smaller graphs still.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, combinations, count, product

from memplan.ir.graph import Alternative, Operation, OpGraph
from memplan.ir.importance import importance_units
from memplan.ir.options import update_options
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.ir.sizes import (
    alternative_allowed,
    alternative_cost,
    input_bytes,
    tensor_bytes,
    updated_parameters,
    workspace_bytes,
)
from tests.support.exact_packing import Rectangle, lower_bound, min_height, round_up

__all__ = ["Best", "brute_force", "masks", "micro_batches", "smallest_arena"]

#: (operation, alternative)
Entry = tuple[str, str]
#: Wanted tensors, computations so far per operation, MACs so far.
State = tuple[int, tuple[int, ...], int]
#: (operation, alternative) by index.
Move = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Best:
    """The best plan: most important, then fastest, then smallest."""

    importance: int
    time_ns: int
    arena_bytes: int
    mask: tuple[LayerUpdate, ...]
    micro_batch: int
    prologue: tuple[Entry, ...]
    body: tuple[Entry, ...]
    epilogue: tuple[Entry, ...]
    #: (step of the body, operand, written tensor) of the in-place pairs in use.
    in_place: frozenset[tuple[int, str, str]]

    @property
    def key(self) -> tuple[int, int, int]:
        """Smaller is better."""
        return -self.importance, self.time_ns, self.arena_bytes


def brute_force(graph: OpGraph, request: PlanRequest) -> Best | None:
    """Return the lexicographic optimum within budget and compute limit, or None."""
    ranked: dict[int, list[tuple[LayerUpdate, ...]]] = {}
    for mask in masks(graph, request):
        importance = sum(importance_units(graph, request, mask).values())
        ranked.setdefault(importance, []).append(mask)
    for importance in sorted(ranked, reverse=True):
        best: Best | None = None
        for mask in ranked[importance]:
            for problem in _problems(graph, request, mask):
                found = problem.fastest(request.budget_bytes, best)
                if found is not None and (best is None or found.key < best.key):
                    best = found
        if best is not None:
            return best
    return None


def smallest_arena(graph: OpGraph, request: PlanRequest) -> int | None:
    """Return the fewest bytes of any plan that the request allows, its budget aside.

    None: there is none, as the compute limit may exclude all.
    """
    problems = [
        problem for mask in masks(graph, request) for problem in _problems(graph, request, mask)
    ]
    best: int | None = None
    for problem in sorted(problems, key=lambda problem: problem.floor):
        if best is None or problem.floor < best:
            found = problem.smallest(best)
            best = found if best is None else min(best, found or best)
    return best


def masks(graph: OpGraph, request: PlanRequest) -> list[tuple[LayerUpdate, ...]]:
    """Return every mask that the request allows."""
    options = update_options(graph, request).values()
    chosen = [tuple(u for u in choice if u is not None) for choice in product(*options)]
    return [mask for mask in chosen if mask or graph.mode == "infer"]


def micro_batches(graph: OpGraph, request: PlanRequest) -> list[int]:
    """Return every micro-batch that graph and request allow."""
    if not graph.batch_symbolic or graph.batch_coupled_by:
        return [request.batch] if request.micro_batch in ("auto", request.batch) else []
    if request.micro_batch != "auto":
        return [request.micro_batch]
    return [m for m in range(1, request.batch + 1) if request.batch % m == 0]


def _problems(
    graph: OpGraph, request: PlanRequest, mask: tuple[LayerUpdate, ...]
) -> Iterator[_Problem]:
    """Yield what is left to choose once mask and micro-batch are chosen.

    A resident batch owns its bytes through the whole loop if any step reads it, so which inputs
    are resident is chosen here as well, and how clear and apply run.
    """
    by_layer = {update.layer: update for update in mask}
    updated = updated_parameters(graph, by_layer)
    inputs = [t.id for t in graph.tensors if t.role in ("input", "label")]
    for samples in micro_batches(graph, request):
        resident = samples < request.batch and not request.stream_inputs
        subsets = [
            frozenset(subset)
            for size in range(len(inputs) + 1)
            for subset in combinations(inputs, size)
        ]
        outer = [
            operation
            for operation in graph.operations
            if samples < request.batch
            and operation.phase in ("clear", "apply")
            and operation.parameter in updated
        ]
        ways = [
            [way for way in operation.alternatives if alternative_allowed(operation, way, by_layer)]
            for operation in outer
        ]
        for subset in subsets if resident else [frozenset(inputs)]:
            for chosen in product(*ways):
                yield _Problem(
                    graph, request, mask, samples, subset, tuple(zip(outer, chosen, strict=True))
                )


@dataclass(frozen=True, slots=True)
class _Way:
    name: str
    reads: int
    time_ns: int
    macs: int
    workspace: int
    #: (operand, result) as bits of tensors of equal size.
    pairs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    most: int
    mandatory: bool
    writes: int
    ways: tuple[_Way, ...]
    #: Places of the operations that must run later, and earlier, because of what they mutate.
    before: tuple[int, ...]
    after: tuple[int, ...]


class _Problem:
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
        self.base_padding = max((self._padding(self.size[name]) for name in always), default=0)

    def _padding(self, size: int) -> int:
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
        self.candidates: list[_Candidate] = []
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
                macs, moved = alternative_cost(operation, way, self.samples, self.by_layer)
                pairs = tuple(
                    (self.bit[way.reads[pair.read].tensor], self.bit[operation.writes[pair.write]])
                    for pair in way.in_place
                    if way.reads[pair.read].tensor in self.bit
                    and self.size[way.reads[pair.read].tensor]
                    == self.size[operation.writes[pair.write]]
                )
                ways.append(
                    _Way(
                        name=way.name,
                        reads=sum(self.bit.get(name, 0) for name in reads),
                        time_ns=self.trips * rates.time_ns(macs, moved),
                        macs=macs,
                        workspace=workspace_bytes(operation, way, self.samples, self.by_layer),
                        pairs=pairs,
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
                _Candidate(
                    name=operation.id,
                    most=self.request.computations if operation.recomputable else 1,
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
                need = self._need(wanted | candidate.writes | way.reads, wanted, way)
                yield (i, w), need, ((wanted & ~candidate.writes) | way.reads, after, spent)

    def is_done(self, state: State) -> bool:
        wanted, runs, _ = state
        return not wanted & ~self.given and all(
            ran or not candidate.mandatory
            for ran, candidate in zip(runs, self.candidates, strict=True)
        )

    def _need(self, live: int, wanted: int, way: _Way) -> int:
        if live not in self._known_live:
            sizes = [self.size[name] for bit, name in self.name_of.items() if bit & live]
            self._known_live[live] = (
                sum(round_up(size, self.alignment) for size in sizes),
                max(map(self._padding, sizes), default=0),
            )
        total, padding = self._known_live[live]
        total += round_up(way.workspace, self.alignment)
        padding = max(padding, self.base_padding, self._padding(way.workspace))
        pairs = [(read, write) for read, write in way.pairs if not read & wanted]
        if not pairs:
            return self.base + total - padding
        shared = max(
            sum(round_up(self.size[self.name_of[read]], self.alignment) for read, _ in subset)
            for subset in _matchings(pairs)
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

    def pack(
        self, sequence: list[Move], below: int
    ) -> tuple[int, frozenset[tuple[int, str, str]]] | None:
        """Return (arena, in-place pairs) of least arena under ``below``, or None."""
        starts: list[int] = []
        ends: list[int] = []
        sizes: list[int] = []
        latest: dict[int, int] = {}
        pairs: list[tuple[int, int, int, str, str]] = []
        workspaces: list[Rectangle] = []

        def new(bit: int, step: int) -> None:
            latest[bit] = len(starts)
            starts.append(step)
            ends.append(step + 1)
            sizes.append(self.size[self.name_of[bit]])

        served: list[tuple[int, int, int, int, int]] = []
        for step, (i, w) in enumerate(sequence):
            candidate = self.candidates[i]
            way = candidate.ways[w]
            for bit in _bits(way.reads):
                if bit & self.given and bit not in latest:
                    new(bit, 0)
                ends[latest[bit]] = step + 1
            operands = {read: latest[read] for read, _ in way.pairs}
            for bit in _bits(candidate.writes):
                new(bit, step)
            for read, write in way.pairs:
                served.append((step, operands[read], latest[write], read, write))
            if way.workspace:
                workspaces.append((step, step + 1, way.workspace))
        kept = {latest[bit] for bit in _bits(self.outputs)}
        for place in kept:
            ends[place] = len(sequence)
        for step, operand, result, read, write in served:
            if ends[operand] == step + 1 and operand not in kept:
                pairs.append((step, operand, result, self.name_of[read], self.name_of[write]))
        best: tuple[int, frozenset[tuple[int, str, str]]] | None = None
        subsets = sorted(_matchings([(a, b) for _, a, b, _, _ in pairs]), key=len, reverse=True)
        for subset in subsets:
            taken = set(subset)
            leader = list(range(len(starts)))
            first, last = starts.copy(), ends.copy()
            for _, operand, result, _, _ in pairs:  # by rising step, so chains hand on their leader
                if (operand, result) in taken:
                    leader[result] = leader[operand]
                    last[leader[operand]] = max(last[leader[operand]], last[result])
            rectangles = tuple(
                (first[k], last[k], sizes[k]) for k in range(len(starts)) if leader[k] == k
            )
            rectangles = (*rectangles, *workspaces)
            limit = below if best is None else best[0]
            if self._arena(lower_bound(rectangles, self.alignment)) >= limit:
                continue
            height = min_height(rectangles, self.alignment, limit - self.base + self.alignment)
            if height is not None and self._arena(height) < limit:
                arena = self._arena(height)
                used = frozenset((s, r, w) for s, a, b, r, w in pairs if (a, b) in taken)
                best = (arena, used)
        return best

    def _arena(self, height: int) -> int:
        """Return the bytes of the arena when the body's buffers need ``height``."""
        height = max(height, self.outer_workspace)
        return self.base + min(height, round_up(height, self.alignment) - self.base_padding)

    # Answers.

    def smallest(self, below: int | None) -> int | None:
        """Return the least arena, if it is less than ``below``."""
        best = below
        for peak, sequence in self.sequences(None, 2**62):
            if best is not None and peak >= best:
                break
            packed = self.pack(sequence, 2**62 if best is None else best)
            if packed is not None:
                best = packed[0]
        return best

    def fastest(self, budget: int, rival: Best | None) -> Best | None:
        """Return the fastest, then smallest plan within the budget, if it can beat ``rival``."""
        if self._arena(0) > budget:
            return None
        for time_ns in sorted(self.times_to_go(self.start, budget)):
            total_ns = time_ns + self.outer_time
            if rival is not None and total_ns > rival.time_ns:
                return None
            below = budget + 1
            if rival is not None and total_ns == rival.time_ns:
                below = min(below, rival.arena_bytes)
            best: Best | None = None
            for peak, sequence in self.sequences(time_ns, budget):
                if peak >= below:
                    break
                packed = self.pack(sequence, below)
                if packed is not None:
                    below = packed[0]
                    best = self._best(total_ns, sequence, *packed)
            if best is not None:
                return best
        return None

    def _best(
        self,
        time_ns: int,
        sequence: list[Move],
        arena_bytes: int,
        in_place: frozenset[tuple[int, str, str]],
    ) -> Best:
        outer = [(operation.phase, (operation.id, way.name)) for operation, way in self.outer]
        return Best(
            importance=sum(importance_units(self.graph, self.request, self.mask).values()),
            time_ns=time_ns,
            arena_bytes=arena_bytes,
            mask=self.mask,
            micro_batch=self.samples,
            prologue=tuple(entry for phase, entry in outer if phase == "clear"),
            body=tuple(
                (self.candidates[i].name, self.candidates[i].ways[w].name) for i, w in sequence
            ),
            epilogue=tuple(entry for phase, entry in outer if phase == "apply"),
            in_place=in_place,
        )


def _bits(mask: int) -> Iterator[int]:
    while mask:
        bit = mask & -mask
        yield bit
        mask ^= bit


def _matchings(pairs: list[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], ...]]:
    """Yield every set of pairs in which no end stands twice on its side."""
    distinct = sorted(set(pairs))
    for subset in chain.from_iterable(
        combinations(distinct, size) for size in range(len(distinct) + 1)
    ):
        reads, writes = {a for a, _ in subset}, {b for _, b in subset}
        if len(reads) == len(subset) == len(writes):
            yield subset
