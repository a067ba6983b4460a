"""Every kind of broken plan is rejected, by the right rule.

A mutation takes a valid plan and yields broken ones; it yields nothing where it does not apply.
Each must apply to at least one base, and every mutant must break the rule that is expected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from memplan.ir.check import RULES, Rule, check
from memplan.ir.graph import Operation
from memplan.ir.plan import Buffer, PeakTensor, Plan, Scope, Step
from memplan.ir.request import LayerUpdate
from tests.ir.check.bases import (
    Case,
    bases,
    drop_step,
    insert_step,
    move_step,
    steps_of,
    with_buffer,
    with_certificate,
    with_level,
    with_request,
    with_step,
    with_totals,
)
from tests.support.naive_plan import default_mask, naive_plan, plain_body, with_recomputation

Mutation = Callable[[Case], Iterator[Plan]]
MUTATIONS: dict[str, tuple[Rule, Mutation, bool]] = {}


def mutation(rule: Rule, alone: bool = False) -> Callable[[Mutation], Mutation]:
    """Register a mutation; ``alone``: no other rule may be broken."""

    def register(function: Mutation) -> Mutation:
        MUTATIONS[function.__name__] = (rule, function, alone)
        return function

    return register


def operation_at(case: Case, index: int) -> Operation:
    return case.graph.operation[case.plan.steps[index].operation]


def written(case: Case) -> list[Buffer]:
    """Return the buffers that some step writes, in order of their first step."""
    places = {place for step in case.plan.steps for place in step.writes}
    return [case.plan.buffers[place] for place in sorted(places)]


def last_reads(case: Case) -> list[tuple[int, Buffer]]:
    """Return (last reading step, buffer) of every written buffer that is read."""
    last: dict[int, int] = {}
    for index, step in enumerate(case.plan.steps):
        for place in step.reads:
            if place is not None:
                last[place] = index
    return [(last[b.id], b) for b in written(case) if b.id in last]


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


# Batch and micro-batch.


@mutation(Rule.REQUEST)
def batch_is_not_the_requested(case: Case) -> Iterator[Plan]:
    yield case.plan.model_copy(update={"batch": 2 * case.plan.batch})
    yield with_request(case.plan, batch=2 * case.plan.batch)


@mutation(Rule.REQUEST)
def batch_of_a_fixed_graph(case: Case) -> Iterator[Plan]:
    if not case.graph.batch_symbolic:
        plan = with_request(case.plan, batch=3)
        yield plan.model_copy(update={"batch": 3, "micro_batch": 3})


@mutation(Rule.MICRO_BATCH)
def wrong_number_of_trips(case: Case) -> Iterator[Plan]:
    yield case.plan.model_copy(update={"trips": case.plan.trips + 1})
    if case.plan.trips > 2:
        yield case.plan.model_copy(update={"trips": case.plan.trips - 1})


@mutation(Rule.MICRO_BATCH)
def wrong_micro_batch(case: Case) -> Iterator[Plan]:
    yield case.plan.model_copy(update={"micro_batch": case.plan.micro_batch + 1})


@mutation(Rule.MICRO_BATCH, alone=True)
def micro_batch_is_not_the_requested(case: Case) -> Iterator[Plan]:
    for other in (1, 2, 3, 4):
        if case.plan.batch % other == 0 and other != case.plan.micro_batch:
            yield with_request(case.plan, micro_batch=other)


@mutation(Rule.MICRO_BATCH)
def micro_batches_of_coupled_samples(case: Case) -> Iterator[Plan]:
    if case.graph.batch_coupled_by:
        half = case.plan.batch // 2
        yield case.plan.model_copy(update={"micro_batch": half, "trips": 2})


# Mask and alternatives.


@mutation(Rule.MASK)
def mask_against_the_request(case: Case) -> Iterator[Plan]:
    if case.plan.mask:
        update = case.plan.mask[0]
        other = (
            update.model_copy(update={"channels": (update.channels[0],)})
            if update.channels
            else LayerUpdate(layer=update.layer, bias=not update.bias, weight="whole")
        )
        yield case.plan.model_copy(update={"mask": (other, *case.plan.mask[1:])})
        yield with_request(case.plan, update=(other,))


@mutation(Rule.MASK)
def layer_left_out_of_a_full_update(case: Case) -> Iterator[Plan]:
    if case.plan.request.update == "full" and len(case.plan.mask) > 1:
        yield naive_plan(case.graph, case.plan.request, mask=case.plan.mask[1:])


@mutation(Rule.MASK)
def layer_twice_in_the_mask(case: Case) -> Iterator[Plan]:
    if case.plan.mask:
        yield case.plan.model_copy(update={"mask": (*case.plan.mask, case.plan.mask[0])})


@mutation(Rule.MASK)
def unknown_layer_in_the_mask(case: Case) -> Iterator[Plan]:
    ghost = LayerUpdate(layer="ghost", weight="whole")
    yield case.plan.model_copy(update={"mask": (*case.plan.mask, ghost)})


@mutation(Rule.MASK)
def nothing_updated_in_training(case: Case) -> Iterator[Plan]:
    if case.plan.request.update == "auto" and case.graph.mode == "train":
        yield naive_plan(case.graph, case.plan.request, mask=())


@mutation(Rule.MASK)
def request_contradicts_the_graph(case: Case) -> Iterator[Plan]:
    if case.graph.mode == "train":
        ghost = LayerUpdate(layer="ghost", weight="whole")
        yield with_request(case.plan, update=(ghost,))


@mutation(Rule.ALTERNATIVE)
def alternative_of_another_axis(case: Case) -> Iterator[Plan]:
    if case.name == "sliced":
        body = [
            (name, "plain" if name == "linear2.weight_gradient" else way)
            for name, way in ((s.operation, s.alternative) for s in case.plan.body)
        ]
        yield naive_plan(case.graph, case.plan.request, micro_batch=2, body=body)


# What runs, where and how often.


@mutation(Rule.PHASE)
def update_inside_the_loop(case: Case) -> Iterator[Plan]:
    if case.plan.trips > 1 and case.graph.mode == "train":
        body = [
            (name.replace("accumulate.", "update."), way)
            for name, way in ((s.operation, s.alternative) for s in case.plan.body)
        ]
        yield naive_plan(
            case.graph,
            case.plan.request,
            mask=case.plan.mask,
            micro_batch=case.plan.micro_batch,
            body=body,
        )


@mutation(Rule.PHASE)
def clearing_inside_the_loop(case: Case) -> Iterator[Plan]:
    if case.plan.prologue:
        plan = case.plan
        yield plan.model_copy(
            update={"prologue": plan.prologue[:-1], "body": (plan.prologue[-1], *plan.body)}
        )


@mutation(Rule.PHASE)
def applying_inside_the_loop(case: Case) -> Iterator[Plan]:
    if case.plan.epilogue:
        plan = case.plan
        yield plan.model_copy(
            update={"epilogue": plan.epilogue[1:], "body": (*plan.body, plan.epilogue[0])}
        )


@mutation(Rule.UPDATE)
def update_left_out(case: Case) -> Iterator[Plan]:
    for index in steps_of(case, "update", "accumulate", "apply", "clear"):
        yield drop_step(case.plan, index)


@mutation(Rule.UPDATE)
def update_twice(case: Case) -> Iterator[Plan]:
    for index in steps_of(case, "update", "accumulate"):
        step = case.plan.steps[index]
        again = step.model_copy(update={"computation": 1})
        yield insert_step(case.plan, index + 1, again)


@mutation(Rule.UPDATE)
def update_of_a_frozen_parameter(case: Case) -> Iterator[Plan]:
    if case.plan.request.update == "auto" and len(case.plan.mask) > 1:
        body = [(step.operation, step.alternative) for step in case.plan.body]
        yield naive_plan(
            case.graph,
            case.plan.request,
            mask=case.plan.mask[:1],
            micro_batch=case.plan.micro_batch,
            body=body,
        )


@mutation(Rule.STATISTICS)
def statistics_left_out(case: Case) -> Iterator[Plan]:
    for index in steps_of(case, "statistics"):
        yield drop_step(case.plan, index)


@mutation(Rule.STATISTICS)
def statistics_twice(case: Case) -> Iterator[Plan]:
    for index in steps_of(case, "statistics"):
        again = case.plan.steps[index].model_copy(update={"computation": 1})
        yield insert_step(case.plan, index + 1, again)


@mutation(Rule.COMPUTATION)
def computations_miscounted(case: Case) -> Iterator[Plan]:
    for index, step in enumerate(case.plan.steps):
        yield with_step(case.plan, index, computation=step.computation + 1)


@mutation(Rule.COMPUTATION)
def buffer_of_another_computation(case: Case) -> Iterator[Plan]:
    for buffer in case.plan.buffers:
        yield with_buffer(case.plan, buffer.id, computation=buffer.computation + 1)


@mutation(Rule.COMPUTATION, alone=True)
def backward_recomputed(case: Case) -> Iterator[Plan]:
    if case.plan.trips == 1 and not case.plan.totals.recomputed_operations:
        for index in steps_of(case, "backward"):
            name = case.plan.steps[index].operation
            body = plain_body(case.graph, case.plan.update_of, 1)
            after = body[min(body.index((name, "plain")) + 1, len(body) - 1)][0]
            request = case.plan.request.model_copy(update={"compute_limit": None})
            if after != name:
                yield naive_plan(
                    case.graph, request, case.plan.mask, body=with_recomputation(body, name, after)
                )


# Buffers.


@mutation(Rule.SIZE)
def buffer_too_small(case: Case) -> Iterator[Plan]:
    for buffer in case.plan.buffers:
        if buffer.tensor is not None:
            yield with_buffer(case.plan, buffer.id, size_bytes=buffer.size_bytes - 1)


@mutation(Rule.SIZE)
def buffer_too_large(case: Case) -> Iterator[Plan]:
    for buffer in case.plan.buffers:
        if buffer.tensor is not None:
            yield with_buffer(case.plan, buffer.id, size_bytes=buffer.size_bytes + 16)


@mutation(Rule.SIZE)
def streamed_batch_resident_whole(case: Case) -> Iterator[Plan]:
    if case.plan.request.stream_inputs and case.plan.trips > 1:
        for buffer in case.plan.buffers:
            if buffer.tensor in ("x", "y"):
                yield with_buffer(
                    case.plan, buffer.id, size_bytes=buffer.size_bytes * case.plan.trips
                )


@mutation(Rule.ALIGNMENT)
def misaligned(case: Case) -> Iterator[Plan]:
    for buffer in case.plan.buffers:
        yield with_buffer(case.plan, buffer.id, offset=buffer.offset + 1)


@mutation(Rule.ALIGNMENT)
def aligned_for_the_request_but_not_for_the_region(case: Case) -> Iterator[Plan]:
    if case.plan.request.device is not None:
        plan = with_request(case.plan, alignment_bytes=8)
        yield with_buffer(plan, 0, offset=plan.buffers[0].offset + 8)


@mutation(Rule.REGION)
def unknown_region(case: Case) -> Iterator[Plan]:
    yield with_buffer(case.plan, 0, region="nowhere")


@mutation(Rule.REGION)
def in_the_flash(case: Case) -> Iterator[Plan]:
    if case.plan.request.device is not None:
        yield with_buffer(case.plan, 0, region="flash")


@mutation(Rule.REGION)
def beyond_the_region(case: Case) -> Iterator[Plan]:
    if case.plan.request.device is not None:
        for buffer in case.plan.buffers:
            yield with_buffer(case.plan, buffer.id, offset=3072 - buffer.size_bytes // 16 * 16 + 16)


@mutation(Rule.SCOPE)
def wrong_scope(case: Case) -> Iterator[Plan]:
    for buffer in case.plan.buffers:
        for scope in ("persistent", "batch", "body"):
            if scope != buffer.scope:
                yield with_buffer(case.plan, buffer.id, scope=scope)


@mutation(Rule.SCOPE)
def frozen_weight_in_the_arena(case: Case) -> Iterator[Plan]:
    mutated = {name for s in case.plan.steps for name in case.graph.operation[s.operation].mutates}
    for tensor in case.graph.tensors:
        if tensor.role == "parameter" and tensor.id not in mutated:
            yield _with_extra(case.plan, tensor.id, tensor.size_bytes.at(1), "persistent")


@mutation(Rule.SCOPE)
def input_resident_twice(case: Case) -> Iterator[Plan]:
    for buffer in case.plan.buffers:
        if buffer.tensor == "x":
            yield _with_extra(case.plan, "x", buffer.size_bytes, buffer.scope)


def _with_extra(plan: Plan, tensor: str, size_bytes: int, scope: Scope) -> Plan:
    extra = Buffer(
        id=len(plan.buffers),
        tensor=tensor,
        region=plan.buffers[0].region,
        offset=plan.totals.arena_bytes // 16 * 16 + 16,
        size_bytes=size_bytes,
        start_step=0,
        end_step=len(plan.steps),
        scope=scope,
    )
    return plan.model_copy(update={"buffers": (*plan.buffers, extra)})


@mutation(Rule.LIFETIME)
def persistent_bytes_freed(case: Case) -> Iterator[Plan]:
    for buffer in case.plan.buffers:
        if buffer.scope != "body":
            yield with_buffer(case.plan, buffer.id, end_step=buffer.end_step - 1)
            yield with_buffer(case.plan, buffer.id, start_step=1)


@mutation(Rule.LIFETIME)
def lifetime_starts_before_the_write(case: Case) -> Iterator[Plan]:
    for buffer in written(case):
        if buffer.start_step > 0:
            yield with_buffer(case.plan, buffer.id, start_step=buffer.start_step - 1)


@mutation(Rule.LIFETIME)
def lifetime_starts_after_the_write(case: Case) -> Iterator[Plan]:
    for buffer in written(case):
        yield with_buffer(
            case.plan, buffer.id, start_step=buffer.start_step + 1, end_step=buffer.end_step + 1
        )


@mutation(Rule.LIFETIME)
def empty_lifetime(case: Case) -> Iterator[Plan]:
    for buffer in written(case):
        yield with_buffer(case.plan, buffer.id, end_step=buffer.start_step)


@mutation(Rule.LIFETIME)
def lifetime_leaves_the_body(case: Case) -> Iterator[Plan]:
    for buffer in written(case):
        end = len(case.plan.prologue) + len(case.plan.body)
        yield with_buffer(case.plan, buffer.id, end_step=end + 1)


@mutation(Rule.LIFETIME)
def streamed_input_filled_too_late(case: Case) -> Iterator[Plan]:
    for buffer in case.plan.buffers:
        if buffer.tensor in ("x", "y") and buffer.scope == "body" and buffer.end_step > 2:
            yield with_buffer(case.plan, buffer.id, start_step=buffer.start_step + 1)


@mutation(Rule.LIFETIME)
def buffer_that_nobody_writes(case: Case) -> Iterator[Plan]:
    for buffer in written(case)[:2]:
        extra = buffer.model_copy(
            update={
                "id": len(case.plan.buffers),
                "offset": case.plan.totals.arena_bytes // 16 * 16 + 16,
            }
        )
        yield case.plan.model_copy(update={"buffers": (*case.plan.buffers, extra)})


@mutation(Rule.WORKSPACE)
def workspace_missing(case: Case) -> Iterator[Plan]:
    for index, step in enumerate(case.plan.steps):
        if step.workspace is not None:
            yield with_step(case.plan, index, workspace=None)


@mutation(Rule.WORKSPACE)
def workspace_too_small(case: Case) -> Iterator[Plan]:
    for buffer in case.plan.buffers:
        if buffer.tensor is None:
            yield with_buffer(case.plan, buffer.id, size_bytes=buffer.size_bytes - 1)


@mutation(Rule.WORKSPACE)
def workspace_where_none_is_needed(case: Case) -> Iterator[Plan]:
    workspaces = [b.id for b in case.plan.buffers if b.tensor is None]
    for index, step in enumerate(case.plan.steps):
        if workspaces and step.workspace is None:
            yield with_step(case.plan, index, workspace=workspaces[0])


@mutation(Rule.WORKSPACE)
def workspace_for_another_step(case: Case) -> Iterator[Plan]:
    for buffer in case.plan.buffers:
        if buffer.tensor is None and buffer.start_step > 0:
            start = buffer.start_step - 1
            yield with_buffer(case.plan, buffer.id, start_step=start, end_step=start + 1)


@mutation(Rule.OVERLAP)
def workspace_over_an_operand(case: Case) -> Iterator[Plan]:
    for step in case.plan.steps:
        operands = [place for place in step.reads if place is not None]
        if step.workspace is not None and operands:
            offset = case.plan.buffers[operands[0]].offset
            yield with_buffer(case.plan, step.workspace, offset=offset)


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
                if read is not None:
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


# Limits and figures.


@mutation(Rule.BUDGET, alone=True)
def over_the_budget(case: Case) -> Iterator[Plan]:
    yield with_request(case.plan, budget_bytes=case.plan.totals.arena_bytes - 1)


@mutation(Rule.BUDGET, alone=True)
def frozen_weights_in_a_full_ram(case: Case) -> Iterator[Plan]:
    device = case.plan.request.device
    if device is not None:
        narrow = device.model_copy(update={"weights": "ram"})
        plan = naive_plan(case.graph, case.plan.request, mask=case.plan.mask[:1], reuse=True)
        assert plan.totals.frozen_bytes > 0
        yield with_request(
            plan,
            device=narrow,
            budget_bytes=plan.totals.arena_bytes + plan.totals.frozen_bytes - 1,
        )


@mutation(Rule.BUDGET, alone=True)
def frozen_weights_in_a_full_flash(case: Case) -> Iterator[Plan]:
    device = case.plan.request.device
    if device is not None:
        plan = naive_plan(case.graph, case.plan.request, mask=case.plan.mask[:1], reuse=True)
        flash = device.regions[1].model_copy(update={"size_bytes": plan.totals.frozen_bytes - 1})
        small = device.model_copy(update={"regions": (device.regions[0], flash)})
        yield with_request(plan, device=small)


@mutation(Rule.COMPUTE_LIMIT, alone=True)
def too_much_recomputation(case: Case) -> Iterator[Plan]:
    if case.plan.totals.macs > case.plan.totals.plain_macs:
        yield with_request(case.plan, compute_limit=0.0)


@mutation(Rule.TOTALS)
def forged_totals(case: Case) -> Iterator[Plan]:
    for name in type(case.plan.totals).model_fields:
        value = getattr(case.plan.totals, name)
        yield with_totals(case.plan, **{name: value + 1})
        if value:
            yield with_totals(case.plan, **{name: value - 1})


@mutation(Rule.LIVE_BYTES, alone=True)
def forged_live_bytes(case: Case) -> Iterator[Plan]:
    live = case.plan.live_bytes
    for place, value in enumerate(live):
        yield case.plan.model_copy(
            update={"live_bytes": (*live[:place], value - 1, *live[place + 1 :])}
        )
    yield case.plan.model_copy(update={"live_bytes": live[:-1]})
    yield case.plan.model_copy(update={"live_bytes": (*live, 0)})


@mutation(Rule.PEAK, alone=True)
def peak_elsewhere(case: Case) -> Iterator[Plan]:
    peak = case.plan.peak
    for step in (len(case.plan.prologue), len(case.plan.steps) + 5):
        if step != peak.step:
            yield case.plan.model_copy(update={"peak": peak.model_copy(update={"step": step})})
    other = next(s.operation for s in case.plan.steps if s.operation != peak.operation)
    yield case.plan.model_copy(update={"peak": peak.model_copy(update={"operation": other})})


@mutation(Rule.PEAK, alone=True)
def peak_of_other_tensors(case: Case) -> Iterator[Plan]:
    peak = case.plan.peak
    tensors = peak.tensors
    forged = [tensors[1:], tensors[::-1], (*tensors, PeakTensor(tensor="ghost", size_bytes=0))]
    for listed in forged:
        if [t.size_bytes for t in listed] != [t.size_bytes for t in tensors]:
            yield case.plan.model_copy(update={"peak": peak.model_copy(update={"tensors": listed})})


# Certificate.


@mutation(Rule.HASH, alone=True)
def certificate_of_something_else(case: Case) -> Iterator[Plan]:
    yield with_certificate(case.plan, graph_hash="sha256:0")
    yield with_certificate(case.plan, request_hash=case.plan.certificate.graph_hash)


@mutation(Rule.HASH)
def request_edited_after_the_fact(case: Case) -> Iterator[Plan]:
    request = case.plan.request.model_copy(update={"seed": 7})
    yield case.plan.model_copy(update={"request": request})


@mutation(Rule.LEVELS, alone=True)
def levels_in_disorder(case: Case) -> Iterator[Plan]:
    levels = case.plan.certificate.levels
    yield with_certificate(case.plan, levels=levels[::-1])
    yield with_certificate(case.plan, levels=levels[:-1])
    yield with_certificate(case.plan, levels=())


@mutation(Rule.LEVELS)
def level_is_not_the_total(case: Case) -> Iterator[Plan]:
    for level in case.plan.certificate.levels:
        yield with_level(case.plan, level.name, value=level.value + 1)
        other = "minimize" if level.sense == "maximize" else "maximize"
        yield with_level(case.plan, level.name, sense=other)


@mutation(Rule.BOUND)
def bound_beyond_the_value(case: Case) -> Iterator[Plan]:
    for level in case.plan.certificate.levels:
        beyond = level.value + (1 if level.sense == "minimize" else -1)
        gap = 1 / max(1, abs(level.value))
        yield with_level(case.plan, level.name, bound=beyond, gap=gap)


@mutation(Rule.BOUND, alone=True)
def lower_bound_above_the_arena(case: Case) -> Iterator[Plan]:
    yield with_certificate(case.plan, lower_bound_bytes=case.plan.totals.arena_bytes + 1)


@mutation(Rule.GAP, alone=True)
def wrong_gap(case: Case) -> Iterator[Plan]:
    for level in case.plan.certificate.levels:
        yield with_level(case.plan, level.name, gap=0.5)
        if level.sense == "minimize":
            bound = level.value // 2
            yield with_level(case.plan, level.name, bound=bound, gap=0.0)
            yield with_level(case.plan, level.name, bound=bound, gap=None)


@mutation(Rule.STATUS, alone=True)
def optimal_without_a_proof(case: Case) -> Iterator[Plan]:
    yield with_certificate(case.plan, status="optimal")


@mutation(Rule.STATUS, alone=True)
def optimal_with_a_gap(case: Case) -> Iterator[Plan]:
    level = case.plan.certificate.levels[-1]
    bound = level.value - 1
    plan = with_level(case.plan, level.name, bound=bound, gap=1 / level.value)
    yield with_certificate(plan, status="optimal")


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutant_is_rejected(name: str) -> None:
    rule, mutate, alone = MUTATIONS[name]
    mutants = [(case, plan) for case in bases() for plan in mutate(case)]
    assert mutants, f"{name} applies to no base"
    for case, plan in mutants:
        found = {verdict.rule for verdict in check(case.graph, plan).verdicts}
        assert rule in found, f"{case.name}: {sorted(found)}"
        if alone:
            assert found == {rule}, f"{case.name}: {sorted(found)}"


def test_every_rule_is_broken_by_some_mutation() -> None:
    assert {rule for rule, _, _ in MUTATIONS.values()} == set(RULES)
    assert len(MUTATIONS) >= 25


@pytest.mark.parametrize("case", bases(), ids=lambda case: case.name)
def test_bases_are_accepted(case: Case) -> None:
    report = check(case.graph, case.plan)
    assert report.accepted, "\n".join(map(str, report.verdicts))


def test_default_mask_is_the_widest_option() -> None:
    case = next(case for case in bases() if case.name == "one-trip")
    assert [u.weight for u in default_mask(case.graph, case.plan.request)] == ["whole", "none"]
    assert isinstance(case.plan.body[0], Step)
