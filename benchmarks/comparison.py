"""Two answers to one question, and which of them is better."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from memplan.ir.plan import Plan

__all__ = ["Comparison", "Figures", "Verdict", "figures", "verdict"]

Verdict = Literal["win", "tie", "loss"]

#: Differences below this are none.
MARGIN = 0.01


class Figures(BaseModel):
    """What one way of choosing arrived at; of a plan that was not found only the seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fits: bool
    importance: int = 0
    #: Of everything that could be updated.
    importance_ratio: float = 0.0
    time_ns: int = 0
    arena_bytes: int = 0
    micro_batch: int = 0
    recomputed_operations: int = 0
    seconds: float = 0.0


class Comparison(BaseModel):
    """One line of the table, and one line of the cache."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    example: str
    #: Budget relative to the smallest bytes of the sequential way.
    factor: float
    budget_bytes: int
    smallest_sequential_bytes: int
    #: Proven by the joint search; no plan of any mask needs fewer bytes.
    lower_bound_bytes: int
    sequential: Figures
    joint: Figures
    #: Settings that the line was measured with.
    seconds_limit: float
    seed: int
    workers: int
    commit: str


def figures(plan: Plan | None, seconds: float) -> Figures:
    """Return the figures of a checked plan."""
    if plan is None:
        return Figures(fits=False, seconds=round(seconds, 1))
    totals = plan.totals
    return Figures(
        fits=True,
        importance=totals.importance,
        importance_ratio=totals.importance / max(1, totals.importance_total),
        time_ns=totals.time_ns,
        arena_bytes=totals.arena_bytes,
        micro_batch=plan.micro_batch,
        recomputed_operations=totals.recomputed_operations,
        seconds=round(seconds, 1),
    )


def verdict(joint: Figures, sequential: Figures) -> Verdict:
    """Return what the joint choice is, against the sequential one.

    A win is: feasible where the other is not; or at least 1 % more importance; or no less
    importance and at least 1 % less time.  A loss is a win of the other.
    """
    if _wins(joint, sequential):
        return "win"
    return "loss" if _wins(sequential, joint) else "tie"


def _wins(one: Figures, other: Figures) -> bool:
    if not (one.fits and other.fits):
        return one.fits and not other.fits
    if one.importance > other.importance * (1 + MARGIN):
        return True
    return one.importance >= other.importance and one.time_ns <= other.time_ns * (1 - MARGIN)
