"""Results that are written last may lie on whatever dies in their step, at any offset."""

from __future__ import annotations

import pytest

from memplan.ir.check import Rule, check
from memplan.ir.plan import Plan
from memplan.ir.request import PlanRequest
from tests.ir.check.bases import Case, bases, with_buffer, with_certificate, with_level, with_totals
from tests.ir.check.mutations.used_up import used_up
from tests.support.byte_machine import run_faults
from tests.support.hand_graphs import pictures
from tests.support.naive_plan import naive_plan, plain_body


def chosen(plan: Plan, *names: str) -> list[tuple[str, str]]:
    """Return the plain body of ``pictures`` with used-up operands in these operations."""
    body = plain_body(pictures(), plan.update_of, plan.trips)
    return [(name, "rows_used_up" if name in names else way) for name, way in body]


def plan_of(*names: str, **request: object) -> Plan:
    """Return a plan without alignment in which buffers lie side by side."""
    settings = {"batch": 2, "update": "last-layer", "alignment_bytes": 1, **request}
    wanted = PlanRequest.model_validate({"budget_bytes": 2**20, **settings})
    first = naive_plan(pictures(), wanted)
    return naive_plan(pictures(), wanted, body=chosen(first, *names))


def at(plan: Plan, place: int, offset: int) -> Plan:
    """Return the plan with a buffer elsewhere, and the arena that it has then."""
    moved = with_buffer(plan, place, offset=offset)
    arena = max(buffer.offset + buffer.size_bytes for buffer in moved.buffers)
    moved = with_totals(moved, arena_bytes=arena)
    return with_level(moved, "arena_bytes", value=arena)


@pytest.mark.parametrize("name", ["f0", "f1"])
def test_any_overlap_with_what_dies_is_accepted(name: str) -> None:
    graph, plan = pictures(), plan_of("f0", "f1")
    step = next(step for step in plan.steps if step.operation == name)
    assert step.workspace is not None and step.reads[0] is not None
    first = (step.reads[0], step.workspace)
    end = 0
    for place in (*first, *(b.id for b in plan.buffers if b.id not in first)):
        plan = at(plan, place, end)
        end += plan.buffers[place].size_bytes
    operand, workspace, result = (plan.buffers[p] for p in (*first, step.writes[0]))
    accepted: set[int] = set()
    rejected: set[int] = set()
    for offset in range(plan.totals.arena_bytes + 2):
        moved = at(plan, result.id, offset)
        found = {verdict.rule for verdict in check(graph, moved).verdicts}
        taken = any(
            other.offset < offset + result.size_bytes
            and offset < other.offset + other.size_bytes
            and other.start_step < result.end_step
            and result.start_step < other.end_step
            for other in plan.buffers
            if other.id != result.id
        )
        assert bool(found & {Rule.OVERLAP, Rule.IN_PLACE}) == taken, (offset, found)
        assert taken or not found
        assert taken or run_faults(graph, moved) == []
        (rejected if taken else accepted).add(offset)
    assert rejected
    free = operand.size_bytes + workspace.size_bytes
    assert (operand.offset, workspace.offset) == (0, operand.size_bytes)
    assert accepted >= set(range(free - result.size_bytes + 1))  # most of them over both


def test_live_bytes_are_those_of_what_is_there() -> None:
    plan = plan_of("f0", "f1")
    live = dict(zip([step.operation for step in plan.body], plan.live_bytes, strict=True))
    # Two samples of 96 bytes, a row of 16, the label, what is updated; h0 in its own step not yet.
    assert live["f0"] == 2 * 96 + 16 + 16 + 32
    assert live["f1"] == 2 * 96 + 16 + 16 + 32
    plain = plan_of()
    live = dict(zip([step.operation for step in plain.body], plain.live_bytes, strict=True))
    assert live["f0"] == 2 * 96 + 2 * 96 + 16 + 32


def test_what_someone_reads_later_cannot_be_used_up() -> None:
    plan = plan_of("f1", update="full")
    assert any(step.operation == "w1.back" for step in plan.body)
    rules = {verdict.rule for verdict in check(pictures(), plan).verdicts}
    assert {Rule.USED_UP, Rule.OVERWRITTEN} <= rules
    (verdict,) = [v for v in check(pictures(), plan).verdicts if v.rule is Rule.USED_UP]
    assert (verdict.step, verdict.tensors) == (1, ("h0",))
    assert verdict.message == "f1 uses up h0, which lives on"


def test_a_resident_batch_cannot_be_used_up() -> None:
    for stream in (False, True):
        plan = plan_of("f0", batch=4, micro_batch=2, stream_inputs=stream)
        assert check(pictures(), plan).accepted == stream


def test_a_result_of_the_last_step_would_live_after_the_body() -> None:
    plan = plan_of("f0")
    body = plan.body[:1]
    buffers = [b.model_copy(update={"end_step": min(b.end_step, 2)}) for b in plan.buffers]
    short = plan.model_copy(update={"body": body, "buffers": tuple(buffers)})
    short = with_certificate(short, status="feasible")
    found = {verdict.rule for verdict in check(pictures(), short).verdicts}
    assert Rule.LIFETIME in found


@pytest.mark.parametrize(
    "case", [case for case in bases() if list(used_up(case))], ids=lambda case: case.name
)
def test_bases_put_results_where_operands_were(case: Case) -> None:
    assert any(
        result.offset < operand.offset + operand.size_bytes
        and operand.offset < result.offset + result.size_bytes
        for _, operand, result in used_up(case)
    )
