"""Buffers of wrong size, place, scope or lifetime."""

from __future__ import annotations

from collections.abc import Iterator

from memplan.ir.check import Rule
from memplan.ir.plan import Buffer, Plan, Scope
from tests.ir.check.bases import (
    Case,
    with_buffer,
    with_request,
    with_step,
)
from tests.ir.check.mutations.registry import mutation, written

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
    mutated = {case.plan.buffers[place].tensor for s in case.plan.steps for place in s.mutates}
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
