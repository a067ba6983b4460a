"""The pipeline of the best parts: plain order, then recomputation, then addresses.

Recomputation is Checkmate's program where it is solved in time, else the cheapest plan of the
heuristic rivals.  Beyond 150 operations the program is not tried: HiGHS finds nothing there in
minutes, and looks at its time limit late.  Where the packing of its schedule exceeds the budget,
all is done again with the budget of live bytes reduced by the excess, as one would by hand.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.planners.answer import Attempt, Deadline, Planner
from benchmarks.planners.packed import Packed, packed
from benchmarks.planners.problem import Problem, simulate

__all__ = ["sequential"]

#: Of what is left, what goes to packing.
_PACKING_SHARE = 0.2
#: Of the rest, what goes to heuristics where the exact program follows.
_HEURISTICS_SHARE = 0.3
_ROUNDS = 4
_EXACT_OPERATIONS = 150


def sequential(
    problem: Problem,
    budget_bytes: int,
    seconds: float,
    *,
    exact: Planner,
    heuristics: Mapping[str, Planner],
) -> Attempt:
    """Return the plan with its addresses."""
    deadline = Deadline(seconds)
    limit = budget_bytes
    smallest: tuple[Packed, Attempt] | None = None
    for _ in range(_ROUNDS):
        if deadline.over:
            break
        found = _recomputation(
            problem, limit, (1 - _PACKING_SHARE) * deadline.left, exact, heuristics
        )
        if found.sequence is None:
            if smallest is None:
                return found
            break
        addresses = packed(problem, found.sequence, budget_bytes, _PACKING_SHARE * deadline.left)
        # What a tighter limit proves is not about the budget.
        proved = found.cost_bound if limit == budget_bytes else None
        if smallest is None or addresses.arena_bytes < smallest[0].arena_bytes:
            bound = proved if smallest is None else smallest[1].cost_bound
            smallest = (
                addresses,
                Attempt(found.sequence, bound, offsets=addresses.offsets, note=found.note),
            )
        if addresses.arena_bytes <= budget_bytes:
            break
        limit -= addresses.arena_bytes - budget_bytes
    return Attempt(None) if smallest is None else smallest[1]


def _recomputation(
    problem: Problem,
    limit: int,
    seconds: float,
    exact: Planner,
    heuristics: Mapping[str, Planner],
) -> Attempt:
    """Return the cheapest sequence within the limit of live bytes."""
    deadline = Deadline(seconds)
    plain = tuple(range(problem.count))
    if problem.plain_peak_bytes <= limit:
        return Attempt(plain, problem.base_cost, note="plain")
    best: Attempt = Attempt(None)
    least: int | None = None
    is_small = problem.count <= _EXACT_OPERATIONS
    for position, (name, planner) in enumerate(heuristics.items()):
        allowed = (_HEURISTICS_SHARE if is_small else 1.0) * deadline.left
        share = allowed / (len(heuristics) - position)
        sequence = planner(problem, limit, share).sequence
        if sequence is None:
            continue
        replay = simulate(problem, sequence)
        if replay.peak_bytes <= limit and (least is None or replay.cost < least):
            best, least = Attempt(sequence, note=name), replay.cost
    if not is_small:
        return best
    found = exact(problem, limit, deadline.left)
    if found.infeasible:
        return found
    if found.sequence is not None:
        replay = simulate(problem, found.sequence)
        if replay.peak_bytes <= limit and (least is None or replay.cost <= least):
            return Attempt(found.sequence, found.cost_bound, note="Checkmate")
    return Attempt(best.sequence, found.cost_bound, note=best.note)
