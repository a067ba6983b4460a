"""What is proved of the whole request: limits of bounds, lines and joint models, put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from memplan.ir.request import PlanRequest
from memplan.solver.levels import Proof, with_known
from memplan.solver.other_micro_batches import least_time_of_others
from memplan.solver.pursuit import Mask, Pursuit, Side
from memplan.solver.relaxation.timeline import timeline_of
from memplan.solver.restrictions import on_computations
from memplan.solver.solution import Worth, plain_costs
from memplan.solver.standing import Proved

__all__ = [
    "is_proved",
    "is_settled",
    "join_proofs",
    "joined_proof",
    "may_reorder",
    "prefer_proved",
    "remember_proved",
    "unrestricted_proof",
]


#: Masks of the same importance whose time is bounded.
_MOST_MASKS = 8
#: Part of a plan's time for which no other orders are tried.
_NOT_WORTH_IT = 1e-5


def joined_proof(pursuit: Pursuit, sides: list[Side]) -> Proof:
    """Return what is proved so far about the whole request."""
    known, best = pursuit.proofs, pursuit.best
    if best is not None:  # which may compute something more often than the models that proved them
        known = [each for each in known if not (each.restrictions and _is_beaten(each, best.worth))]
    proof = with_known(join_proofs(pursuit, sides), known)
    if pursuit.best is not None:
        pursuit.proved = Proved(proof, pursuit.best)
    return proof


def join_proofs(pursuit: Pursuit, sides: list[Side], along: bool = True) -> Proof:
    """Join what was proved per micro-batch into limits for the whole request.

    Args:
        along: with what is proved along the incumbent's line.
    """
    best = pursuit.best
    if best is None:
        return Proof()
    proof = unrestricted_proof(pursuit, sides)
    retention = _retention_proof(pursuit, sides, proof) if along else None
    if retention is not None:
        proof = with_known(proof, [retention])
    if any(side.proof is None for side in sides):
        return proof
    solved = [side.proof for side in sides if side.proof is not None and not side.infeasible]
    # Where the mask is given, the models have no level of importance.
    importance = _common([p.importance for p in solved], max)
    joint = Proof(
        importance=proof.importance if importance is None else importance,
        restrictions=_restrictions(pursuit.request, sides),
    )
    reach = [
        p for p in solved if p.importance is None or p.importance >= -best.worth.minus_importance
    ]
    joint.time_ns = _common([p.time_ns for p in reach], min)
    as_fast = [p for p in reach if p.time_ns is not None and p.time_ns <= best.worth.time_ns]
    joint.arena_bytes = _common([p.arena_bytes for p in as_fast], min)
    if _is_beaten(joint, best.worth):
        return proof  # this plan computes something more often than the models may
    return with_known(proof, [joint])


def _is_beaten(joint: Proof, worth: Worth) -> bool:
    """Tell whether a plan is better than what was proved of others."""
    return (
        (joint.importance is not None and joint.importance < -worth.minus_importance)
        or (joint.time_ns is not None and joint.time_ns > worth.time_ns)
        or (joint.arena_bytes is not None and joint.arena_bytes > worth.arena_bytes)
    )


def _restrictions(request: PlanRequest, sides: list[Side]) -> list[str]:
    """Return what the joint model supposes of plans beyond what the request does."""
    restrictions = [on_computations(request)]
    region = sides[0].instance.region
    regions = () if request.device is None else request.device.regions
    if region is not None and sum(other.kind == "ram" for other in regions) > 1:
        restrictions.append(f"everything in region {region.name}")
    if any(side.instance.outside_ways > 1 for side in sides):
        restrictions.append("prologue and epilogue by the first way of each operation")
    return restrictions + _of_resident_batches(sides)


def _of_resident_batches(sides: list[Side]) -> list[str]:
    """Return what all but the byte bounds suppose of batches that are divided and resident."""
    unread = dict.fromkeys(name for side in sides for name in side.bound.unread)
    return [f"resident even if no operation reads it: {', '.join(unread)}"] if unread else []


def unrestricted_proof(pursuit: Pursuit, sides: list[Side]) -> Proof:
    """Return what holds for every plan: no more importance than there is, no less time than
    what must run takes.

    Micro-batches whose byte bound exceeds the budget are not among ``sides``.
    """
    best = pursuit.best
    assert best is not None
    proof = Proof(importance=pursuit.most_importance)
    # Prologue and epilogue are counted by the first way of each operation.
    if all(side.instance.outside_ways == 1 for side in sides):
        masks = _most_important_masks(pursuit, sides)
        if masks:
            limits = [(side.least_time_ns(mask), side, mask) for mask in masks for side in sides]
            proof.time_ns = least_ns = min(limit for limit, _, _ in limits)
            if least_ns == best.worth.time_ns:
                proof.arena_bytes = min(
                    side.least_arena_bytes(mask, least_ns)
                    for limit, side, mask in limits
                    if limit == least_ns
                )
    return proof


def _most_important_masks(pursuit: Pursuit, sides: list[Side]) -> list[Mask]:
    """Return all masks of the incumbent's importance that may have a plan, if it is the most.

    None where they are not known, or too many to bound the time of each.
    """
    best = pursuit.best
    assert best is not None
    importance = -best.worth.minus_importance
    choices = sides[0].instance.choices
    if importance == sum(max(choice.units) for choice in choices) and all(
        choice.units.count(max(choice.units)) == 1 for choice in choices
    ):
        return [best.instance.mask()]
    tree = pursuit.mask_tree
    if tree is None or importance < tree.most:
        return []
    possible = tree.of_importance(importance) or []
    return [each.mask for each in possible] if len(possible) <= _MOST_MASKS else []


def is_proved(pursuit: Pursuit, sides: list[Side]) -> bool:
    """Tell whether importance and time of the incumbent are proved, under restrictions if need be.

    Under restrictions something better may exist; looking for it without an end is not worth it.
    """
    if pursuit.best is None:
        return False
    proof, worth = joined_proof(pursuit, sides), pursuit.best.worth
    return (proof.importance, proof.time_ns) == (-worth.minus_importance, worth.time_ns)


def is_settled(pursuit: Pursuit, sides: list[Side]) -> bool:
    """Tell whether every level of the incumbent is proved without restrictions."""
    if not is_proved(pursuit, sides):
        return False
    assert pursuit.best is not None
    proof = joined_proof(pursuit, sides)
    least = max(proof.arena_bytes or 0, min(side.bound.bytes for side in sides))
    return not proof.restrictions and least == pursuit.best.worth.arena_bytes


def may_reorder(pursuit: Pursuit, sides: list[Side]) -> bool:
    """Tell whether the incumbent is proved along its own line only, which is one of many.

    A proof without restrictions is of all lines.  What another one could save must be worth it.
    """
    best, bound = pursuit.best, pursuit.recomputation
    if best is None or bound is None or not bound.restrictions or bound.line.is_only:
        return False
    least_ns = unrestricted_proof(pursuit, sides).time_ns or 0
    return best.worth.time_ns - least_ns > _NOT_WORTH_IT * best.worth.time_ns


def remember_proved(pursuit: Pursuit, sides: list[Side]) -> None:
    """Keep the incumbent in mind, if it is proved along its own line."""
    best, bound = pursuit.best, pursuit.recomputation
    if best is not None and bound is not None and is_proved(pursuit, sides):
        pursuit.along = (best, bound)


def prefer_proved(pursuit: Pursuit, sides: list[Side]) -> None:
    """Go back to a plan that was proved, if what replaced it is just as fast, and not proved.

    It may take fewer bytes, but nobody knows whether it could be faster.
    """
    best = pursuit.best
    if best is None or pursuit.along is None or is_proved(pursuit, sides):
        return
    proved, bound = pursuit.along
    if (proved.worth.minus_importance, proved.worth.time_ns) == (
        best.worth.minus_importance,
        best.worth.time_ns,
    ):
        pursuit.best, pursuit.recomputation = proved, bound


def _retention_proof(pursuit: Pursuit, sides: list[Side], free: Proof) -> Proof | None:
    """Return what the bound along the incumbent's line proves, or None."""
    best, bound = pursuit.best, pursuit.recomputation
    if best is None or bound is None or free.time_ns is None:
        return None
    line = timeline_of(best.table, best.schedule)
    if line is None or not bound.holds_for(line):
        return None
    outside, _ = plain_costs(best.instance)
    own = outside + best.instance.trips * bound.trip_time_ns
    if own > best.worth.time_ns:
        return None  # this plan is none of those that the bound is about
    supposed = bound.restrictions
    mask = best.instance.mask()
    others = [each for each in _most_important_masks(pursuit, sides) if each != mask]
    of_masks = [side.least_time_ns(each) for each in others for side in sides]
    if len(sides) == 1 and not others:
        proof = Proof(free.importance, own)
        if bound.limited is not None and own == best.worth.time_ns:
            proof.arena_bytes = bound.limited.arena_bytes
    else:
        (side,) = [each for each in sides if each.samples == best.instance.samples]
        if own <= (plain := side.least_time_ns(mask)):
            own, supposed = plain, []  # that holds along every line
        if len(sides) > 1:
            of_sides, of_others = least_time_of_others(pursuit, sides, best, line)
            own, supposed = min(own, of_sides), list(dict.fromkeys((*supposed, *of_others)))
        proof = Proof(free.importance, min(own, *of_masks) if of_masks else own)
    proof.restrictions = [*supposed, *_of_resident_batches(sides)]
    return proof


def _common(limits: Sequence[int | None], join: Callable[[Sequence[int]], int]) -> int | None:
    """Join limits of the micro-batches; None where one of them has none."""
    known = [limit for limit in limits if limit is not None]
    return join(known) if known and len(known) == len(limits) else None
