"""Plans of the masks that bytes do not exclude, the most important first."""

from __future__ import annotations

from memplan.solver.attempts import cannot_improve, try_mask
from memplan.solver.masks.tree import MaskTree, PossibleMask, seconds_of_node
from memplan.solver.pursuit import Pursuit, Side

__all__ = ["importance_is_proved", "try_possible_masks"]

#: Of a large graph fewer nodes than that are of no use.
_LEAST_NODES = 50
#: An attempt at one mask and micro-batch takes so long per operation.
_SECONDS_PER_WORK = 1e-3
#: Later it takes so many times as long.
_LONGER = (5, 25)
#: After so many masks without a plan the bound is too far from what plans take.
_MOST_IN_VAIN = 12
#: Masks of the same importance of which the fastest plan is looked for.
_MOST_RIVALS = 8


def importance_is_proved(pursuit: Pursuit) -> bool:
    """Tell whether no plan updates more importance than the incumbent."""
    best = pursuit.best
    return best is not None and -best.worth.minus_importance >= pursuit.most_importance


def try_possible_masks(pursuit: Pursuit, sides: list[Side], seconds: float) -> None:
    """Look for a plan of the most important mask that bytes do not exclude, then of the next.

    Each briefly at first.  It ends when the incumbent is proved to have the most importance, and
    when nothing came of many masks, which are then tried for longer.
    """
    instances = [side.instance for side in sides]
    if not pursuit.techniques.mask_tree or seconds < _LEAST_NODES * seconds_of_node(instances):
        return
    until = pursuit.clock.now() + seconds
    pursuit.tell("most important mask")
    if pursuit.mask_tree is None:
        pursuit.mask_tree = MaskTree(
            instances,
            [side.bound for side in sides],
            pursuit.clock,
            look_back=pursuit.techniques.looking_back,
        )
    tree = pursuit.mask_tree
    while True:
        in_vain = sum(_may_improve(pursuit, each) for each in tree.possible)
        if in_vain >= _MOST_IN_VAIN or len(tree.possible) - in_vain >= _MOST_RIVALS:
            break
        best = pursuit.best
        least = 0 if best is None else -best.worth.minus_importance
        found = tree.next(until, least)
        if found is None:
            break
        _try(pursuit, found, _SECONDS_PER_WORK)
    _try_longer(pursuit, tree, until)


def _try_longer(pursuit: Pursuit, tree: MaskTree, until: float) -> None:
    """Look longer for plans of masks that were tried in vain, the most important first."""
    for factor in _LONGER:
        for each in tree.possible:
            if pursuit.clock.over(until):
                return
            if not _may_improve(pursuit, each):
                break
            _try(pursuit, each, factor * _SECONDS_PER_WORK)


def _try(pursuit: Pursuit, possible: PossibleMask, seconds_per_work: float) -> None:
    """Look for a plan of a mask, also for a faster one than there is."""
    pursuit.tell("most important mask")
    for side in pursuit.sides:
        if side.samples not in possible.micro_batches:
            continue
        if not cannot_improve(pursuit, side, possible.mask):
            try_mask(pursuit, side, possible.mask, seconds_per_work * len(side.instance.works))


def _may_improve(pursuit: Pursuit, possible: PossibleMask) -> bool:
    """Tell whether a mask is of more importance than the incumbent."""
    best = pursuit.best
    return best is None or -best.worth.minus_importance < possible.importance
