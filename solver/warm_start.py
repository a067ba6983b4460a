"""Go on from stored plans: offer what fits, repair what does not, and look around for a while.

After a small change of the budget the best plan is near the stored one: the same mask or one that
differs in a few layers, nearly the same schedule.  So no time goes into what a cold search begins
with, and the search ends early.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memplan.ir.check import require
from memplan.ir.errors import PlanRejectedError, RequestError
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.ir.request import LayerUpdate
from memplan.solver.attempts import Pursuit, Side, cannot_improve, fits, try_mask
from memplan.solver.build_instance import fix_mask
from memplan.solver.carry_over import carried_over
from memplan.solver.levels import Proof
from memplan.solver.mask_estimate import MemoryEstimate, OptionCost, choose_mask
from memplan.solver.mask_search import is_hopeless, raise_layers
from memplan.solver.restore import Start, restore
from memplan.solver.schedule import Table, live_peak
from memplan.solver.solution import place

__all__ = ["WARM_SHARE", "WarmStart", "go_on_from", "must_be_of"]

Mask = dict[str, LayerUpdate]

#: Part of the time limit that a search from a stored plan takes, once something fits.
WARM_SHARE = 0.15
#: Parts of the estimated bytes per byte of budget, relative to those of the stored plan, at which
#: masks are tried: upward while plans are found, or downward until one is.
_UPWARD = (1.0, 1.03, 1.07, 1.12)
_DOWNWARD = (0.97, 0.93, 0.87, 0.8, 0.7)
#: Part of the time for the stored plan's micro-batch, where others may be better.
_OWN_SHARE = 0.6


@dataclass(frozen=True)
class WarmStart:
    """What a search goes on from.

    Attributes:
        plans: of the same graph, accepted by the checker.
        share: part of the request's time limit after which the search ends, if anything fits.
        proofs: what was proved, in this process, of every plan of the same or a larger budget
            under otherwise the same request.
    """

    plans: Sequence[Plan]
    share: float = WARM_SHARE
    proofs: Sequence[Proof] = ()


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


def go_on_from(pursuit: Pursuit, sides: list[Side], plans: Sequence[Plan], seconds: float) -> None:
    """Offer, repair and improve stored plans.

    Raises:
        RequestError: the request allows neither micro-batch nor mask of a plan.
    """
    until = pursuit.clock.now() + seconds
    pursuit.tell("stored plan")
    starts = [
        (side, start)
        for plan in plans
        for side, start in [_start(pursuit, plan)]
        if side in sides and start is not None
    ]
    for side, start in starts:
        _offer(pursuit, side, start)
    if seconds <= 0 or not starts:
        return
    side, start = _nearest(pursuit, starts)
    if side.instance.fixed:
        _polish(pursuit, sides, side, until)
    else:
        _look_around(pursuit, side, start, until)


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


def _nearest(pursuit: Pursuit, starts: list[tuple[Side, Start]]) -> tuple[Side, Start]:
    """Return the start that the incumbent is of, or else the first."""
    best = pursuit.best
    for side, start in starts:
        if best is None or side.samples != best.instance.samples:
            continue
        if start.mask == best.instance.mask():
            return side, start
    return starts[0]


def _polish(pursuit: Pursuit, sides: list[Side], own: Side, until: float) -> None:
    """Look for a faster schedule; the mask is given.

    Micro-batches beside the stored plan's get a short look each, if they could be better.
    """
    clock = pursuit.clock
    place_of_own = sides.index(own)
    near = sides[max(0, place_of_own - 1) : place_of_own + 2]
    for side in sorted(near, key=lambda side: side is not own):
        mask = side.instance.mask()
        if cannot_improve(pursuit, side, mask):
            continue
        pursuit.tell(f"schedule, micro-batch {side.samples}")
        left = until - clock.now()
        try_mask(pursuit, side, mask, left if len(near) == 1 else _OWN_SHARE * left)


def _look_around(pursuit: Pursuit, side: Side, start: Start, until: float) -> None:
    """Look for masks of more importance near the stored one, then for a faster schedule."""
    clock = pursuit.clock
    seconds = until - clock.now()
    if pursuit.best is None and start.steps is not None:
        pursuit.tell(f"update mask, micro-batch {side.samples}")
        _lower_layers(pursuit, side, start, until + seconds)
        try_mask(pursuit, side, start.mask, 0.15 * seconds)
    _probe(pursuit, side, start, until - 0.5 * seconds)
    raise_layers(pursuit, side, until - 0.25 * seconds)
    best = pursuit.best
    if best is not None and best.instance.samples == side.samples and clock.now() < until:
        pursuit.tell(f"schedule, micro-batch {side.samples}")
        try_mask(pursuit, side, best.instance.mask(), until - clock.now())


def _probe(pursuit: Pursuit, side: Side, start: Start, until: float) -> None:
    """Try the masks that the estimate of memory likes at the stored plan's bytes per byte."""
    estimate = side.memory_estimate()
    scale = estimate.of(start.mask) / max(1, start.arena_bytes) * pursuit.request.budget_bytes
    upward = pursuit.best is not None
    seconds = (until - pursuit.clock.now()) / 4
    for factor in _UPWARD if upward else _DOWNWARD:
        if pursuit.clock.over(until):
            return
        mask = choose_mask(estimate, int(scale * factor))
        if is_hopeless(pursuit, side, mask):
            continue
        pursuit.tell(f"update mask, micro-batch {side.samples}")
        _seed(side, start, mask)
        if try_mask(pursuit, side, mask, seconds) != upward:
            return


