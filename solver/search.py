"""The staged, anytime search: bounds, greedy, annealing, packing, and the joint model.

Each stage is a hint for the next.  Micro-batches are bounded first and those whose bound exceeds
the budget are discarded; the rest share the incumbent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from memplan.ir.graph import OpGraph
from memplan.ir.request import PlanRequest
from memplan.solver.attempts import cannot_improve, is_poor, offer_as_it_is, shrink, try_mask
from memplan.solver.bounding import bound_time
from memplan.solver.bounds import ByteBound
from memplan.solver.build_instance import build_instance
from memplan.solver.clock import Clock
from memplan.solver.collector import old_objects_left_alone
from memplan.solver.joint import build_joint_model, default_computations
from memplan.solver.joint.lexicographic import solve_levels
from memplan.solver.levels import Proof, with_known
from memplan.solver.line_search import solve_lines
from memplan.solver.masks.estimate import choose_mask
from memplan.solver.masks.possible import importance_is_proved, try_possible_masks
from memplan.solver.masks.search import is_hopeless, most_important, raise_layers, search_masks
from memplan.solver.micro_batches import allowed_micro_batches
from memplan.solver.pebble_bound import least_bytes
from memplan.solver.progress import Progress, Reporter
from memplan.solver.proofs import (
    is_proved,
    is_settled,
    join_proofs,
    joined_proof,
    may_reorder,
    prefer_proved,
    remember_proved,
)
from memplan.solver.pursuit import Mask, Pursuit, Side
from memplan.solver.restore import Start
from memplan.solver.schedule import NO_LIMIT
from memplan.solver.scheduling.orders import starting_schedules
from memplan.solver.solution import Solution
from memplan.solver.techniques import Techniques
from memplan.solver.warm_start import (
    WarmStart,
    is_far_below,
    look_afresh,
    look_again,
    look_near,
    offer_stored,
)

__all__ = ["Outcome", "search"]

#: Joint models of at most so many computations are solved whole, with everything free.
WHOLE_MODEL_COMPUTATIONS = 60
#: Of the time, what heuristics get in front of bounds and the joint model, and where neither comes.
_SHARE_BEFORE_MODEL, _SHARE_ALONE = 0.7, 0.95
#: Beyond so many, the joint model is not even tried around an incumbent.
LARGEST_MODEL_COMPUTATIONS = 500
#: A micro-batch of a large graph gets so long per operation at least, or nothing comes of it.
_LEAST_SECONDS_PER_WORK = 2e-3
#: Of the heuristics' time, what updating everything may take where the mask is open.
_EVERYTHING_SHARE = 0.06
#: Of the heuristics' time, and of what is left for the incumbent, what the masks may take that
#: bytes do not exclude.
_POSSIBLE_SHARE = 0.2
#: Of the time left for the incumbent, where the mask is open, what a faster schedule gets at last.
_SCHEDULE_SHARE = 0.4
#: What a plan gets that takes much longer than schedules that were found, before it is bounded.
_POOR_SHARE = 0.6
#: For a last look at the bound, if the incumbent has changed.
_LAST_SECONDS = 0.5
#: What other orders of a small graph get whose plain order is solved exactly.
_REORDERING_SECONDS = 3.0
#: Of a search from a stored plan, where the mask is given.
_WARM_LINE_SHARE = 0.25
_WARM_NEAR_SHARE = 0.45
_WARM_BOUND_SHARE = 0.6
#: ... and where it is open.
_WARM_POSSIBLE_SHARE = 0.3
#: Seconds for other orders of a plan that is proved along its own.
_WARM_REORDERING = 0.3
#: Where nothing near fits, the time is longer by so much of it.
_AFRESH_SHARE, _AFRESH_SHARE_OPEN = 0.5, 0.1


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
    small = all(_computations(side) <= WHOLE_MODEL_COMPUTATIONS for side in hopeful)
    small = small and techniques.joint_model
    if start.plans:
        starts = offer_stored(pursuit, hopeful, start.plans)
        if not start.whole and starts:
            _go_on_from(pursuit, hopeful, starts, small, deadline)
            if pursuit.best is not None and (
                importance_is_proved(pursuit) or not is_far_below(pursuit.best, starts)
            ):
                return _outcome(pursuit, hopeful)
    pursuit.deadline = deadline
    if small:
        if techniques.line_model:
            solve_lines(pursuit, hopeful, 0.1 * pursuit.left)
            remember_proved(pursuit, hopeful)
        _try_heuristics(pursuit, hopeful, min(1.0, 0.2 * pursuit.left))
        if not is_settled(pursuit, hopeful):
            _solve_whole(pursuit, hopeful)
        bound_time(pursuit, hopeful, max(_LAST_SECONDS, pursuit.left))
    else:
        if techniques.line_model:
            solve_lines(pursuit, hopeful, 0.3 * pursuit.left)
            remember_proved(pursuit, hopeful)
        share = _SHARE_BEFORE_MODEL if techniques.joint_model else 1.0
        choosing = _mask_share(pursuit, hopeful)
        _try_heuristics(pursuit, hopeful, share * pursuit.left, choosing * pursuit.left)
        _hasten_poor(pursuit, hopeful)
        bound_time(pursuit, hopeful, 0.7 * pursuit.left)
        bounded = pursuit.best
        if techniques.joint_model and not is_proved(pursuit, hopeful):
            _improve_by_model(pursuit)
            _try_again(pursuit, hopeful, pursuit.left - _LAST_SECONDS)
        changed = pursuit.best is not bounded
        bound_time(pursuit, hopeful, _LAST_SECONDS if changed else pursuit.left)
    if pursuit.best is None:
        _look_for_smallest(pursuit, hopeful)
    return _outcome(pursuit, hopeful)


def _go_on_from(
    pursuit: Pursuit,
    sides: list[Side],
    starts: Sequence[tuple[Side, Start]],
    small: bool,
    latest: float,
) -> None:
    """Look near stored plans, which were offered; what is quick and exact comes first.

    Args:
        latest: when it ends where nothing near fits.
    """
    fixed, whole = sides[0].instance.fixed, pursuit.left

    def ends() -> bool:
        """Tell whether nothing is left to find that is worth a search."""
        return is_proved(pursuit, sides) and not small and not may_reorder(pursuit, sides)

    if fixed and pursuit.techniques.line_model and pursuit.left > 0 and not ends():
        solve_lines(pursuit, sides, _WARM_LINE_SHARE * pursuit.left)
        remember_proved(pursuit, sides)
    if ends():
        return
    given = fixed
    if not fixed:
        try_possible_masks(pursuit, sides, _WARM_POSSIBLE_SHARE * pursuit.left)
        given = importance_is_proved(pursuit)
        if given:
            bound_time(pursuit, sides, _WARM_LINE_SHARE * pursuit.left)
            if ends():
                return
            if is_proved(pursuit, sides):  # along its line: of others little is to be expected
                pursuit.deadline = min(pursuit.deadline, pursuit.clock.now() + _WARM_REORDERING)
    if not is_settled(pursuit, sides):
        share = 0.2 if small else _WARM_NEAR_SHARE if given else 0.8
        look_near(pursuit, sides, starts, share * pursuit.left)
    # Where nothing near fits, what was near is of little use.
    if pursuit.best is None and fixed:
        pursuit.deadline = min(latest, pursuit.deadline + _AFRESH_SHARE * whole)
        look_afresh(pursuit, starts, 0.8 * pursuit.left)
    elif pursuit.best is None:
        pursuit.deadline = min(latest, pursuit.deadline + _AFRESH_SHARE_OPEN * whole)
        _try_heuristics(pursuit, sides, 0.8 * pursuit.left)
    if pursuit.best is None:
        return
    if small:
        if pursuit.left > 0 and not is_settled(pursuit, sides):
            _solve_whole(pursuit, sides)
    elif given:  # the bound has schedules of its own
        bound_time(pursuit, sides, _WARM_BOUND_SHARE * pursuit.left)
        if not is_proved(pursuit, sides):
            look_again(pursuit, sides, 0.8 * pursuit.left)
    bound_time(pursuit, sides, pursuit.left)


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


def _computations(side: Side) -> int:
    return sum(default_computations(side.instance))


def _try_heuristics(
    pursuit: Pursuit, sides: list[Side], seconds: float, choosing_seconds: float = 0.0
) -> None:
    """Greedy, annealing and packing on every micro-batch, first briefly, then for longer.

    Where the mask is open its choice takes most of the time; the rest goes into a faster
    schedule for the mask that was found.  Where everything may be updated nothing is to be chosen.

    Args:
        choosing_seconds: what they get at least where a mask is to be chosen.
    """
    clock = pursuit.clock
    began = clock.now()
    bound = pursuit.recomputation
    if bound is not None and bound.is_plain_order and is_proved(pursuit, sides):
        seconds = min(seconds, _REORDERING_SECONDS)
    is_given = sides[0].instance.fixed
    trial = _EVERYTHING_SHARE * seconds
    mask = sides[0].instance.mask() if is_given else _try_everything(pursuit, sides, trial)
    if mask is None:
        mask = _try_possible(pursuit, sides, _POSSIBLE_SHARE * max(seconds, choosing_seconds))
    if mask is None:
        seconds = max(seconds, choosing_seconds)
    tried = sides
    if mask is not None and not is_given:
        tried = [side for side in sides if not is_hopeless(pursuit, side, dict(mask))]
    until = began + (0.75 * seconds if mask is None else seconds)
    for share in (0.2, 1.0):
        if is_proved(pursuit, sides):
            if not may_reorder(pursuit, sides):
                return
            if share < 1.0:  # other orders are tried for long, or not at all
                continue
        for number, side in enumerate(tried):
            whole = max(0.0, until - clock.now())
            if pursuit.best is not None and not whole:
                break
            if mask is None:
                search_masks(pursuit, side, share * whole / (len(tried) - number))
            elif not cannot_improve(pursuit, side, mask):
                pursuit.tell(f"schedule, micro-batch {side.samples}")
                rivals = sum(not cannot_improve(pursuit, other, mask) for other in tried[number:])
                least = min(0.3 * whole, _LEAST_SECONDS_PER_WORK * len(side.instance.works))
                try_mask(pursuit, side, mask, max(least, share * whole / rivals))
        bound_time(pursuit, sides, 0.3 * (until - clock.now()))
    if mask is None:
        _try_again(pursuit, sides, began + seconds - clock.now())


def _try_everything(pursuit: Pursuit, sides: list[Side], seconds: float) -> Mask | None:
    """Return the only mask of the most importance, if a plan of it fits."""
    mask = most_important(sides[0].instance)
    if mask is None:
        return None
    until = pursuit.clock.now() + seconds
    pursuit.tell("update everything")
    open_sides = [side for side in sides if not is_hopeless(pursuit, side, mask)]
    # Of few samples it may fit as it is, which is seen at once.
    for side in open_sides:
        table = side.table(mask)
        if any(offer_as_it_is(pursuit, table, tuple(s)) for s in starting_schedules(table)):
            return mask
    for number, side in enumerate(open_sides):
        if pursuit.clock.over(until):
            break
        pursuit.tell(f"update everything, micro-batch {side.samples}")
        share = (until - pursuit.clock.now()) / (len(open_sides) - number)
        if try_mask(pursuit, side, mask, share):
            return mask
    return None


def _try_possible(pursuit: Pursuit, sides: list[Side], seconds: float) -> Mask | None:
    """Return the incumbent's mask, if it is proved to be of the most importance."""
    try_possible_masks(pursuit, sides, seconds)
    if pursuit.best is None or not importance_is_proved(pursuit):
        return None
    return pursuit.best.instance.mask()


