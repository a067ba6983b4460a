"""Plans that name what does not exist."""

from __future__ import annotations

from collections.abc import Iterator

from memplan.ir.check import Rule
from memplan.ir.plan import Plan
from tests.ir.check.bases import (
    Case,
    with_buffer,
    with_step,
)
from tests.ir.check.mutations.registry import mutation
from tests.support.naive_plan import naive_plan

# References.


@mutation(Rule.REFERENCE, alone=True)
def unknown_operation(case: Case) -> Iterator[Plan]:
    yield with_step(case.plan, 0, operation="no.such")


@mutation(Rule.REFERENCE, alone=True)
def unknown_alternative(case: Case) -> Iterator[Plan]:
    yield with_step(case.plan, 1, alternative="no.such")


@mutation(Rule.REFERENCE, alone=True)
def unknown_buffer(case: Case) -> Iterator[Plan]:
    beyond = len(case.plan.buffers)
    for index, step in enumerate(case.plan.steps):
        if step.writes:
            yield with_step(case.plan, index, writes=(beyond,) * len(step.writes))
        if any(place is not None for place in step.reads):
            yield with_step(case.plan, index, reads=(beyond,) * len(step.reads))
        if step.mutates:
            yield with_step(case.plan, index, mutates=(beyond,) * len(step.mutates))


@mutation(Rule.REFERENCE, alone=True)
def unknown_tensor(case: Case) -> Iterator[Plan]:
    yield with_buffer(case.plan, len(case.plan.buffers) - 1, tensor="no.such")


@mutation(Rule.REFERENCE, alone=True)
def buffer_id_is_not_its_place(case: Case) -> Iterator[Plan]:
    yield with_buffer(case.plan, 0, id=1)


@mutation(Rule.REFERENCE, alone=True)
def operand_left_out(case: Case) -> Iterator[Plan]:
    for index, step in enumerate(case.plan.steps):
        if step.reads:
            yield with_step(case.plan, index, reads=step.reads[1:])


@mutation(Rule.REFERENCE, alone=True)
def operand_said_to_be_outside(case: Case) -> Iterator[Plan]:
    for index, step in enumerate(case.plan.steps):
        if step.reads and step.reads[0] is not None:
            yield with_step(case.plan, index, reads=(None, *step.reads[1:]))


@mutation(Rule.REFERENCE, alone=True)
def frozen_operand_in_the_arena(case: Case) -> Iterator[Plan]:
    for index, step in enumerate(case.plan.steps):
        if None in step.reads:
            yield with_step(case.plan, index, reads=tuple(r or 0 for r in step.reads))


@mutation(Rule.REFERENCE, alone=True)
def operand_of_another_tensor(case: Case) -> Iterator[Plan]:
    for index, step in enumerate(case.plan.steps):
        for position, place in enumerate(step.reads):
            other = next(b.id for b in case.plan.buffers if place is not None and b.id != place)
            if (
                place is not None
                and case.plan.buffers[other].tensor != case.plan.buffers[place].tensor
            ):
                reads = (*step.reads[:position], other, *step.reads[position + 1 :])
                yield with_step(case.plan, index, reads=reads)
                break


@mutation(Rule.REFERENCE, alone=True)
def workspace_of_a_tensor(case: Case) -> Iterator[Plan]:
    yield with_step(case.plan, 0, workspace=case.plan.steps[-1].workspace or 0)


@mutation(Rule.REFERENCE, alone=True)
def copy_step_left_out_with_its_buffer(case: Case) -> Iterator[Plan]:
    body = [(s.operation, s.alternative) for s in case.plan.body if s.operation != "gather1"]
    if len(body) < len(case.plan.body):
        yield naive_plan(
            case.graph, case.plan.request, micro_batch=case.plan.micro_batch, body=body
        )
