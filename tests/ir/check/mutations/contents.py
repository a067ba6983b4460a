"""Bytes shared, freed or overwritten too early; values of the wrong version."""

from __future__ import annotations

from collections.abc import Iterator

from memplan.ir.check import Rule
from memplan.ir.plan import Buffer, Plan
from tests.ir.check.bases import (
    Case,
    drop_step,
    insert_step,
    move_step,
    steps_of,
    with_buffer,
)
from tests.ir.check.mutations.registry import last_reads, mutation, operation_at, way_at, written
from tests.support.naive_plan import naive_plan

# Bytes.


@mutation(Rule.OVERLAP)
def two_live_buffers_overlap(case: Case) -> Iterator[Plan]:
    buffers = case.plan.buffers
    for a in buffers:
        for b in buffers[a.id + 1 :]:
            together = a.start_step < b.end_step and b.start_step < a.end_step
            apart = a.offset + a.size_bytes <= b.offset or b.offset + b.size_bytes <= a.offset
            meet = any(
                {a.id, b.id} & set(step.reads) and {a.id, b.id} & set(step.writes)
                for step in case.plan.steps
            )
            if together and apart and not meet:
                yield with_buffer(case.plan, b.id, offset=a.offset)
                break


@mutation(Rule.IN_PLACE)
def in_place_without_a_pair(case: Case) -> Iterator[Plan]:
    for index, step in enumerate(case.plan.steps):
        if operation_at(case, index).alternatives[0].in_place:
            continue
        if way_at(case, index).uses_up is not None:
            continue  # what is written last may lie anywhere
        for place in step.reads:
            if place is not None and step.writes:
                operand = case.plan.buffers[place]
                yield with_buffer(case.plan, step.writes[0], offset=operand.offset)


@mutation(Rule.IN_PLACE)
def in_place_while_the_operand_lives_on(case: Case) -> Iterator[Plan]:
    for operand, result, step in _in_place(case):
        if result.end_step > step + 1:
            yield with_buffer(case.plan, operand.id, end_step=step + 2)


@mutation(Rule.IN_PLACE)
def in_place_at_another_offset(case: Case) -> Iterator[Plan]:
    for operand, result, _step in _in_place(case):
        if result.size_bytes > 16:
            yield with_buffer(case.plan, result.id, offset=operand.offset + 16)


def _in_place(case: Case) -> Iterator[tuple[Buffer, Buffer, int]]:
    for index, step in enumerate(case.plan.steps):
        for read in step.reads:
            for write in step.writes:
                if read is not None and way_at(case, index).uses_up is None:
                    operand, result = case.plan.buffers[read], case.plan.buffers[write]
                    if operand.offset == result.offset:
                        yield operand, result, index


@mutation(Rule.MISSING)
def gradient_step_missing(case: Case) -> Iterator[Plan]:
    for index in steps_of(case, "backward"):
        yield drop_step(case.plan, index)


@mutation(Rule.MISSING)
def gather_step_missing(case: Case) -> Iterator[Plan]:
    for index, step in enumerate(case.plan.steps):
        if step.operation == "gather1":
            yield drop_step(case.plan, index)


@mutation(Rule.MISSING)
def recomputation_missing(case: Case) -> Iterator[Plan]:
    for index, step in enumerate(case.plan.steps):
        if step.computation > 0:
            yield drop_step(case.plan, index)


@mutation(Rule.MISSING)
def read_before_written(case: Case) -> Iterator[Plan]:
    first = len(case.plan.prologue)
    for index in range(first + 1, first + len(case.plan.body)):
        before = set(case.plan.steps[index - 1].writes)
        if before & set(case.plan.steps[index].reads):
            yield move_step(case.plan, index, index - 1)


@mutation(Rule.EARLY_FREE)
def freed_before_the_last_read(case: Case) -> Iterator[Plan]:
    for last, buffer in last_reads(case):
        if last > buffer.start_step:
            yield with_buffer(case.plan, buffer.id, end_step=last)


