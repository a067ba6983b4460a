"""Plans that are made to be slow to check: time stays near linear, and their size is capped."""

from __future__ import annotations

import json
import time

import pytest

from memplan.ir.check import Rule, check
from memplan.ir.check.report import MAX_VERDICTS
from memplan.ir.errors import PlanRejectedError
from memplan.ir.graph import OpGraph
from memplan.ir.limits import MAX_ACCESSES, MAX_BUFFERS, MAX_STEPS
from memplan.ir.plan import Buffer, Certificate, Level, Peak, Plan, Step, Totals
from memplan.ir.request import PlanRequest
from tests.support.graph_builder import GraphBuilder, alternative
from tests.support.hand_graphs import chain
from tests.support.naive_plan import naive_plan


def plan_of(graph: OpGraph, steps: list[Step], buffers: list[Buffer]) -> Plan:
    """Return a plan with these steps, whose live bytes are right and whose totals are zero."""
    request = PlanRequest(budget_bytes=2**40, batch=1)
    change = [0] * (len(steps) + 1)
    for buffer in buffers:
        change[buffer.start_step] += buffer.size_bytes
        change[buffer.end_step] -= buffer.size_bytes
    live, live_bytes = 0, []
    for step in range(len(steps)):
        live += change[step]
        live_bytes.append(live)
    return Plan(
        request=request,
        batch=1,
        micro_batch=1,
        trips=1,
        mask=(),
        prologue=(),
        body=tuple(steps),
        epilogue=(),
        buffers=tuple(buffers),
        live_bytes=tuple(live_bytes),
        totals=Totals(**dict.fromkeys(Totals.model_fields, 0)),
        peak=Peak(step=0, operation=steps[0].operation, tensors=()),
        certificate=Certificate(
            status="feasible",
            levels=(),
            lower_bound_bytes=0,
            restrictions=(),
            solver="none",
            graph_hash="none",
            request_hash="none",
        ),
    )


def body(place: int, tensor: str, offset: int, size: int, start: int, end: int, n: int) -> Buffer:
    return Buffer(
        id=place,
        tensor=tensor,
        computation=n,
        offset=offset,
        size_bytes=size,
        start_step=start,
        end_step=end,
        scope="body",
    )


def large_over_small(count: int, large_bytes: int, small_bytes: int) -> tuple[OpGraph, Plan]:
    """Return ``count`` large buffers, one after the other, over the cells of as many small ones."""
    build = GraphBuilder("g", mode="infer", traced_batch=1)
    build.tensor("x", "input", 16)
    for name, size in (("large", large_bytes), ("small", small_bytes)):
        build.tensor(name, "activation", size)
        build.operation(name, "forward", alternative(["x"]), writes=[name], recomputable=True)
    buffers = [body(0, "x", 16 * max(count, large_bytes), 16, 0, 2 * count, 0)]
    steps = []
    for n in range(count):
        buffers.append(body(len(buffers), "large", 0, large_bytes, n, n + 1, n))
        steps.append(Step(operation="large", computation=n, reads=(0,), writes=(n + 1,)))
    for n in range(count):
        place = len(buffers)
        buffers.append(body(place, "small", 16 * n, small_bytes, count + n, 2 * count, n))
        steps.append(Step(operation="small", computation=n, reads=(0,), writes=(place,)))
    graph = build.build(["small"])
    return graph, plan_of(graph, steps, buffers)


def test_large_buffers_over_many_small_ones() -> None:
    graph, plan = large_over_small(10_000, 16 * 10_000, 16)
    start = time.process_time()
    rules = {verdict.rule for verdict in check(graph, plan).verdicts}
    # Measured 0.8 s; 4.5 s when every cell was looked at.
    assert time.process_time() - start < 3
    assert rules == {Rule.TOTALS, Rule.HASH, Rule.LEVELS, Rule.PEAK}


