"""Which operations run where and how often: phases, updates, statistics, computations."""

from __future__ import annotations

from collections import Counter
from typing import Final

from memplan.ir.check.report import Findings, Rule
from memplan.ir.check.structure import Facts, Section
from memplan.ir.graph import Phase

__all__ = ["check_obligations"]

_ONE_TRIP: Final[dict[Section, frozenset[Phase]]] = {
    "prologue": frozenset(),
    "body": frozenset({"forward", "backward", "update", "statistics"}),
    "epilogue": frozenset(),
}
_SEVERAL_TRIPS: Final[dict[Section, frozenset[Phase]]] = {
    "prologue": frozenset({"clear"}),
    "body": frozenset({"forward", "backward", "accumulate", "statistics"}),
    "epilogue": frozenset({"apply"}),
}


def check_obligations(facts: Facts, findings: Findings) -> None:
    """Check what must run, and what must not."""
    _check_phases(facts, findings)
    _check_updates(facts, findings)
    _check_statistics(facts, findings)
    _check_computations(facts, findings)


def _check_phases(facts: Facts, findings: Findings) -> None:
    allowed = _ONE_TRIP if facts.plan.trips == 1 else _SEVERAL_TRIPS
    for execution in facts.executions:
        for operation in (execution.operation, *execution.covered):
            if operation.phase not in allowed[execution.section]:
                findings.add(
                    Rule.PHASE,
                    f"{operation.id} of phase {operation.phase} does not belong in "
                    f"the {execution.section} of a plan of {facts.plan.trips} trips",
                    execution.index,
                )


def _check_updates(facts: Facts, findings: Findings) -> None:
    phases: tuple[Phase, ...] = (
        ("update",) if facts.plan.trips == 1 else ("clear", "accumulate", "apply")
    )
    runs: Counter[tuple[Phase, str]] = Counter()
    for execution in facts.executions:
        for operation in (execution.operation, *execution.covered):
            parameter = operation.parameter
            if parameter is None:
                continue
            runs[operation.phase, parameter] += 1
            if parameter not in facts.updated:
                findings.add(
                    Rule.UPDATE,
                    f"{operation.id} serves {parameter}, which the mask freezes",
                    execution.index,
                    (parameter,),
                )
    for parameter in sorted(facts.updated):
        for phase in phases:
            if runs[phase, parameter] != 1:
                findings.add(
                    Rule.UPDATE,
                    f"{parameter} is updated once per batch, but its {phase} stands "
                    f"{runs[phase, parameter]} times",
                    tensors=(parameter,),
                )


def _check_statistics(facts: Facts, findings: Findings) -> None:
    runs = Counter(e.operation.id for e in facts.executions if e.section == "body")
    for operation in facts.graph.operations:
        if operation.phase == "statistics" and runs[operation.id] != 1:
            findings.add(
                Rule.STATISTICS,
                f"{operation.id} updates running statistics once per trip, but stands "
                f"{runs[operation.id]} times in the body",
                tensors=operation.mutates,
            )


def _check_computations(facts: Facts, findings: Findings) -> None:
    runs: Counter[tuple[Section, str]] = Counter()
    for execution in facts.executions:
        key = (execution.section, execution.operation.id)
        if execution.step.computation != runs[key]:
            findings.add(
                Rule.COMPUTATION,
                f"{execution.operation.id}: this is computation {runs[key]}, the step says "
                f"{execution.step.computation}",
                execution.index,
            )
        runs[key] += 1
        if runs[key] == 2 and not execution.operation.recomputable:
            findings.add(
                Rule.COMPUTATION,
                f"{execution.operation.id} runs twice but is not recomputable",
                execution.index,
            )
