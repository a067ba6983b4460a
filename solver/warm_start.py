"""Go on from stored plans: offer what fits, repair what does not, and look around for a while.

After a small change of the budget the best plan is near the stored one: the same mask or one that
differs in a few layers, nearly the same schedule.  So no time goes into what a cold search begins
with, and the search ends early.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from memplan.ir.check import require
from memplan.ir.errors import PlanRejectedError, RequestError
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.ir.request import LayerUpdate
from memplan.solver.attempts import cannot_improve, carry_over, offer_as_it_is, try_mask
from memplan.solver.bounds import ByteBound
from memplan.solver.build_instance import fix_mask
from memplan.solver.instance import Instance
from memplan.solver.levels import Proof
from memplan.solver.masks.estimate import choose_mask
from memplan.solver.masks.exchange import least_loss
from memplan.solver.masks.possible import importance_is_proved
from memplan.solver.masks.search import is_hopeless, raise_layers
from memplan.solver.near import try_near
from memplan.solver.pursuit import Pursuit, Side
from memplan.solver.restore import Start, restore
from memplan.solver.schedule import live_peak
from memplan.solver.scheduling.carry_over import carried_over
from memplan.solver.solution import Solution

__all__ = [
    "WarmStart",
    "is_far_below",
    "look_afresh",
    "look_again",
    "look_near",
    "must_be_of",
    "offer_stored",
]

Mask = dict[str, LayerUpdate]
Steps = tuple[tuple[int, int], ...]

#: Part of the time limit that a search from a stored plan takes, once something fits: with a given
#: mask, where a cold search often proves its plan before its time is over, and with an open one.
_GIVEN_SHARE, _OPEN_SHARE = 0.1, 0.16
#: Masks are tried whose estimated bytes exceed those of the stored one by what the budget exceeds
#: its arena, and by these parts of the budget: upward while plans are found, downward until one is.
_UPWARD = (0.0, 0.02, 0.05, 0.1)
_DOWNWARD = (-0.02, -0.06, -0.12, -0.2)
#: A small change of the budget costs less of the importance than this leaves.
_FAR_BELOW = 0.8
#: Layers at which what it takes to reach them is measured, which takes long on large graphs.
_REACH_SAMPLES = 1
#: Part of the time that is left for each micro-batch that is tried.
_OWN_SHARE = 0.8
#: Part of a second look's time for greedy runs: annealing has been where it leads.
_GREEDY_AGAIN = 0.6


@dataclass(frozen=True)
class WarmStart:
    """What a search goes on from.

    Attributes:
        plans: of the same graph, accepted by the checker.
        share: part of the request's time limit after which the search ends, if anything fits;
            None: what is usual.
        whole: take the plans as incumbents only, and search for all of the time as if there were
            none.
        proofs: what was proved, in this process, of every plan of the same or a larger budget
            under otherwise the same request.
        bounds: on bytes, of this graph under otherwise the same request, by micro-batch.
    """

    plans: Sequence[Plan] = ()
    share: float | None = None
    whole: bool = False
    proofs: Sequence[Proof] = ()
    bounds: Mapping[int, ByteBound] = field(default_factory=dict)

    def seconds(self, instance: Instance) -> float:
        """Return after how long the search ends, if anything fits; instances differ in nothing."""
        share = self.share
        if share is None:
            share = _GIVEN_SHARE if instance.fixed else _OPEN_SHARE
        return share * instance.request.time_limit_seconds


def must_be_of(graph: OpGraph, plan: Plan) -> None:
    """Raise PlanRejectedError where a stored plan is of another graph, or wrong."""
    own, of = graph.content_hash(), plan.certificate.graph_hash
    if of != own:
        raise PlanRejectedError(
            f"start: this is a plan of another graph ({of[:19]}..., and not {own[:19]}...); start "
            "from a plan that was made for this one"
        )
    try:
        require(graph, plan)
    except PlanRejectedError as failure:
        raise PlanRejectedError(f"start: {failure}") from None


def offer_stored(
    pursuit: Pursuit, sides: list[Side], plans: Sequence[Plan]
) -> list[tuple[Side, Start]]:
    """Offer stored plans; return what they are here, of micro-batches that the budget leaves.

    Raises:
        RequestError: the request allows neither micro-batch nor mask of a plan.
    """
    pursuit.tell("stored plan")
    starts = [
        (side, start) for plan in plans for side, start in [_start(pursuit, plan)] if side in sides
    ]
    for side, start in starts:
        _offer(pursuit, side, start)
    return starts


def look_afresh(pursuit: Pursuit, starts: Sequence[tuple[Side, Start]], seconds: float) -> None:
    """Look for anything that fits by a given mask, as a search from nothing begins."""
    if seconds <= 0:
        return
    side, _ = _nearest(pursuit, starts)
    pursuit.tell(f"schedule, micro-batch {side.samples}")
    try_mask(pursuit, side, side.instance.mask(), seconds)


def is_far_below(best: Solution, starts: Sequence[tuple[Side, Start]]) -> bool:
    """Tell whether an incumbent updates so much less than stored plans that more is to be found."""
    stored = max(
        sum(choice.units[0] for choice in fix_mask(side.instance, start.mask).choices)
        for side, start in starts
    )
    return -best.worth.minus_importance < _FAR_BELOW * stored


def look_near(
    pursuit: Pursuit, sides: list[Side], starts: Sequence[tuple[Side, Start]], seconds: float
) -> None:
    """Repair and improve stored plans, which were offered before.

    Args:
        starts: what ``offer_stored`` returned; at least one.
    """
    if seconds <= 0:
        return
    until = pursuit.clock.now() + seconds
    side, start = _nearest(pursuit, starts)
    if side.instance.fixed:
        _polish(pursuit, sides, side, side.instance.mask(), until)
    elif pursuit.best is not None and importance_is_proved(pursuit):
        best = pursuit.best.instance
        side = next(side for side in sides if side.samples == best.samples)
        _polish(pursuit, sides, side, best.mask(), until)
    else:
        _look_around(pursuit, sides, side, start, until)


def _start(pursuit: Pursuit, plan: Plan) -> tuple[Side, Start]:
    for side in pursuit.sides:
        if side.samples == plan.micro_batch:
            return side, restore(side.instance, plan)
    raise RequestError(
        f"start: the stored plan has micro-batches of {plan.micro_batch}, which this request does "
        f"not allow (batch {pursuit.request.batch}, micro-batch {pursuit.request.micro_batch})"
    )


def _offer(pursuit: Pursuit, side: Side, start: Start) -> None:
    if start.steps is None:
        return
    side.known(start.mask).append(start.steps)
    if start.solution is not None:
        pursuit.offer(start.solution)
    else:
        offer_as_it_is(pursuit, side.table(start.mask), start.steps)


def _nearest(pursuit: Pursuit, starts: Sequence[tuple[Side, Start]]) -> tuple[Side, Start]:
    """Return the start that the incumbent is of, or else the first."""
    best = pursuit.best
    for side, start in starts:
        if best is None or side.samples != best.instance.samples:
            continue
        if start.mask == best.instance.mask():
            return side, start
    return starts[0]


def _polish(pursuit: Pursuit, sides: list[Side], own: Side, mask: Mask, until: float) -> None:
    """Look for a faster schedule of a mask.

    The known schedule is tried with the next larger and smaller micro-batch, too.
    """
    clock = pursuit.clock
    for side in _neighbours(sides, own):
        if side is not own and not cannot_improve(pursuit, side, mask):
            carry_over(pursuit, side, mask)
    for side in _neighbours(sides, own):
        if side.known(mask) and not cannot_improve(pursuit, side, mask):
            pursuit.tell(f"schedule, micro-batch {side.samples}")
            try_near(pursuit, side, mask, _OWN_SHARE * (until - clock.now()))


def look_again(pursuit: Pursuit, sides: list[Side], seconds: float) -> None:
    """Look for a faster schedule of the incumbent's mask and micro-batch."""
    best = pursuit.best
    if best is not None and seconds > 0:
        side = next(side for side in sides if side.samples == best.instance.samples)
        try_near(pursuit, side, best.instance.mask(), seconds, greedy_share=_GREEDY_AGAIN)


