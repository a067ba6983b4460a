"""Small graphs: recomputation in the plain order as one program, addresses afterwards.

It finds in a fraction of a second what annealing finds late, and proves it.
"""

from __future__ import annotations

from collections.abc import Sequence

from memplan.solver.attempts import Pursuit, Side
from memplan.solver.relaxation.line_model import solve_line
from memplan.solver.relaxation.timeline import timeline_of
from memplan.solver.schedule import Table, live_peak
from memplan.solver.solution import place
from memplan.solver.ways import fastest_ways, needed_schedule, without_unread

__all__ = ["solve_lines"]

#: Operations of a trip up to which the program is tried.
_LARGEST_LINE = 120


def solve_lines(pursuit: Pursuit, sides: Sequence[Side], seconds: float) -> None:
    """Offer the best recomputation along the plain line of every micro-batch that is small.

    With one micro-batch, what is proved of it becomes the pursuit's bound on recomputation.
    """
    for side in sides:
        instance = side.instance
        if not instance.fixed or instance.limit_bytes < instance.store_bytes:
            continue
        table = Table.of(instance)
        start = needed_schedule(table, fastest_ways(table))
        line = timeline_of(table, start)
        if line is None or len(start) > _LARGEST_LINE or live_peak(table, start) is None:
            continue
        request = pursuit.request
        pursuit.tell(f"recomputation in order, micro-batch {side.samples}")
        found = solve_line(
            line,
            instance.room_bytes,
            request.modelled_computations,
            seconds / len(sides),
            pursuit.next_seed(),
            request.workers,
            pursuit.clock,
        )
        if found.order is None:
            continue
        schedule = without_unread(table, [start[place] for place in found.order])
        if live_peak(table, schedule) is None or not table.within_compute(schedule):
            continue
        left = min(1.0, 0.2 * pursuit.left)
        pursuit.offer(
            place(
                table, schedule, instance.room_bytes, left, request.seed, request.workers,
                pursuit.clock,
            )
        )  # fmt: skip
        side.known(instance.mask()).append(tuple(schedule))
        if found.exact and pursuit.best is not None and len(sides) == 1:
            bound = pursuit.bound_along(line, instance.room_bytes)
            bound.limited_extra_ns = found.extra_ns
            bound.computations = request.modelled_computations
            pursuit.recomputation = bound
