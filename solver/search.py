"""The staged, anytime search: bounds, greedy, annealing, packing, and the joint model.

Each stage is a hint for the next.  Micro-batches are bounded first and those whose bound exceeds
the budget are discarded; the rest share the incumbent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from memplan.ir.graph import OpGraph
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.solver.bounds import ByteBound, lower_bound
from memplan.solver.heuristics import Found, find_schedules, smallest_peak
from memplan.solver.instance import Instance, build_instance, fix_mask
from memplan.solver.joint import build_joint_model, default_computations
from memplan.solver.joint.lexicographic import solve_levels
from memplan.solver.levels import Proof
from memplan.solver.masks import candidate_masks
from memplan.solver.micro_batches import allowed_micro_batches
from memplan.solver.progress import Progress, Reporter
from memplan.solver.schedule import Schedule, Table
from memplan.solver.solution import Solution, place
from memplan.solver.techniques import Techniques
from memplan.solver.ways import fastest_ways, needed_schedule

__all__ = ["Outcome", "search"]

#: Joint models of at most so many computations are solved whole, with everything free.
WHOLE_MODEL_COMPUTATIONS = 60


@dataclass
class Side:
    """One micro-batch of the search."""

    samples: int
    instance: Instance
    bound: ByteBound
    #: Limits that the joint model of this micro-batch has proved; None: not solved to the end.
    proof: Proof | None = None
    infeasible: bool = False


@dataclass
class Outcome:
    """What the search found and proved."""

    best: Solution | None
    #: The smallest arena of any solution, whether or not it fits.
    smallest: Solution | None
    lower_bound: ByteBound
    sides: list[Side]
    proof: Proof
    #: Proved, without restrictions, that nothing fits.
    infeasible: bool


@dataclass
class _Search:
    graph: OpGraph
    request: PlanRequest
    techniques: Techniques
    reporter: Reporter
    deadline: float
    best: Solution | None = None
    smallest: Solution | None = None
    sides: list[Side] = field(default_factory=list)

    def offer(self, solution: Solution) -> None:
        """Take a solution into account: as the best that fits, as the smallest, or not at all."""
        size = solution.worth.arena_bytes
        if self.smallest is None or size < self.smallest.worth.arena_bytes:
            self.smallest = solution
        if _fits(solution) and (self.best is None or solution.worth < self.best.worth):
            self.best = solution

    def tell(self, stage: str, gap: float | None = None) -> None:
        best = self.best
        self.reporter.tell(
            stage,
            arena_bytes=best.worth.arena_bytes if best else None,
            time_ns=best.worth.time_ns if best else None,
            importance=-best.worth.minus_importance if best else None,
            lower_bound_bytes=min((s.bound.bytes for s in self.sides), default=None),
            gap=gap,
        )

    @property
    def left(self) -> float:
        """Seconds until the time limit."""
        return self.deadline - time.monotonic()


def _fits(solution: Solution) -> bool:
    instance = solution.instance
    return (
        solution.worth.arena_bytes <= instance.store_bytes + instance.room_bytes
        and _within_compute(solution.table, solution.schedule)
    )


def _within_compute(table: Table, schedule: Schedule) -> bool:
    """Tell whether the extra MACs stay within the request's compute limit."""
    instance = table.instance
    limit = instance.extra_macs_limit
    if limit is None:
        return True
    first = {index: allowed[0] for index, allowed in enumerate(table.allowed) if allowed}
    plain = sum(table.macs[work][way] for work, way in needed_schedule(table, first))
    spent = sum(table.macs[work][way] for work, way in schedule)
    return instance.trips * (spent - plain) <= limit


