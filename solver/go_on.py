"""The search that goes on from stored plans: what is quick and exact, what is near, then afresh.

It ends after a part of the time limit, if anything fits (``memplan.solver.warm_start``).
"""

from __future__ import annotations

from collections.abc import Sequence

from memplan.solver.bounding import bound_time
from memplan.solver.every_order import search_orders
from memplan.solver.heuristic_stage import try_heuristics
from memplan.solver.line_search import solve_lines
from memplan.solver.masks.possible import importance_is_proved, try_possible_masks
from memplan.solver.model_stage import solve_whole
from memplan.solver.proofs import is_proved, is_settled, may_reorder, remember_proved
from memplan.solver.pursuit import Pursuit, Side
from memplan.solver.restore import Start
from memplan.solver.warm_start import look_afresh, look_again, look_near

__all__ = ["go_on_from"]

#: Of a search from a stored plan, where the mask is given.
_WARM_ORDERS_SHARE = 0.2
_WARM_ONLY_LINE_SHARE = 0.7
_WARM_NEAR_SHARE = 0.45
_WARM_BOUND_SHARE = 0.6
#: ... and where it is open.
_WARM_POSSIBLE_SHARE, _WARM_BOUND_SHARE_FIRST = 0.3, 0.25
#: Seconds for other orders of a plan that is proved along its own.
_WARM_REORDERING = 0.3
#: Where nothing near fits, the time is longer by so much of it.
_AFRESH_SHARE, _AFRESH_SHARE_OPEN = 0.5, 0.1


def go_on_from(
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

    search_orders(pursuit, sides, _WARM_ORDERS_SHARE * pursuit.left)
    if fixed and pursuit.techniques.line_model and pursuit.left > 0 and not ends():
        # Of many lines the stored plan's is the better one; it comes with the bound.
        solve_lines(pursuit, sides, _WARM_ONLY_LINE_SHARE * pursuit.left, only=True)
        remember_proved(pursuit, sides)
    if ends():
        return
    given = fixed
    if not fixed:
        try_possible_masks(pursuit, sides, _WARM_POSSIBLE_SHARE * pursuit.left)
        given = importance_is_proved(pursuit)
        if given:
            bound_time(pursuit, sides, _WARM_BOUND_SHARE_FIRST * pursuit.left)
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
        try_heuristics(pursuit, sides, 0.8 * pursuit.left)
    if pursuit.best is None:
        return
    if small:
        if pursuit.left > 0 and not is_settled(pursuit, sides):
            solve_whole(pursuit, sides)
    elif given:  # the bound has schedules of its own
        bound_time(pursuit, sides, _WARM_BOUND_SHARE * pursuit.left)
        if not is_proved(pursuit, sides):
            look_again(pursuit, sides, 0.8 * pursuit.left)
    bound_time(pursuit, sides, pursuit.left)
