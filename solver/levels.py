"""The three levels of the objective, what is proved about each, and under which restrictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from memplan.ir.plan import Level, Status
from memplan.solver.restrictions import suppose_a_line
from memplan.solver.solution import Worth

__all__ = ["Proof", "certify_levels", "with_known"]


@dataclass
class Proof:
    """Proven limits: no allowed plan is better.  None: nothing is proven."""

    #: No plan updates more importance.
    importance: int | None = None
    #: No plan of that importance is faster.
    time_ns: int | None = None
    #: No plan of that importance and time is smaller.
    arena_bytes: int | None = None
    restrictions: list[str] = field(default_factory=list)
    #: No plan of that importance is faster, whatever the restrictions are.
    lower_bound_time_ns: int | None = None

    @property
    def of_every_plan(self) -> int | None:
        """Return the least time that is proved without restrictions."""
        times = [self.lower_bound_time_ns, None if self.restrictions else self.time_ns]
        return max((time for time in times if time is not None), default=None)


def with_known(proof: Proof, known: Sequence[Proof]) -> Proof:
    """Return the closest limits of ``proof`` and of what was proved of the same plans, or more.

    What is proved of a level supposes the limits of the levels above, so it is taken only from
    proofs that have the same there.  Restrictions come along with what is used.

    Args:
        known: each about all plans that ``proof`` is about, and perhaps others.
    """
    proofs = [proof, *known]
    joined = Proof()
    used: list[Proof] = []
    for level, better in (("importance", min), ("time_ns", max), ("arena_bytes", max)):
        limits = [getattr(each, level) for each in proofs if getattr(each, level) is not None]
        if not limits:
            continue
        limit = better(limits)
        setattr(joined, level, limit)
        proofs = [each for each in proofs if getattr(each, level) == limit]
        proofs.sort(key=lambda each: _narrowness(each.restrictions))
        used.append(proofs[0])
        if level == "importance":
            joined.lower_bound_time_ns = max(
                (each.of_every_plan for each in proofs if each.of_every_plan is not None),
                default=None,
            )
    together = list(dict.fromkeys(r for each in used for r in each.restrictions))
    # Those that are left have all of the limits: one of them may do alone.
    joined.restrictions = min([together, *(each.restrictions for each in proofs)], key=_narrowness)
    return joined


def _narrowness(restrictions: Sequence[str]) -> tuple[bool, int]:
    return suppose_a_line(restrictions), len(restrictions)


def certify_levels(
    found: Worth, proof: Proof, lower_bound_bytes: int, choice: bool
) -> tuple[tuple[Level, ...], Status]:
    """Return the levels with bounds and gaps, and ``optimal`` only where every gap is closed.

    What closes gaps along one line only is not called so: another order may be better.

    A lower level's bound supposes that the levels above are at their optimum, so it is kept
    only where they are.

    Args:
        choice: False where the request leaves no choice of the update mask.
    """
    importance = -found.minus_importance
    arena_bound = max(proof.arena_bytes or 0, lower_bound_bytes)
    levels = []
    if choice:
        levels.append(_level("importance", "maximize", importance, proof.importance))
    settled = all(level.gap == 0 for level in levels)
    levels.append(_level("time_ns", "minimize", found.time_ns, proof.time_ns if settled else None))
    settled = settled and levels[-1].gap == 0
    levels.append(
        _level(
            "arena_bytes",
            "minimize",
            found.arena_bytes,
            arena_bound if settled else lower_bound_bytes,
        )
    )
    closed = all(level.gap == 0 for level in levels) and not suppose_a_line(proof.restrictions)
    status: Status = "optimal" if closed else "feasible"
    return tuple(levels), status


def _level(
    name: Literal["importance", "time_ns", "arena_bytes"],
    sense: Literal["maximize", "minimize"],
    value: int,
    bound: int | None,
) -> Level:
    gap = None if bound is None else abs(value - bound) / max(1, abs(value))
    return Level(name=name, sense=sense, value=value, bound=bound, gap=gap)