def _try_again(pursuit: Pursuit, sides: list[Side], seconds: float) -> None:
    """Go on from the incumbent: to more important masks, then to a faster schedule of its mask."""
    best = pursuit.best
    if best is None or seconds <= 0.1 or pursuit.clock.stop():
        return
    until = pursuit.clock.now() + seconds
    if not importance_is_proved(pursuit):
        try_possible_masks(pursuit, sides, _POSSIBLE_SHARE * seconds)
        best = pursuit.best or best
    side = next(side for side in sides if side.samples == best.instance.samples)
    raise_layers(pursuit, side, until - _SCHEDULE_SHARE * seconds)
    pursuit.tell(f"schedule, micro-batch {side.samples}")
    mask = (pursuit.best or best).instance.mask()
    try_mask(pursuit, side, mask, until - pursuit.clock.now())


def _hasten_poor(pursuit: Pursuit, sides: list[Side]) -> None:
    """Go on from an incumbent that is as good as none, before it is bounded."""
    best = pursuit.best
    if best is not None and any(is_poor(best, side, best.instance.mask()) for side in sides):
        _try_again(pursuit, sides, _POOR_SHARE * pursuit.left)


def _solve_whole(pursuit: Pursuit, sides: list[Side]) -> None:
    """Solve the joint model of every micro-batch with everything free."""
    for number, side in enumerate(sides):
        pursuit.tell(f"joint model, micro-batch {side.samples}")
        best, hints = pursuit.best, pursuit.techniques.hints
        result = solve_levels(
            build_joint_model(side.instance),
            pursuit.left / (len(sides) - number),
            hint=best if hints and best and best.instance.samples == side.samples else None,
            seed=pursuit.request.seed,
            workers=pursuit.request.workers,
            clock=pursuit.clock,
            on_solution=pursuit.offer,
            on_proof=partial(_take_proof, pursuit, sides, side),
        )
        if not side.instance.coverable:  # else the model leaves out what the request allows
            side.proof, side.infeasible = result.proof, result.infeasible


