"""From a graph and a request to an answer: search, assemble, check, explain."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Literal

from memplan.ir.answer import Answer
from memplan.ir.baseline import baseline_bytes
from memplan.ir.check.answer import require_answer
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Certificate, Level, Plan
from memplan.ir.request import PlanRequest
from memplan.solver._prepare import prepare
from memplan.solver.assemble import assemble
from memplan.solver.clock import Clock, WorkClock, never
from memplan.solver.explain import explain
from memplan.solver.levels import Proof, certify_levels
from memplan.solver.progress import Progress
from memplan.solver.search import Outcome, search
from memplan.solver.stored_proof import stored_proof
from memplan.solver.techniques import Techniques
from memplan.solver.warm_start import WarmStart, must_be_of

__all__ = ["answer_of", "solve", "solver_version"]


@functools.cache
def solver_version() -> str:
    """Return the name and versions that, with graph and request, identify a job."""
    return f"memplan {version('memplan')} / ortools {version('ortools')}"


def solve(
    graph: OpGraph,
    request: PlanRequest,
    *,
    start: Plan | None = None,
    believe_start: bool = False,
    techniques: Techniques | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = never,
) -> Answer:
    """Plan ``graph`` within ``request``; every plan in the answer has passed ``ir.check``.

    Args:
        start: a plan of the same graph, for another budget say, that the search goes on from.  It
            ends after a small part of the time limit then (``WarmStart``), unless nothing fits by
            that time.  What the plan says that it costs, or is proved to be, is not believed.
        believe_start: what ``start`` is proved to be counts where it holds for this request, too:
            for its own budget and smaller ones.  Only for plans that were made here; the
            certificate says so.
        techniques: what the search may use; default: everything.
        progress: called from this thread, at most five times a second.
        stop: polled; once it returns true the best plan so far is returned.

    Raises:
        RequestError: the request contradicts the graph, or does not allow the mask or micro-batch
            of ``start``.
        PlanRejectedError: ``start`` is of another graph, or wrong; or the search produced a plan
            that is wrong (a defect of memplan).
    """
    if start is not None:
        must_be_of(graph, start)
    prepare()
    began = time.monotonic()
    clock = WorkClock(stop) if request.deterministic else Clock(stop)
    proof = stored_proof(start, request) if start is not None and believe_start else None
    warm = None if start is None else WarmStart((start,), proofs=[proof] if proof else [])
    outcome = search(graph, request, techniques or Techniques(), progress, clock, warm)
    return answer_of(graph, request, outcome, clock, began)


def answer_of(
    graph: OpGraph, request: PlanRequest, outcome: Outcome, clock: Clock, began: float
) -> Answer:
    """Return what a search found as an answer, with its plan checked.

    Args:
        began: when the search did, by ``time.monotonic``.

    Raises:
        PlanRejectedError: the search produced a plan that is wrong (a defect of memplan).
    """
    plan = None if outcome.best is None else _plan(graph, request, outcome)
    status: Literal["optimal", "feasible", "infeasible", "undecided"]
    if plan is not None:
        status = plan.certificate.status
    else:
        status = "infeasible" if outcome.infeasible else "undecided"
    answer = Answer(
        status=status,
        plan=plan,
        lower_bound_bytes=outcome.lower_bound.bytes,
        smallest_found_bytes=(
            outcome.smallest.worth.arena_bytes if outcome.smallest is not None else None
        ),
        baseline_bytes=baseline_bytes(graph, request.batch),
        explanation=None if plan is not None else explain(graph, request, outcome, clock),
        solve_seconds=round(time.monotonic() - began, 3),
    )
    require_answer(graph, request, answer)
    return answer


def _least_time_ns(proof: Proof, levels: Sequence[Level]) -> int | None:
    """Return what no plan of the importance goes below, if this one's is the most."""
    settled = all(level.gap == 0 for level in levels if level.name == "importance")
    return proof.of_every_plan if settled else None


def _plan(graph: OpGraph, request: PlanRequest, outcome: Outcome) -> Plan:
    best = outcome.best
    assert best is not None
    choice = any(len(c.options) > 1 for side in outcome.sides for c in side.instance.choices)
    levels, status = certify_levels(best.worth, outcome.proof, outcome.lower_bound.bytes, choice)
    certificate = Certificate(
        status=status,
        levels=levels,
        lower_bound_bytes=outcome.lower_bound.bytes,
        restrictions=tuple(outcome.proof.restrictions),
        lower_bound_time_ns=_least_time_ns(outcome.proof, levels),
        solver=solver_version(),
        graph_hash=graph.content_hash(),
        request_hash=request.content_hash(),
        checked_by="memplan.ir.check/1",
    )
    return assemble(best, certificate)
