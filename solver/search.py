"""The staged, anytime search: bounds, greedy, annealing, packing, and the joint model.

Each stage is a hint for the next.  Micro-batches are bounded first and those whose bound exceeds
the budget are discarded; the rest share the incumbent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from memplan.ir.graph import OpGraph
from memplan.ir.request import PlanRequest
from memplan.solver.bounding import bound_time
from memplan.solver.bounds import ByteBound
from memplan.solver.build_instance import build_instance
from memplan.solver.clock import Clock
from memplan.solver.collector import old_objects_left_alone
from memplan.solver.every_order import search_orders
from memplan.solver.go_on import go_on_from
from memplan.solver.heuristic_stage import (
    hasten_poor,
    look_for_smallest,
    try_again,
    try_heuristics,
)
from memplan.solver.levels import Proof, with_known
from memplan.solver.line_search import solve_lines
from memplan.solver.masks.possible import importance_is_proved
from memplan.solver.micro_batches import allowed_micro_batches
from memplan.solver.model_stage import (
    LARGEST_MODEL_COMPUTATIONS,
    improve_by_model,
    is_solved_whole,
    solve_whole,
)
from memplan.solver.pebble_bound import least_bytes
from memplan.solver.progress import Progress, Reporter
from memplan.solver.proofs import (
    is_proved,
    is_settled,
    join_proofs,
    joined_proof,
    prefer_proved,
    remember_proved,
)
from memplan.solver.pursuit import Pursuit, Side
from memplan.solver.solution import Solution
from memplan.solver.techniques import Techniques
from memplan.solver.warm_start import WarmStart, is_far_below, offer_stored

__all__ = ["Outcome", "search"]

#: Of the time, what heuristics get in front of bounds and the joint model, and where neither comes.
_SHARE_BEFORE_MODEL, _SHARE_ALONE = 0.7, 0.95
#: Of the time, what the search over all orders gets of small graphs, first and behind heuristics.
_ORDERS_SHARE, _ORDERS_AGAIN_SHARE = 0.2, 0.5
#: For a last look at the bound, if the incumbent has changed.
_LAST_SECONDS = 0.5


@dataclass(frozen=True)
class Outcome:
    """What the search found and proved."""

    best: Solution | None
    smallest: Solution | None
    lower_bound: ByteBound
    sides: Sequence[Side]
    proof: Proof
    #: Proved, without restrictions, that nothing fits.
    infeasible: bool
    #: What is proved of every plan of this or a smaller budget, and not along some line only.
    shared: Proof = field(default_factory=Proof)


def search(
    graph: OpGraph,
    request: PlanRequest,
    techniques: Techniques,
    progress: Callable[[Progress], None] | None = None,
    clock: Clock | None = None,
    start: WarmStart | None = None,
) -> Outcome:
    """Look for the best plan that fits within the request's time limit.

    Args:
        start: what to go on from; the search then ends early, if anything fits.

    Raises:
        RequestError: the request contradicts the graph, or does not allow what it starts from.
    """
    with old_objects_left_alone():
        return _search(graph, request, techniques, progress, clock or Clock(), start or WarmStart())


def _search(
    graph: OpGraph,
    request: PlanRequest,
    techniques: Techniques,
    progress: Callable[[Progress], None] | None,
    clock: Clock,
    start: WarmStart,
) -> Outcome:
    began = clock.now()
    deadline = began + request.time_limit_seconds
    pursuit = Pursuit(request, techniques, Reporter(progress), deadline, clock)
    pursuit.proofs = start.proofs
    pursuit.tell("bounds")
    instances = [
        build_instance(graph, request, samples) for samples in allowed_micro_batches(graph, request)
    ]
    if start.plans:
        pursuit.deadline = began + start.seconds(instances[0])
    for instance in instances:
        samples = instance.samples
        seconds = min(3.0, 0.1 * request.time_limit_seconds / len(instances))
        if start.plans:
            seconds = min(seconds, 0.2 * pursuit.left / len(instances))
        bound = start.bounds.get(samples) or least_bytes(instance, seconds, techniques, clock)
        pursuit.sides.append(Side(samples, instance, bound, techniques.linear_time_bound, clock))
    weakest = min(pursuit.sides, key=lambda side: side.bound.bytes)
    hopeful = [side for side in pursuit.sides if side.bound.budget_bytes <= request.budget_bytes]
    if not hopeful:
        return Outcome(None, None, weakest.bound, pursuit.sides, Proof(), infeasible=True)
    small = all(is_solved_whole(side) for side in hopeful)
    small = small and techniques.joint_model
    if start.plans:
        starts = offer_stored(pursuit, hopeful, start.plans)
        if not start.whole and starts:
            go_on_from(pursuit, hopeful, starts, small, deadline)
            if pursuit.best is not None and (
                importance_is_proved(pursuit) or not is_far_below(pursuit.best, starts)
            ):
                return _outcome(pursuit, hopeful)
    pursuit.deadline = deadline
    search_orders(pursuit, hopeful, _ORDERS_SHARE * pursuit.left)
    if small:
        if techniques.line_model and not is_settled(pursuit, hopeful):
            solve_lines(pursuit, hopeful, 0.1 * pursuit.left)
            remember_proved(pursuit, hopeful)
        if not is_settled(pursuit, hopeful):
            try_heuristics(pursuit, hopeful, min(1.0, 0.2 * pursuit.left))
        search_orders(pursuit, hopeful, _ORDERS_SHARE * pursuit.left)
        if not is_settled(pursuit, hopeful):
            solve_whole(pursuit, hopeful)
        bound_time(pursuit, hopeful, max(_LAST_SECONDS, pursuit.left))
    else:
        if techniques.line_model and not is_proved(pursuit, hopeful):
            solve_lines(pursuit, hopeful, 0.3 * pursuit.left)
            remember_proved(pursuit, hopeful)
        share = _SHARE_BEFORE_MODEL if techniques.joint_model else 1.0
        choosing = _mask_share(pursuit, hopeful)
        try_heuristics(pursuit, hopeful, share * pursuit.left, choosing * pursuit.left)
        hasten_poor(pursuit, hopeful)
        search_orders(pursuit, hopeful, _ORDERS_AGAIN_SHARE * pursuit.left)
        bound_time(pursuit, hopeful, 0.7 * pursuit.left)
        bounded = pursuit.best
        if techniques.joint_model and not is_proved(pursuit, hopeful):
            improve_by_model(pursuit)
            try_again(pursuit, hopeful, pursuit.left - _LAST_SECONDS)
        changed = pursuit.best is not bounded
        bound_time(pursuit, hopeful, _LAST_SECONDS if changed else pursuit.left)
    if pursuit.best is None:
        look_for_smallest(pursuit, hopeful)
    return _outcome(pursuit, hopeful)


def _outcome(pursuit: Pursuit, hopeful: list[Side]) -> Outcome:
    prefer_proved(pursuit, hopeful)
    return Outcome(
        pursuit.best,
        pursuit.smallest,
        min((side.bound for side in pursuit.sides), key=lambda bound: bound.bytes),
        pursuit.sides,
        joined_proof(pursuit, hopeful),
        infeasible=False,
        shared=with_known(join_proofs(pursuit, hopeful, along=False), pursuit.proofs),
    )


def _mask_share(pursuit: Pursuit, sides: list[Side]) -> float:
    """Return the part of the time for heuristics that choose a mask.

    More where nothing comes behind them: no time is proved unless everything is updated, and of
    large graphs the joint model is not tried.
    """
    again = 1 if pursuit.request.computations == 1 else 2
    least = (
        sum(again if work.recomputable else 1 for work in side.instance.works) for side in sides
    )
    return _SHARE_ALONE if min(least) > LARGEST_MODEL_COMPUTATIONS else _SHARE_BEFORE_MODEL
