"""Operands that a step uses up, and results that it writes last."""

from __future__ import annotations

from collections.abc import Iterator

from memplan.ir.check import Rule
from memplan.ir.plan import Buffer, Plan
from tests.ir.check.bases import Case, with_buffer, with_step
from tests.ir.check.mutations.registry import mutation, way_at

__all__ = ["used_up"]


def used_up(case: Case) -> Iterator[tuple[int, Buffer, Buffer]]:
    """Yield (step, operand, result) where an operand is used up."""
    for index, step in enumerate(case.plan.steps):
        spent = way_at(case, index).uses_up
        if spent is not None:
            place = step.reads[spent]
            assert place is not None
            yield index, case.plan.buffers[place], case.plan.buffers[step.writes[0]]


@mutation(Rule.USED_UP)
def used_up_operand_lives_on(case: Case) -> Iterator[Plan]:
    for _, operand, _ in used_up(case):
        yield with_buffer(case.plan, operand.id, end_step=operand.end_step + 1)


@mutation(Rule.USED_UP)
def used_up_operand_dies_before(case: Case) -> Iterator[Plan]:
    for _, operand, _ in used_up(case):
        if operand.end_step > operand.start_step + 1:
            yield with_buffer(case.plan, operand.id, end_step=operand.end_step - 1)


@mutation(Rule.USED_UP)
def used_up_operand_is_there_for_the_batch(case: Case) -> Iterator[Plan]:
    for _, operand, _ in used_up(case):
        end = len(case.plan.steps)
        yield with_buffer(case.plan, operand.id, scope="batch", start_step=0, end_step=end)


@mutation(Rule.LIFETIME)
def result_lives_while_the_operand_is_used_up(case: Case) -> Iterator[Plan]:
    for index, _, result in used_up(case):
        assert result.start_step == index + 1
        yield with_buffer(case.plan, result.id, start_step=index)


@mutation(Rule.LIFETIME)
def result_is_written_later_still(case: Case) -> Iterator[Plan]:
    for index, _, result in used_up(case):
        if result.end_step > index + 2:
            yield with_buffer(case.plan, result.id, start_step=index + 2)


@mutation(Rule.OVERLAP)
def result_that_is_written_last_over_what_lives(case: Case) -> Iterator[Plan]:
    for index, _, result in used_up(case):
        for other in case.plan.buffers:
            if other.start_step <= index and index + 1 < other.end_step:
                yield with_buffer(case.plan, result.id, offset=other.offset)


@mutation(Rule.OVERWRITTEN)
def spent_operand_read_again(case: Case) -> Iterator[Plan]:
    for index, operand, _ in used_up(case):
        for later, step in enumerate(case.plan.steps[index + 1 :], index + 1):
            for position, place in enumerate(step.reads):
                if place is None or case.plan.buffers[place].tensor != operand.tensor:
                    continue
                reads = (*step.reads[:position], operand.id, *step.reads[position + 1 :])
                plan = with_step(case.plan, later, reads=reads)
                yield with_buffer(plan, operand.id, end_step=later + 1)
