"""How a search stands: the level that is being improved, and what is proved about it so far.

For whoever watches.  Nothing here is worked out anew: a bound that the search has not needed yet is
not shown, so that watching costs nothing and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memplan.ir.plan import Level
from memplan.solver.levels import Proof, certify_levels
from memplan.solver.progress import Progress
from memplan.solver.solution import Solution

__all__ = ["Proved", "report", "still_proved"]


@dataclass(frozen=True)
class Proved:
    """What was proved when ``about`` was the incumbent."""

    proof: Proof
    about: Solution


def still_proved(best: Solution, proved: Proved | None, most_importance: int | None) -> Proof:
    """Return what is proved now that ``best`` is the incumbent.

    Bounds below the first level are about plans that are optimal above, and restricted ones about
    plans like the incumbent: they end with the incumbent that they were proved for, unless they
    hold for every plan of the same importance.

    Args:
        most_importance: all that there is.
    """
    if proved is None:
        return Proof(importance=most_importance)
    if proved.about is best:
        return proved.proof
    proof = Proof(importance=proved.proof.importance)
    same = proved.about.worth.minus_importance == best.worth.minus_importance
    if same and not proved.proof.restrictions:
        proof.time_ns = proved.proof.time_ns
    return proof


def report(
    stage: str,
    elapsed_seconds: float,
    best: Solution | None,
    proof: Proof,
    lower_bound_bytes: int | None,
    choice: bool,
) -> Progress:
    """Return the state of a search.

    Args:
        choice: False where the request leaves no choice of the update mask.
    """
    if best is None:
        return Progress(stage, elapsed_seconds, lower_bound_bytes=lower_bound_bytes)
    worth = best.worth
    levels, _ = certify_levels(worth, proof, lower_bound_bytes or 0, choice)
    level = _improved(levels)
    known = level.bound is not None and (
        level.bound >= level.value if level.sense == "maximize" else level.bound <= level.value
    )
    return Progress(
        stage,
        elapsed_seconds,
        arena_bytes=worth.arena_bytes,
        time_ns=worth.time_ns,
        importance=-worth.minus_importance,
        lower_bound_bytes=lower_bound_bytes,
        level=level.name,
        bound=level.bound if known else None,
        gap=level.gap if known else None,
    )


def _improved(levels: Sequence[Level]) -> Level:
    """Return the first level that is not at its bound, or the last."""
    return next((level for level in levels if level.gap != 0), levels[-1])
