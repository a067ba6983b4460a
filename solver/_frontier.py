"""Plans over a range of budgets, each a start for its neighbours: more bytes never cost more.

Downward first: the plan of a larger budget is repaired for the next smaller one, and what is proved
of the larger holds for the smaller.  Then upward: the plan of a smaller budget fits the next larger
one as it is, so it is that one's plan too, unless a better one is known or found.  That makes the
frontier monotone by construction; its certificate is made for the larger budget like any other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from memplan.ir.baseline import baseline_bytes
from memplan.ir.check.frontier import require_frontier
from memplan.ir.errors import RequestError
from memplan.ir.frontier import Frontier, FrontierPoint
from memplan.ir.graph import OpGraph
from memplan.ir.limits import MAX_BYTES, MAX_FRONTIER
from memplan.ir.request import PlanRequest
from memplan.ir.sizes import frozen_bytes
from memplan.solver._prepare import prepare
from memplan.solver._solve import answer_of
from memplan.solver.bounds import ByteBound
from memplan.solver.build_instance import build_instance
from memplan.solver.clock import Clock, WorkClock, never
from memplan.solver.levels import Proof
from memplan.solver.micro_batches import allowed_micro_batches
from memplan.solver.pebble_bound import least_bytes
from memplan.solver.progress import Progress
from memplan.solver.restore import bare_plan
from memplan.solver.search import Outcome, search
from memplan.solver.solution import Solution
from memplan.solver.techniques import Techniques
from memplan.solver.warm_start import WarmStart

__all__ = ["FrontierProgress", "frontier"]

#: Part of a budget's time for going on from the plan of the next larger one.
_DOWNWARD_SHARE = 0.6
#: Every so many budgets the search begins anew, with the known plan as incumbent only.
_WHOLE_EVERY = 4
#: Shorter looks are not worth their beginning.
_LEAST_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class FrontierProgress:
    """Where the search over the budgets stands."""

    #: Searches that are done, of so many at most.
    done: int
    most: int
    budget_bytes: int
    #: Of the search for this budget.
    solving: Progress


def frontier(
    graph: OpGraph,
    request: PlanRequest,
    budgets: Sequence[int] | int,
    *,
    techniques: Techniques | None = None,
    progress: Callable[[FrontierProgress], None] | None = None,
    stop: Callable[[], bool] = never,
) -> Frontier:
    """Plan ``graph`` within each budget, such that more bytes never cost more.

    Every plan has passed ``ir.check``.

    Args:
        request: its budget does not matter, and its time limit is that of all budgets together; the
            request of each budget has its part of it.
        budgets: in bytes; or how many, evenly from the smallest plan that is found to the one
            from which more bytes buy nothing.
        techniques: what the searches may use; default: everything.
        progress: called from this thread, at most five times a second.
        stop: polled; once it returns true what was found so far is returned.

    Raises:
        RequestError: a budget is no number of bytes, there are none or too many, or the request
            contradicts the graph.
        PlanRejectedError: a plan is wrong, or worse than one of fewer bytes (a defect of memplan).
    """
    wanted = budgets if isinstance(budgets, int) else len(set(budgets))
    if not 1 <= wanted <= MAX_FRONTIER:
        raise RequestError(f"{wanted} budgets; a frontier has between 1 and {MAX_FRONTIER}")
    if not isinstance(budgets, int):
        for budget in budgets:
            if not 1 <= budget <= MAX_BYTES:
                raise RequestError(f"budget {budget}: it must be between 1 and {MAX_BYTES} bytes")
    prepare()
    began = time.monotonic()
    clock = WorkClock(stop) if request.deterministic else Clock(stop)
    survey = _Survey(graph, request, techniques or Techniques(), clock, progress, wanted)
    if isinstance(budgets, int):
        budgets = survey.spaced(budgets)
    survey.go_down(sorted(set(budgets), reverse=True))
    survey.go_up()
    points = survey.points
    result = Frontier(
        graph_hash=graph.content_hash(),
        points=tuple(
            FrontierPoint(
                request=point.request,
                answer=answer_of(
                    graph, point.request, point.outcome, clock, time.monotonic() - point.seconds
                ),
            )
            for point in reversed(points)
        ),
        solve_seconds=round(time.monotonic() - began, 3),
    )
    require_frontier(graph, result)
    return result


@dataclass
class _Point:
    """One budget, and what is known of it."""

    request: PlanRequest
    outcome: Outcome
    seconds: float


@dataclass
class _Survey:
    """The searches over all budgets."""

    graph: OpGraph
    request: PlanRequest
    techniques: Techniques
    clock: Clock
    progress: Callable[[FrontierProgress], None] | None
    wanted: int
    #: The largest budget first.
    points: list[_Point] = field(default_factory=list)
    #: What is proved of the budgets so far, and so of all smaller ones.
    proved: Proof = field(default_factory=Proof)
    #: What turned up while budgets were looked for: the fastest, and the smallest.
    fastest: Solution | None = None
    smallest: Solution | None = None
    _done: int = 0

    def __post_init__(self) -> None:
        self.until = self.clock.now() + self.request.time_limit_seconds
        #: Of one budget: each is searched once, and once more for a part of that.
        self.seconds = self.request.time_limit_seconds / (self.wanted + 2)
        self.bounds = self._bounds()

    def _bounds(self) -> dict[int, ByteBound]:
        """Return the bounds on bytes, which do not depend on the budget."""
        micro_batches = allowed_micro_batches(self.graph, self.request)
        seconds = min(3.0, 0.05 * self.request.time_limit_seconds / len(micro_batches))
        request = self.request.model_copy(update={"budget_bytes": MAX_BYTES})
        return {
            samples: least_bytes(
                build_instance(self.graph, request, samples), seconds, self.techniques, self.clock
            )
            for samples in micro_batches
        }

    def spaced(self, count: int) -> list[int]:
        """Return budgets from the smallest plan that is found to one that leaves nothing short."""
        least = max(1, min(bound.budget_bytes for bound in self.bounds.values()))
        # Nothing is short at twice the plain step's live bytes.
        plenty = min(MAX_BYTES, least + 2 * baseline_bytes(self.graph, self.request.batch))
        self.fastest = self._search(plenty).best
        tight = self._search(least)
        self.smallest = tight.best or tight.smallest
        top = plenty if self.fastest is None else _budget_bytes(self.fastest)
        bottom = least if self.smallest is None else _budget_bytes(self.smallest)
        bottom = min(max(bottom, least), top)
        if count == 1:
            return [top]
        return [bottom + (top - bottom) * number // (count - 1) for number in range(count)]

    def go_down(self, budgets: Sequence[int]) -> None:
        """Search every budget, each from the plan of the one before."""
        for number, budget in enumerate(budgets):
            starts = [
                self.points[-1].outcome.best if number else self.fastest,
                self.smallest if number == len(budgets) - 1 else None,
            ]
            began = time.monotonic()
            share = self._share_left(len(budgets) - number)
            whole = number % _WHOLE_EVERY == 0 and share >= _DOWNWARD_SHARE
            share = 1.0 if whole else min(share, _DOWNWARD_SHARE)
            outcome = self._search(budget, starts, share, [self.proved], whole)
            self.points.append(_Point(self._request(budget), outcome, time.monotonic() - began))
            if outcome.best is not None:
                self.proved = outcome.shared

    def go_up(self) -> None:
        """Let every budget have the plan of the next smaller one, if that is better, and go on."""
        before: _Point | None = None
        for number in range(len(self.points) - 1, -1, -1):
            point = self.points[number]
            share = 0.0 if self._is_settled(point) else min(1.0, self._share_left(number + 1))
            share = 0.0 if share < _LEAST_SHARE else share
            passed = before is not None and _key(before.outcome) < _key(point.outcome)
            if passed or (share and point.outcome.best is not None):
                self._improve(point, before.outcome.best if passed and before else None, share)
            if point.outcome.best is not None:
                before = point

    def _improve(self, point: _Point, before: Solution | None, share: float) -> None:
        began = time.monotonic()
        starts = [before, point.outcome.best]
        budget_bytes = point.request.budget_bytes
        outcome = self._search(budget_bytes, starts, share, [point.outcome.shared])
        if _key(outcome) <= _key(point.outcome):
            point.outcome = outcome
        point.seconds += time.monotonic() - began

    def _share_left(self, searches: int) -> float:
        """Return what of a budget's time each of so many searches may still take."""
        left = max(0.0, self.until - self.clock.now()) / searches
        return left / self.seconds

    def _is_settled(self, point: _Point) -> bool:
        """Tell whether nothing is left to find, as far as is proved."""
        best, proof = point.outcome.best, point.outcome.proof
        if point.outcome.infeasible:
            return True
        return best is not None and (
            (proof.importance, proof.time_ns) == (-best.worth.minus_importance, best.worth.time_ns)
        )

    def _request(self, budget_bytes: int) -> PlanRequest:
        changes = {"budget_bytes": budget_bytes, "time_limit_seconds": self.seconds}
        return self.request.model_copy(update=changes)

    def _search(
        self,
        budget_bytes: int,
        starts: Sequence[Solution | None] = (),
        share: float = 1.0,
        proofs: Sequence[Proof] = (),
        whole: bool = False,
    ) -> Outcome:
        self._done += 1
        plans = [bare_plan(start) for start in starts if start is not None]
        return search(
            self.graph,
            self._request(budget_bytes),
            self.techniques,
            None if self.progress is None else self._telling(budget_bytes),
            self.clock,
            WarmStart(plans, share, whole, proofs, self.bounds),
        )

    def _telling(self, budget_bytes: int) -> Callable[[Progress], None]:
        done, most = self._done - 1, max(self._done, 2 * self.wanted + 2)

        def tell(solving: Progress) -> None:
            assert self.progress is not None
            self.progress(FrontierProgress(done, most, budget_bytes, solving))

        return tell


def _key(outcome: Outcome) -> tuple[bool, int, int, int]:
    """Return what makes one outcome better than another; less is better."""
    if outcome.best is None:
        return (True, 0, 0, 0)
    worth = outcome.best.worth
    return (False, worth.minus_importance, worth.time_ns, worth.arena_bytes)


def _budget_bytes(solution: Solution) -> int:
    """Return the least budget that a solution keeps."""
    instance = solution.instance
    device = instance.request.device
    frozen = 0
    if device is not None and device.weights == "ram":
        frozen = frozen_bytes(instance.graph, instance.samples, instance.mask())
    return solution.worth.arena_bytes + frozen
