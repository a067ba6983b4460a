"""Names and indices: the plan's steps resolved against the graph.

Everything later relies on what is resolved here, so a plan that breaks ``reference`` is not
looked at any further.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from memplan.ir.blocks import covered_operations, mutated_tensors
from memplan.ir.check.report import Findings, Rule
from memplan.ir.graph import Alternative, Operation, OpGraph
from memplan.ir.plan import Buffer, Plan, Step
from memplan.ir.request import LayerUpdate
from memplan.ir.sizes import updated_parameters

__all__ = ["Execution", "Facts", "Section", "resolve"]

Section = Literal["prologue", "body", "epilogue"]


@dataclass(frozen=True, slots=True)
class Execution:
    """A step with what it executes."""

    index: int
    section: Section
    step: Step
    operation: Operation
    alternative: Alternative
    #: Updates and accumulations that the alternative performs as well.
    covered: tuple[Operation, ...]
    #: Tensors that are rewritten in their own bytes, in the order of the step's ``mutates``.
    mutates: tuple[str, ...]

    @property
    def ready(self) -> int:
        """The step at which its results begin to live."""
        return self.index + (self.alternative.uses_up is not None)


@dataclass(frozen=True, slots=True)
class Facts:
    """A plan whose every reference holds."""

    graph: OpGraph
    plan: Plan
    mask: Mapping[str, LayerUpdate]
    executions: tuple[Execution, ...]
    sections: Mapping[Section, range]
    #: Parameters that the mask updates.
    updated: frozenset[str]
    #: For each tensor that a step mutates, or should, the places in the graph of the executed
    #: operations that do.
    mutators: Mapping[str, tuple[int, ...]]
    #: Place of each operation in the graph.
    order: Mapping[str, int]

    @property
    def body_end(self) -> int:
        """The step after the last one of the body."""
        return self.sections["body"].stop

    def name(self, buffer: Buffer) -> str:
        """Return what messages call a buffer."""
        return "workspace" if buffer.tensor is None else buffer.tensor


def resolve(graph: OpGraph, plan: Plan, findings: Findings) -> Facts | None:
    """Return the plan's steps with their operations, or None where a reference fails."""
    for place, buffer in enumerate(plan.buffers):
        if buffer.id != place:
            findings.add(
                Rule.REFERENCE,
                f"buffer {buffer.id} stands at place {place}; the id must be the place",
            )
        if buffer.tensor is not None and buffer.tensor not in graph.tensor:
            findings.add(
                Rule.REFERENCE, f"buffer {place} holds {buffer.tensor!r}, which is no tensor"
            )
    if not plan.body:
        findings.add(Rule.REFERENCE, "the body holds no step")
    executions = []
    sections: dict[Section, range] = {}
    parts: tuple[tuple[Section, tuple[Step, ...]], ...] = (
        ("prologue", plan.prologue),
        ("body", plan.body),
        ("epilogue", plan.epilogue),
    )
    index = 0
    for section, steps in parts:
        sections[section] = range(index, index + len(steps))
        for step in steps:
            execution = _execution(graph, index, section, step, findings)
            if execution is not None:
                executions.append(execution)
            index += 1
    mask = {update.layer: update for update in plan.mask}
    updated = updated_parameters(graph, mask)
    mutated = updated.union(*(execution.mutates for execution in executions))
    for execution in executions:
        _check_references(graph, plan, execution, mutated, findings)
    if findings.has(Rule.REFERENCE):
        return None
    order = {operation.id: place for place, operation in enumerate(graph.operations)}
    mutators: dict[str, set[int]] = {name: set() for name in mutated}
    for execution in executions:
        for operation in (execution.operation, *execution.covered):
            for name in operation.mutates:
                mutators[name].add(order[operation.id])
    return Facts(
        graph=graph,
        plan=plan,
        mask=mask,
        executions=tuple(executions),
        sections=sections,
        updated=updated,
        mutators={name: tuple(sorted(places)) for name, places in mutators.items()},
        order=order,
    )


def _execution(
    graph: OpGraph, index: int, section: Section, step: Step, findings: Findings
) -> Execution | None:
    operation = graph.operation.get(step.operation)
    if operation is None:
        findings.add(Rule.REFERENCE, f"the graph has no operation {step.operation!r}", index)
        return None
    for alternative in operation.alternatives:
        if alternative.name == step.alternative:
            return Execution(
                index,
                section,
                step,
                operation,
                alternative,
                covered_operations(graph, alternative),
                mutated_tensors(graph, operation, alternative),
            )
    findings.add(
        Rule.REFERENCE, f"operation {operation.id} has no alternative {step.alternative!r}", index
    )
    return None


def _check_references(
    graph: OpGraph,
    plan: Plan,
    execution: Execution,
    mutated: frozenset[str],
    findings: Findings,
) -> None:
    step, operation = execution.step, execution.operation
    operands = tuple(operand.tensor for operand in execution.alternative.reads)
    for kind, names, places in (
        ("reads", operands, step.reads),
        ("writes", operation.writes, step.writes),
        ("mutates", execution.mutates, step.mutates),
    ):
        if len(names) != len(places):
            findings.add(
                Rule.REFERENCE,
                f"{operation.id} {kind} {len(names)} tensors, the step names {len(places)} buffers",
                execution.index,
            )
            continue
        for name, place in zip(names, places, strict=True):
            fault = _place_fault(graph, plan, name, place, mutated)
            if fault is not None:
                findings.add(
                    Rule.REFERENCE,
                    f"{operation.id} {kind} {name}, {fault}",
                    execution.index,
                    (name,),
                )
    if step.workspace is not None and (
        step.workspace >= len(plan.buffers) or plan.buffers[step.workspace].tensor is not None
    ):
        findings.add(
            Rule.REFERENCE,
            f"{operation.id}: buffer {step.workspace} is no workspace",
            execution.index,
        )


def _place_fault(
    graph: OpGraph, plan: Plan, name: str, place: int | None, mutated: frozenset[str]
) -> str | None:
    role = graph.tensor[name].role
    outside = role == "constant" or (role in ("parameter", "state") and name not in mutated)
    if place is None:
        return None if outside else "which lies in the arena, but names no buffer"
    if place >= len(plan.buffers):
        return f"but there is no buffer {place}"
    if outside:
        return f"which no step writes, so it lies outside the arena and not in buffer {place}"
    if plan.buffers[place].tensor != name:
        return f"but buffer {place} holds {plan.buffers[place].tensor or 'workspace'}"
    return None