def _neighbours(sides: list[Side], own: Side) -> list[Side]:
    """Return a side and those of the next larger and smaller micro-batch, itself first."""
    at = sides.index(own)
    return sorted(sides[max(0, at - 1) : at + 2], key=lambda side: side is not own)


def _look_around(
    pursuit: Pursuit, sides: list[Side], own: Side, start: Start, until: float
) -> None:
    """Look for masks of more importance near the stored one, then for a faster schedule."""
    clock = pursuit.clock
    own.memory_estimate(_REACH_SAMPLES)
    seconds = until - clock.now()
    if pursuit.best is None and start.steps is not None:
        pursuit.tell(f"update mask, micro-batch {own.samples}")
        _lower_layers(pursuit, own, start, until + seconds)
        try_near(pursuit, own, start.mask, 0.15 * seconds)
    for side in _neighbours(sides, own):
        if side is not own and pursuit.best is not None:
            carry_over(pursuit, side, pursuit.best.instance.mask())
    _probe(pursuit, own, start, until - 0.6 * seconds)
    best = pursuit.best
    if best is None:
        return
    side = next(side for side in sides if side.samples == best.instance.samples)
    side.memory_estimate(_REACH_SAMPLES)
    raise_layers(pursuit, side, until - 0.3 * seconds, try_near)
    pursuit.tell(f"schedule, micro-batch {side.samples}")
    if pursuit.best is not None and not clock.over(until):
        try_near(pursuit, side, pursuit.best.instance.mask(), until - clock.now())