def search(
    graph: OpGraph,
    request: PlanRequest,
    techniques: Techniques,
    progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Look for the best plan that fits within the request's time limit.

    Raises:
        RequestError: the request contradicts the graph.
    """
    run = _Search(
        graph,
        request,
        techniques,
        Reporter(progress),
        time.monotonic() + request.time_limit_seconds,
    )
    run.tell("bounds")
    for samples in allowed_micro_batches(graph, request):
        instance = build_instance(graph, request, samples)
        seconds = min(2.0, 0.05 * request.time_limit_seconds)
        run.sides.append(Side(samples, instance, lower_bound(instance, seconds)))
    weakest = min(run.sides, key=lambda side: side.bound.bytes)
    hopeful = [side for side in run.sides if side.bound.bytes <= request.budget_bytes]
    if not hopeful:
        return Outcome(None, None, weakest.bound, run.sides, Proof(), infeasible=True)
    whole = [
        side
        for side in hopeful
        if sum(default_computations(side.instance)) <= WHOLE_MODEL_COMPUTATIONS
    ]
    if len(whole) == len(hopeful) and techniques.joint_model:
        _solve_whole(run, hopeful)
    else:
        _solve_in_stages(run, hopeful)
    if run.best is None:
        _shrink(run, hopeful)
    return Outcome(
        run.best,
        run.smallest,
        weakest.bound,
        run.sides,
        _joined_proof(run, hopeful),
        infeasible=False,
    )


def _solve_whole(run: _Search, sides: list[Side]) -> None:
    """Solve the joint model of every micro-batch with everything free."""
    _first_tries(run, sides, min(1.0, 0.2 * run.left))
    for number, side in enumerate(sides):
        run.tell(f"joint model, micro-batch {side.samples}")
        hint = run.best if run.best and run.best.instance.samples == side.samples else None
        joint = build_joint_model(side.instance)
        result = solve_levels(
            joint,
            run.left / (len(sides) - number),
            hint=hint,
            seed=run.request.seed,
            workers=run.request.workers,
            on_solution=run.offer,
        )
        side.proof, side.infeasible = result.proof, result.infeasible


def _first_tries(run: _Search, sides: list[Side], seconds: float) -> None:
    """Run the heuristics for a short while on every micro-batch and some masks."""
    until = time.monotonic() + seconds
    tries = [
        (side, mask)
        for side in sides
        for mask in candidate_masks(side.instance, 0.0, run.request.seed, use_model=False)
    ]
    for number, (side, mask) in enumerate(tries):
        left = until - time.monotonic()
        if left <= 0 and run.best is not None:
            break
        _try_mask(run, side, mask, max(0.01, left / (len(tries) - number)))


def _try_mask(
    run: _Search, side: Side, mask: dict[str, LayerUpdate], seconds: float, packing_share: float = 0.3
) -> bool:
    """Look for a plan with ``mask``; True if one fits."""
    instance = fix_mask(side.instance, mask)
    if instance.room_bytes <= 0:
        return False
    table = Table.of(instance)
    found = find_schedules(
        table,
        instance.room_bytes,
        seconds * (1 - packing_share),
        run.request.seed,
        run.techniques,
        lambda steps: _within_compute(table, steps),
    )
    return _pack_found(run, table, found, seconds * packing_share)


def _pack_found(run: _Search, table: Table, found: Found, seconds: float) -> bool:
    """Find addresses for the schedules that fit in live bytes, the fastest first."""
    request, instance = run.request, table.instance
    until = time.monotonic() + seconds
    for number, (_, schedule) in enumerate(found.fitting):
        left = max(0.05, (until - time.monotonic()) / (len(found.fitting) - number))
        solution = place(
            table, schedule, instance.room_bytes, left, request.seed, request.workers
        )
        run.offer(solution)
        if _fits(solution):
            return True
    if not found.fitting and found.least:
        run.offer(place(table, found.least, None, 0.0))
    return False


def _solve_in_stages(run: _Search, sides: list[Side]) -> None:
    """Heuristics on every micro-batch and mask, then what time is left on the best of them."""
    total = run.left
    for number, side in enumerate(sides):
        run.tell(f"greedy, micro-batch {side.samples}")
        share = 0.55 * total / len(sides)
        masks = (
            [side.instance.mask()]
            if side.instance.fixed
            else candidate_masks(
                side.instance,
                0.4 * share if run.techniques.mask_model else 0.0,
                run.request.seed,
                use_model=run.techniques.mask_model,
            )
        )
        until = time.monotonic() + share
        for index, mask in enumerate(masks):
            if _cannot_improve(run, side, mask):
                continue
            left = max(0.2, until - time.monotonic())
            _try_mask(run, side, mask, left / (len(masks) - index))
            run.tell(f"greedy, micro-batch {side.samples}")


def _cannot_improve(run: _Search, side: Side, mask: dict[str, LayerUpdate]) -> bool:
    """Tell whether even the plain step of this mask is no better than the incumbent."""
    if run.best is None or not run.techniques.micro_batch_bounds:
        return False
    table = Table.of(fix_mask(side.instance, mask))
    schedule = needed_schedule(table, fastest_ways(table))
    from memplan.solver.solution import worth

    return worth(table, schedule, 0) > run.best.worth


def _shrink(run: _Search, sides: list[Side]) -> None:
    """Nothing fits so far: look for the smallest plan, which may fit after all."""
    for number, side in enumerate(sides):
        left = run.left / (len(sides) - number)
        if left <= 0 and run.smallest is not None:
            break
        run.tell(f"smallest plan, micro-batch {side.samples}")
        masks = candidate_masks(side.instance, 0.0, run.request.seed, use_model=False)
        instance = fix_mask(side.instance, masks[-1])
        table = Table.of(instance)
        found = smallest_peak(
            table,
            max(0, side.bound.bytes - instance.store_bytes),
            max(0.2, 0.7 * left),
            run.request.seed,
            lambda steps, table=table: _within_compute(table, steps),  # type: ignore[misc]
        )
        if found.least:
            run.offer(place(table, found.least, None, max(0.1, 0.3 * left), run.request.seed))


def _joined_proof(run: _Search, sides: list[Side]) -> Proof:
    """Join what was proved per micro-batch into limits for the whole request."""
    proof = Proof()
    best = run.best
    if best is None:
        return proof
    solved = [side for side in sides if side.proof is not None]
    restrictions = [
        f"at most {run.request.computations} computations of one operation",
        "addresses above the persistent buffers",
    ]
    if len(solved) == len(sides):
        proof.restrictions = restrictions
        proof.importance = _best_bound(solved, "importance", max)
        at_best = [s for s in solved if not s.infeasible and _may_reach(s, best)]
        if all(s.infeasible or s.proof is None or s.proof.time_ns is not None for s in at_best):
            proof.time_ns = _best_bound(at_best, "time_ns", min)
            fastest = [
                s for s in at_best if s.proof and s.proof.time_ns is not None
                and s.proof.time_ns <= best.worth.time_ns
            ]
            if all(s.proof and s.proof.arena_bytes is not None for s in fastest):
                proof.arena_bytes = _best_bound(fastest, "arena_bytes", min)
    return proof


def _may_reach(side: Side, best: Solution) -> bool:
    limit = side.proof.importance if side.proof else None
    return limit is None or limit >= -best.worth.minus_importance


def _best_bound(
    sides: list[Side], name: str, join: Callable[[list[int]], int]
) -> int | None:
    values = [getattr(side.proof, name) for side in sides if not side.infeasible]
    if not values or any(value is None for value in values):
        return None
    return join(values)
