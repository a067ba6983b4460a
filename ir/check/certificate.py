"""The certificate: hashes, levels, bounds, gaps, status.

That a bound is proven, or a profiled time was measured, cannot be seen from a plan.  What can
be seen is whether they contradict the plan.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from memplan.ir.check.report import Findings, Rule
from memplan.ir.check.structure import Facts
from memplan.ir.plan import Certificate, Level

__all__ = ["check_certificate"]

_SENSE: Final[dict[str, Literal["maximize", "minimize"]]] = {
    "importance": "maximize",
    "time_ns": "minimize",
    "arena_bytes": "minimize",
}
_TOLERANCE: Final = 1e-9


def check_certificate(facts: Facts, findings: Findings) -> None:
    """Check that the certificate is of this graph, request and plan, and agrees with itself."""
    plan, certificate = facts.plan, facts.plan.certificate
    for what, claimed, value in (
        ("graph", certificate.graph_hash, facts.graph.content_hash()),
        ("request", certificate.request_hash, plan.request.content_hash()),
    ):
        if claimed != value:
            findings.add(
                Rule.HASH, f"the certificate is of {what} {claimed[:80]}, this one is {value}"
            )
    names = [level.name for level in certificate.levels]
    with_importance = facts.graph.mode == "train" and plan.request.update == "auto"
    if names != ["time_ns", "arena_bytes"] and not (
        with_importance and names == ["importance", "time_ns", "arena_bytes"]
    ):
        findings.add(
            Rule.LEVELS,
            f"the levels are {', '.join(names) or 'none'}; they are time_ns, arena_bytes, after "
            "importance where the mask is chosen",
        )
    for level in certificate.levels:
        _check_level(facts, level, findings)
    if certificate.lower_bound_bytes > plan.totals.arena_bytes:
        findings.add(
            Rule.BOUND,
            f"{certificate.lower_bound_bytes} bytes are said to be needed, the arena has "
            f"{plan.totals.arena_bytes}",
        )
    _check_time(certificate, findings)
    _check_order(certificate, findings)
    unmet = [level.name for level in certificate.levels if level.bound != level.value]
    if certificate.status == "optimal":
        for name in unmet:
            findings.add(Rule.STATUS, f"said to be optimal, but {name} does not meet its bound")
    elif certificate.levels and not unmet and not certificate.restrictions:
        findings.add(
            Rule.STATUS,
            "every level meets its bound, without restrictions, so the plan is optimal",
        )


def _check_time(certificate: Certificate, findings: Findings) -> None:
    """What no plan goes below is not above this one's time, nor above a bound under restrictions.

    It is about plans of this importance, so this one must have the most.
    """
    least = certificate.lower_bound_time_ns
    if least is None:
        return
    for level in certificate.levels:
        if level.name == "importance" and level.bound != level.value:
            findings.add(
                Rule.BOUND,
                f"{least} ns are said to be needed for importance that is not known to be the most",
            )
        if level.name == "time_ns" and least > level.value:
            findings.add(
                Rule.BOUND, f"{least} ns are said to be needed, the plan takes {level.value}"
            )
        elif level.name == "time_ns" and (level.bound is None or level.bound < least):
            findings.add(
                Rule.BOUND,
                f"time_ns is bounded by {level.bound}, though {least} are said to be needed",
            )


def _check_order(certificate: Certificate, findings: Findings) -> None:
    """A level's bound is about plans that are the best on all levels above.

    Where that is not known of this plan, only what is proven of every plan may stand there.
    """
    settled = True
    for level in certificate.levels:
        of_every_plan = certificate.lower_bound_bytes if level.name == "arena_bytes" else None
        bound = level.bound or 0
        if of_every_plan is not None and bound < of_every_plan:
            findings.add(
                Rule.BOUND,
                f"{level.name} is bounded by {bound}, though {of_every_plan} are said to be needed",
            )
        if not settled and level.bound is not None and bound > (of_every_plan or 0):
            findings.add(
                Rule.BOUND,
                f"{level.name} is bounded by {bound}, which is proven only of plans that are the "
                "best on the levels above; this one is not known to be",
            )
        settled = settled and level.bound == level.value


def _check_level(facts: Facts, level: Level, findings: Findings) -> None:
    if level.sense != _SENSE[level.name]:
        findings.add(Rule.LEVELS, f"{level.name} is {_SENSE[level.name]}d, not {level.sense}d")
    total = getattr(facts.plan.totals, level.name)
    if level.value != total:
        findings.add(Rule.LEVELS, f"{level.name} is {total}, its level says {level.value}")
    if level.bound is None:
        if level.gap is not None:
            findings.add(Rule.GAP, f"{level.name} has a gap of {level.gap}, but no bound")
        return
    better = level.value - level.bound if level.sense == "maximize" else level.bound - level.value
    if better > 0:
        findings.add(
            Rule.BOUND,
            f"{level.name} reaches {level.value}, beyond its bound of {level.bound}",
        )
    try:
        gap = abs(level.value - level.bound) / max(1, abs(level.value))
    except OverflowError:
        gap = math.inf  # of a bound with hundreds of digits
    if level.gap is None or abs(level.gap - gap) > _TOLERANCE:
        findings.add(Rule.GAP, f"the gap of {level.name} is {gap}, the plan says {level.gap}")