def _probe(pursuit: Pursuit, side: Side, start: Start, until: float) -> None:
    """Try the masks that the estimate of memory likes at the stored plan's bytes per byte."""
    estimate = side.memory_estimate()
    budget_bytes = pursuit.request.budget_bytes
    aim = estimate.of(start.mask) + budget_bytes - start.arena_bytes
    upward = pursuit.best is not None
    seconds = (until - pursuit.clock.now()) / 4
    for part in _UPWARD if upward else _DOWNWARD:
        if pursuit.clock.over(until):
            return
        mask = choose_mask(estimate, max(0, aim + int(part * budget_bytes)))
        if is_hopeless(pursuit, side, mask):
            continue
        pursuit.tell(f"update mask, micro-batch {side.samples}")
        if not side.known(mask):
            side.known(mask).extend(_carried(side, start, mask))
        if try_near(pursuit, side, mask, seconds) != upward:
            return


def _lower_layers(pursuit: Pursuit, side: Side, start: Start, until: float) -> None:
    """Update less, layer by layer, until the stored schedule without the rest of it fits.

    First where the estimate says that the least importance is lost per byte, and at once as much
    as is missing by the estimate.
    """
    estimate = side.memory_estimate()
    mask: Mask | None = start.mask
    missing = max(1, start.arena_bytes - pursuit.request.budget_bytes)
    while mask is not None and not pursuit.clock.over(until):
        aim = estimate.of(mask) - missing
        while mask is not None and estimate.of(mask) > aim:
            mask = least_loss(estimate, mask)
        if mask is None:
            return
        table = side.table(mask)
        carried = _carried(side, start, mask)
        for steps in carried:
            side.known(mask).append(steps)
            if offer_as_it_is(pursuit, table, steps):
                return
            over = (live_peak(table, steps) or 0) - table.instance.room_bytes
            # Half of it, as the estimate counts too little rather than too much.
            missing = max(1, over // 2)


def _carried(side: Side, start: Start, mask: Mask) -> list[Steps]:
    if start.steps is None:
        return []
    carried = carried_over(side.table(start.mask), start.steps, side.table(mask))
    return [] if carried is None else [carried]
