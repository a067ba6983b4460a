"""Plans by heuristics: the mask where it is open, then schedules and addresses, micro-batch by
micro-batch."""

from __future__ import annotations

from memplan.solver.attempts import cannot_improve, is_poor, offer_as_it_is, shrink, try_mask
from memplan.solver.bounding import bound_time
from memplan.solver.masks.estimate import choose_mask
from memplan.solver.masks.possible import importance_is_proved, try_possible_masks
from memplan.solver.masks.search import is_hopeless, most_important, raise_layers, search_masks
from memplan.solver.proofs import is_proved, may_reorder
from memplan.solver.pursuit import Mask, Pursuit, Side
from memplan.solver.scheduling.orders import starting_schedules

__all__ = ["hasten_poor", "look_for_smallest", "try_again", "try_heuristics"]

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
#: What other orders of a small graph get whose plain order is solved exactly.
_REORDERING_SECONDS = 3.0


def try_heuristics(
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
        try_again(pursuit, sides, began + seconds - clock.now())


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


def try_again(pursuit: Pursuit, sides: list[Side], seconds: float) -> None:
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


def hasten_poor(pursuit: Pursuit, sides: list[Side]) -> None:
    """Go on from an incumbent that is as good as none, before it is bounded."""
    best = pursuit.best
    if best is not None and any(is_poor(best, side, best.instance.mask()) for side in sides):
        try_again(pursuit, sides, _POOR_SHARE * pursuit.left)


def look_for_smallest(pursuit: Pursuit, sides: list[Side]) -> None:
    """Nothing fits so far: look for the smallest plan, which may fit after all."""
    for number, side in enumerate(sides):
        seconds = max(0.3, pursuit.left / (len(sides) - number))
        pursuit.tell(f"smallest plan, micro-batch {side.samples}")
        instance = side.instance
        mask = instance.mask() if instance.fixed else choose_mask(side.memory_estimate(), 0)
        shrink(pursuit, side, mask, seconds)