def _take_proof(pursuit: Pursuit, sides: list[Side], side: Side, proof: Proof) -> None:
    """Take into account, for whoever watches, what is proved of a model that is being solved."""
    if not side.instance.coverable:
        side.proof = proof
        joined_proof(pursuit, sides)


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


def _improve_by_model(pursuit: Pursuit) -> None:
    """Let CP-SAT's neighbourhood search improve the incumbent in the joint model."""
    best = pursuit.best
    if best is None or pursuit.left < 1.0:
        return
    side = next(s for s in pursuit.sides if s.samples == best.instance.samples)
    # One computation more than the incumbent uses, so that its hint is complete.
    used: dict[int, int] = {}
    for work, _ in best.schedule:
        used[work] = used.get(work, 0) + 1
    limit = pursuit.request.computations or NO_LIMIT
    computations = [
        max(used.get(index, 0), min(limit, used.get(index, 0) + 1)) if work.recomputable else 1
        for index, work in enumerate(side.instance.works)
    ]
    if sum(computations) > LARGEST_MODEL_COMPUTATIONS:
        return
    pursuit.tell("joint model around the best plan")
    solve_levels(
        build_joint_model(side.instance, computations),
        pursuit.left,
        hint=best if pursuit.techniques.hints else None,
        seed=pursuit.request.seed,
        workers=pursuit.request.workers,
        lns_only=True,
        clock=pursuit.clock,
        on_solution=pursuit.offer,
    )


def _look_for_smallest(pursuit: Pursuit, sides: list[Side]) -> None:
    """Nothing fits so far: look for the smallest plan, which may fit after all."""
    for number, side in enumerate(sides):
        seconds = max(0.3, pursuit.left / (len(sides) - number))
        pursuit.tell(f"smallest plan, micro-batch {side.samples}")
        instance = side.instance
        mask = instance.mask() if instance.fixed else choose_mask(side.memory_estimate(), 0)
        shrink(pursuit, side, mask, seconds)
