"""What is measured of one planner on one instance, at one budget or over all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict

from benchmarks.planners.answer import check_offsets
from benchmarks.planners.packed import packed
from benchmarks.planners.problem import Problem, simulate
from benchmarks.planners.registry import UNLIMITED
from benchmarks.planners.worker import Run, Worker

__all__ = ["Line", "Smallest", "measure", "smallest_bytes"]

#: Packing a schedule of a planner that chooses no addresses may take so long, in seconds.
_PACKING_SECONDS = 3.0
#: What planners that know no limit may take of it.
_UNLIMITED_GRACE = 30.0
#: Bisection ends where the bracket is narrower than this part of the plain peak.
_NARROW = 0.005

Outcome = Literal["plan", "over", "infeasible", "none", "n/a", "failed"]


class Line(BaseModel):
    """One planner at one budget.

    ``outcome``: a plan whose live bytes fit; one that does not fit (``over``); proved infeasible in
    the planner's own space; none in the time; not defined on such a problem; failed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    instance: str
    operations: int
    plain_peak_bytes: int
    base_cost: int
    base_macs: int | None = None
    budget_fraction: float
    budget_bytes: int
    planner: str
    seconds_limit: float
    outcome: Outcome
    peak_bytes: int | None = None
    arena_bytes: int | None = None
    cost: int | None = None
    macs: int | None = None
    cost_bound: int | None = None
    any_order_bound: int | None = None
    note: str = ""
    wall_seconds: float
    cpu_seconds: float
    commit: str


class Smallest(BaseModel):
    """The smallest bytes that a planner was found to do with, by bisection.

    ``infeasible_bytes``: the largest budget that was proved infeasible in the planner's own space.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    instance: str
    plain_peak_bytes: int
    planner: str
    seconds_limit: float
    peak_bytes: int | None = None
    arena_bytes: int | None = None
    infeasible_bytes: int | None = None
    applicable: bool = True
    probes: int
    wall_seconds: float
    cpu_seconds: float
    commit: str


def measure(
    worker: Worker, planner: str, problem: Problem, fraction: float, seconds: float, commit: str
) -> Line:
    """Run a planner at a fraction of the plain peak, and replay its answer."""
    budget = int(fraction * problem.plain_peak_bytes)
    run = worker.run(planner, problem, budget, seconds, _grace(planner))
    facts = _replayed(problem, run, budget)
    bound = run.attempt.cost_bound if run.attempt else None
    if bound is not None:
        bound = max(bound, problem.base_cost)  # everything runs once
    note = run.failure or (run.attempt.note if run.attempt else "")
    if facts.cost is not None and bound is not None and bound > facts.cost:
        raise ValueError(f"{planner} on {problem.name}: bound {bound} above cost {facts.cost}")
    return Line(
        instance=problem.name,
        operations=problem.count,
        plain_peak_bytes=problem.plain_peak_bytes,
        base_cost=problem.base_cost,
        base_macs=problem.base_macs,
        budget_fraction=fraction,
        budget_bytes=budget,
        planner=planner,
        seconds_limit=seconds,
        outcome=facts.outcome,
        peak_bytes=facts.peak_bytes,
        arena_bytes=facts.arena_bytes,
        cost=facts.cost,
        macs=facts.macs,
        cost_bound=bound,
        any_order_bound=run.attempt.any_order_bound if run.attempt else None,
        note=note,
        wall_seconds=round(run.wall_seconds, 2),
        cpu_seconds=round(run.cpu_seconds, 2),
        commit=commit,
    )


def _grace(planner: str) -> float:
    return _UNLIMITED_GRACE if planner in UNLIMITED else 2.0


class _Facts(BaseModel):
    outcome: Outcome
    peak_bytes: int | None = None
    arena_bytes: int | None = None
    cost: int | None = None
    macs: int | None = None


def _replayed(problem: Problem, run: Run, budget_bytes: int) -> _Facts:
    if not run.applicable:
        return _Facts(outcome="n/a")
    if run.attempt is None:
        return _Facts(outcome="none" if run.failure.startswith("ended") else "failed")
    if run.attempt.sequence is None:
        return _Facts(outcome="infeasible" if run.attempt.infeasible else "none")
    replay = simulate(problem, run.attempt.sequence)
    if run.attempt.offsets is not None:
        arena = check_offsets(replay.lifetimes, run.attempt.offsets)
    else:
        arena = packed(problem, run.attempt.sequence, budget_bytes, _PACKING_SECONDS).arena_bytes
    return _Facts(
        outcome="plan" if replay.peak_bytes <= budget_bytes else "over",
        peak_bytes=replay.peak_bytes,
        arena_bytes=arena,
        cost=replay.cost,
        macs=replay.macs,
    )


def smallest_bytes(
    worker: Worker,
    planner: str,
    problem: Problem,
    seconds: float,
    commit: str,
    tell: Callable[[str], None] = lambda _: None,
) -> Smallest:
    """Bisect over budgets, each probe with a time limit.

    What does not fit a probe's budget counts at the bytes that it does need.
    """
    low = max(_own_bytes(problem)) - 1  # no sequence does with as few
    proved = low
    peak: int | None = problem.plain_peak_bytes
    arena: int | None = None
    high = problem.plain_peak_bytes
    probes, wall, cpu = 0, 0.0, 0.0
    found_any = False
    applicable = True
    budget = high
    while True:
        run = worker.run(planner, problem, budget, seconds, _grace(planner))
        probes += 1
        wall += run.wall_seconds
        cpu += run.cpu_seconds
        facts = _replayed(problem, run, budget)
        tell(f"{budget:,}: {facts.outcome} {facts.peak_bytes or ''}")
        if facts.outcome == "n/a":
            applicable = False
            break
        if facts.peak_bytes is not None and facts.arena_bytes is not None:
            found_any = True
            peak = min(high, facts.peak_bytes)
            arena = facts.arena_bytes if arena is None else min(arena, facts.arena_bytes)
            high = peak
        if facts.outcome == "infeasible":
            proved = max(proved, budget)
        if facts.outcome != "plan":
            low = max(low, min(budget, high - 1))
        if high - low <= max(1, _NARROW * problem.plain_peak_bytes):
            break
        # The least that could be is asked for first.
        budget = low + 1 if probes == 1 else (low + high) // 2
    return Smallest(
        instance=problem.name,
        plain_peak_bytes=problem.plain_peak_bytes,
        planner=planner,
        seconds_limit=seconds,
        peak_bytes=peak if found_any else None,
        arena_bytes=arena,
        infeasible_bytes=proved,
        applicable=applicable,
        probes=probes,
        wall_seconds=round(wall, 2),
        cpu_seconds=round(cpu, 2),
        commit=commit,
    )


def _own_bytes(problem: Problem) -> list[int]:
    """Return, per operation, the bytes of its operands and its result."""
    return [
        problem.sizes_bytes[o] + sum(problem.sizes_bytes[read] for read in inputs)
        for o, inputs in enumerate(problem.inputs)
    ]
