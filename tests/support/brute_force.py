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
  (A read that uses up u1 cannot be served by a u2 that lives on.  The result is no larger than u1
  then, so beside u2 a way that writes at once needs no more: graphs here offer both.)
* *Nothing useless runs.*  Leaving out an operation whose results nobody reads frees bytes.

So a plan is its sequence (``sequences``), in-place choices and packing (``exact_packing``).

Persistent and batch-scope buffers live always, so they may stand below everything else; only the
one on top may save its padding.  ``slow_oracle`` checks all of this on smaller graphs still.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

from memplan.ir.graph import OpGraph
from memplan.ir.importance import importance_units
from memplan.ir.options import update_options
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.ir.sizes import alternative_allowed, updated_parameters
from tests.support.exact_packing import Rectangle, lower_bound, min_height, round_up
from tests.support.sequences import Move, Sequences, bits, matchings

__all__ = ["Best", "brute_force", "masks", "micro_batches", "smallest_arena"]

#: (operation, alternative)
Entry = tuple[str, str]


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
    assert request.device is None, "regions are not enumerated"
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


class _Problem(Sequences):
    """One mask, micro-batch and resident batch: sequences and addresses are left to choose."""

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
            for bit in bits(way.reads):
                if bit & self.given and bit not in latest:
                    new(bit, 0)
                ends[latest[bit]] = step + 1
            operands = {read: latest[read] for read, _ in way.pairs}
            for bit in bits(candidate.writes):
                new(bit, step + (way.uses_up > 0))
            for read, write in way.pairs:
                served.append((step, operands[read], latest[write], read, write))
            if way.workspace:
                workspaces.append((step, step + 1, way.workspace))
        kept = {latest[bit] for bit in bits(self.outputs)}
        for place in kept:
            ends[place] = len(sequence)
        for step, operand, result, read, write in served:
            if ends[operand] == step + 1 and operand not in kept:
                pairs.append((step, operand, result, self.name_of[read], self.name_of[write]))
        best: tuple[int, frozenset[tuple[int, str, str]]] | None = None
        subsets = sorted(matchings([(a, b) for _, a, b, _, _ in pairs]), key=len, reverse=True)
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