def test_a_plan_full_of_overlaps_is_not_looked_at_to_its_end() -> None:
    graph, plan = large_over_small(5_000, 16 * 5_000, 16 * 5_000)  # each over all after it
    start = time.process_time()
    report = check(graph, plan)
    assert time.process_time() - start < 3
    assert 1 < len(report.verdicts) <= MAX_VERDICTS
    assert {verdict.rule for verdict in report.verdicts} == {Rule.OVERLAP}


def test_one_operation_with_thousands_of_operands() -> None:
    count = 10_000
    build = GraphBuilder("g", mode="infer", traced_batch=1)
    build.tensor("x", "input", 16)
    names = [build.tensor(f"s{n}", "state", 16) for n in range(count)]
    build.operation("all", "statistics", alternative(["x", *names]), mutates=names[::-1])
    build.tensor("y", "activation", 16)
    build.operation("y", "forward", alternative(["x"]), writes=["y"])
    graph = build.build(["y"])
    buffers = [
        body(n, name, 16 * n, 16, 0, 2, 0).model_copy(update={"scope": "persistent"})
        for n, name in enumerate(names)
    ]
    buffers.append(body(count, "x", 16 * count, 16, 0, 2, 0))
    buffers.append(body(count + 1, "y", 16 * count + 16, 16, 1, 2, 0))
    reads = (count, *range(count))
    steps = [
        Step(operation="all", reads=reads, mutates=tuple(reversed(range(count)))),
        Step(operation="y", reads=(count,), writes=(count + 1,)),
    ]
    plan = plan_of(graph, steps, buffers)
    start = time.process_time()
    rules = {verdict.rule for verdict in check(graph, plan).verdicts}
    assert time.process_time() - start < 4
    assert rules == {Rule.TOTALS, Rule.HASH, Rule.LEVELS, Rule.PEAK}


def test_a_level_with_a_bound_of_hundreds_of_digits() -> None:
    graph = chain()
    plan = naive_plan(graph, PlanRequest(budget_bytes=2**20, batch=2))
    first, *others = plan.certificate.levels
    level = Level(
        name=first.name, sense=first.sense, value=first.value, bound=10**400, gap=first.gap or 0.0
    )
    certificate = plan.certificate.model_copy(update={"levels": (level, *others)})
    report = check(graph, plan.model_copy(update={"certificate": certificate}))
    assert Rule.GAP in {verdict.rule for verdict in report.verdicts}


def document() -> dict[str, object]:
    made = naive_plan(chain(), PlanRequest(budget_bytes=2**20, batch=2))
    read: dict[str, object] = json.loads(made.to_json())
    return read


@pytest.mark.parametrize(
    ("field", "item", "count", "message"),
    [
        ("body", {"operation": "f0"}, MAX_STEPS + 1, f"body: .* at most {MAX_STEPS}"),
        ("epilogue", {"operation": "f0"}, MAX_STEPS, f"steps; a plan has at most {MAX_STEPS}"),
        (
            "prologue",
            {"operation": "f0", "reads": [0] * 10_000},
            MAX_ACCESSES // 10_000,
            f"at most {MAX_ACCESSES}",
        ),
        (
            "buffers",
            {
                "id": 0,
                "tensor": None,
                "offset": 0,
                "size_bytes": 0,
                "start_step": 0,
                "end_step": 0,
                "scope": "body",
            },
            MAX_BUFFERS + 1,
            f"buffers: .* at most {MAX_BUFFERS}",
        ),
        ("live_bytes", 0, MAX_STEPS + 1, f"live_bytes: .* at most {MAX_STEPS}"),
    ],
)
def test_plans_are_capped(field: str, item: object, count: int, message: str) -> None:
    text = json.dumps(document() | {field: "HERE"})
    many = ",".join([json.dumps(item)] * count)
    with pytest.raises(PlanRejectedError, match=message):
        Plan.from_json(text.replace('"HERE"', f"[{many}]"))