def _lower_layers(pursuit: Pursuit, side: Side, start: Start, until: float) -> None:
    """Update less, layer by layer, until the stored schedule without the rest of it fits.

    First where the estimate says that the least importance is lost per byte.
    """
    request, clock = pursuit.request, pursuit.clock
    estimate = side.memory_estimate()
    options = {layer[0].update.layer: layer for layer in estimate.layers if layer}
    mask = dict(start.mask)
    while len(mask) > 1 or any(update.weight != "none" for update in mask.values()):
        lower = _least_loss(estimate, options, mask)
        if lower is None or clock.over(until):
            return
        mask = lower
        table = Table.of(fix_mask(side.instance, mask))
        steps = _carried(side, start, table)
        peak = None if steps is None else live_peak(table, steps)
        if steps is None or peak is None or peak > table.instance.room_bytes:
            continue
        left = 0.3 * (until - clock.now())
        solution = place(
            table, steps, table.instance.room_bytes, left, request.seed, request.workers, clock
        )
        pursuit.offer(solution)
        if fits(solution):
            side.known(mask).append(steps)
            return


def _least_loss(
    estimate: MemoryEstimate, options: Mapping[str, Sequence[OptionCost]], mask: Mask
) -> Mask | None:
    """Return the mask in which one layer is updated less, or not at all."""
    bytes_now = estimate.of(mask)
    best: tuple[float, Mask] | None = None
    for layer, update in mask.items():
        rest = {name: other for name, other in mask.items() if name != layer}
        worth = {option.update: option.importance for option in options.get(layer, ())}
        now = worth.get(update, 0)
        trials = [(now, rest)] if rest else []
        trials += [
            (now - units, {**mask, layer: other}) for other, units in worth.items() if units < now
        ]
        for loss, trial in trials:
            freed = bytes_now - estimate.of(trial)
            if freed > 0 and (best is None or loss / freed < best[0]):
                best = (loss / freed, trial)
    return None if best is None else best[1]


def _carried(side: Side, start: Start, table: Table) -> tuple[tuple[int, int], ...] | None:
    if start.steps is None:
        return None
    return carried_over(Table.of(fix_mask(side.instance, start.mask)), start.steps, table)


def _seed(side: Side, start: Start, mask: Mask) -> None:
    known = side.known(mask)
    carried = None if known else _carried(side, start, Table.of(fix_mask(side.instance, mask)))
    if carried is not None:
        known.append(carried)