@mutation(Rule.EARLY_FREE)
def input_freed_before_the_last_read(case: Case) -> Iterator[Plan]:
    for buffer in case.plan.buffers:
        is_input = buffer.tensor in ("x", "y") and buffer.scope == "body"
        if is_input and buffer.end_step > buffer.start_step + 1:
            yield with_buffer(case.plan, buffer.id, end_step=buffer.end_step - 1)


@mutation(Rule.OVERWRITTEN)
def bytes_overwritten_before_the_last_read(case: Case) -> Iterator[Plan]:
    for last, buffer in last_reads(case):
        for other in written(case):
            if buffer.start_step < other.start_step < last:
                yield with_buffer(case.plan, other.id, offset=buffer.offset)
                break


@mutation(Rule.OVERWRITTEN)
def weights_overwritten_before_the_next_batch(case: Case) -> Iterator[Plan]:
    for buffer in case.plan.buffers:
        if buffer.scope == "persistent":
            last_use = max(
                index
                for index, step in enumerate(case.plan.steps)
                if buffer.id in step.reads or buffer.id in step.mutates
            )
            for other in written(case):
                if other.start_step > last_use and other.size_bytes:
                    yield with_buffer(case.plan, other.id, offset=buffer.offset)


@mutation(Rule.VERSION)
def old_weight_read_after_its_update(case: Case) -> Iterator[Plan]:
    if case.plan.trips > 1 or case.graph.mode == "infer":
        return
    body = [(step.operation, step.alternative) for step in case.plan.body]
    for index in steps_of(case, "update"):
        update = operation_at(case, index)
        for reader in range(index):
            operation = operation_at(case, reader)
            reads = {operand.tensor for operand in operation.alternatives[0].reads}
            gradients = set(update.alternatives[0].reads)
            if operation.phase == "backward" and update.parameter in reads and gradients:
                moved = [entry for entry in body if entry != body[reader]]
                place = moved.index(body[index]) + 1
                moved.insert(place, body[reader])
                try:
                    plan = naive_plan(case.graph, case.plan.request, case.plan.mask, body=moved)
                except (KeyError, StopIteration):
                    continue
                yield plan


@mutation(Rule.VERSION)
def forward_recomputed_after_the_update(case: Case) -> Iterator[Plan]:
    if case.plan.trips > 1:
        return
    for index in steps_of(case, "update"):
        update = operation_at(case, index)
        for forward in steps_of(case, "forward"):
            operation = operation_at(case, forward)
            reads = {operand.tensor for operand in operation.alternatives[0].reads}
            if operation.recomputable and update.parameter in reads:
                body = [(step.operation, step.alternative) for step in case.plan.body]
                body.insert(index + 1, (operation.id, "plain"))
                request = case.plan.request.model_copy(update={"compute_limit": None})
                yield naive_plan(case.graph, request, case.plan.mask, body=body)


@mutation(Rule.ACCUMULATOR)
def accumulator_not_cleared(case: Case) -> Iterator[Plan]:
    for index in steps_of(case, "clear"):
        yield drop_step(case.plan, index)


@mutation(Rule.ACCUMULATOR)
def part_of_the_batch_not_accumulated(case: Case) -> Iterator[Plan]:
    for index in steps_of(case, "accumulate"):
        yield drop_step(case.plan, index)


@mutation(Rule.ACCUMULATOR)
def accumulated_twice_per_trip(case: Case) -> Iterator[Plan]:
    for index in steps_of(case, "accumulate"):
        again = case.plan.steps[index].model_copy(update={"computation": 1})
        yield insert_step(case.plan, index + 1, again)


@mutation(Rule.OUTPUT)
def output_freed(case: Case) -> Iterator[Plan]:
    end = len(case.plan.prologue) + len(case.plan.body)
    for buffer in written(case):
        if buffer.tensor in case.graph.outputs and buffer.end_step - 1 > buffer.start_step:
            yield with_buffer(case.plan, buffer.id, end_step=end - 1)


@mutation(Rule.OUTPUT)
def output_overwritten(case: Case) -> Iterator[Plan]:
    for buffer in written(case):
        if buffer.tensor in case.graph.outputs:
            later = [b for b in written(case) if b.start_step > buffer.start_step]
            for other in later[-1:]:
                yield with_buffer(case.plan, buffer.id, offset=other.offset)
