"""The checker against a machine that runs plans over real bytes.

What the checker accepts must run without a fault, and where the machine finds a fault, the
checker must object.  Plans are broken at random: addresses, lifetimes, operands, order.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from memplan.ir.check import Rule, check
from memplan.ir.plan import Plan, Step
from memplan.ir.request import PlanRequest
from tests.clients.executors.bodies import random_body
from tests.ir.check.bases import Case, bases, move_step, with_buffer, with_step
from tests.support.brute_force import masks, micro_batches
from tests.support.byte_machine import run_faults
from tests.support.naive_plan import naive_plan
from tests.support.random_graphs import random_graph, random_request, with_used_up


@pytest.mark.parametrize("case", bases(), ids=lambda case: case.name)
def test_accepted_plans_run(case: Case) -> None:
    assert check(case.graph, case.plan).accepted
    assert run_faults(case.graph, case.plan) == []


@pytest.mark.parametrize("seed", range(60))
def test_random_plans_are_accepted_and_run(seed: int) -> None:
    random = Random(seed)
    graph = random_graph(seed)
    request = random_request(seed, graph)
    plan = naive_plan(
        graph,
        request,
        mask=random.choice(masks(graph, request)),
        micro_batch=random.choice(micro_batches(graph, request)),
        reuse=random.random() < 0.8,
        in_place=random.random() < 0.6,
    )
    report = check(graph, plan)
    assert report.accepted, "\n".join(map(str, report.verdicts))
    assert run_faults(graph, plan) == []


def test_random_plans_that_use_operands_up() -> None:
    used_up = [_uses_up(seed) for seed in range(60)]
    assert sum(used_up) >= 20


def _uses_up(seed: int) -> bool:
    """Check a plan with random alternatives, and what becomes of it; tell if it uses tensors up."""
    random = Random(seed)
    plain = random_graph(seed)
    graph = with_used_up(plain, seed)
    request = random_request(seed, plain)
    mask = random.choice(masks(graph, request))
    micro_batch = random.choice(micro_batches(graph, request))
    trips = request.batch // micro_batch
    body = random_body(graph, mask, trips, seed, plain=0.1, streamed=request.stream_inputs)
    plan = naive_plan(graph, request, mask, micro_batch, body, reuse=True, in_place=True)
    report = check(graph, plan)
    # Recomputation here is as it comes, and may be more than the request allows.
    rules = {verdict.rule for verdict in report.verdicts}
    assert rules <= {Rule.COMPUTE_LIMIT, Rule.COMPUTATION}, "\n".join(map(str, report.verdicts))
    assert run_faults(graph, plan) == []
    uses_up = any("used_up" in name for _, name in body)
    for _ in range(20 * uses_up):
        broken = _break(plan, random)
        if run_faults(graph, broken):
            assert not rules.issuperset(v.rule for v in check(graph, broken).verdicts)
    return uses_up


def _break(plan: Plan, random: Random) -> Plan:
    buffer = random.choice(plan.buffers)
    kind = random.randrange(6)
    if kind == 0:
        return with_buffer(plan, buffer.id, offset=random.choice(plan.buffers).offset)
    if kind == 1:
        return with_buffer(plan, buffer.id, end_step=buffer.end_step + random.choice((-1, 1, 2)))
    if kind == 2:
        start, length = len(plan.prologue), len(plan.body)
        source, target = random.randrange(length), random.randrange(length)
        return move_step(plan, start + source, start + target)
    if kind == 3:
        offset = max(0, buffer.offset + 16 * random.choice((-1, 1)))
        return with_buffer(plan, buffer.id, offset=offset)
    index = random.randrange(len(plan.steps))
    step: Step = plan.steps[index]
    changes: dict[str, Any] = {}
    field = "reads" if kind == 4 else random.choice(("writes", "mutates"))
    places = list(getattr(step, field))
    for position, place in enumerate(places):
        twins = [
            b.id
            for b in plan.buffers
            if place is not None and b.tensor == plan.buffers[place].tensor
        ]
        if twins:
            places[position] = random.choice(twins)
    changes[field] = tuple(places)
    return with_step(plan, index, **changes)


@pytest.mark.parametrize("case", bases(), ids=lambda case: case.name)
def test_what_faults_is_rejected(case: Case) -> None:
    random = Random(case.name)
    faulty = 0
    for _ in range(60):
        plan = _break(case.plan, random)
        if random.random() < 0.3:
            plan = _break(plan, random)
        faults = run_faults(case.graph, plan)
        faulty += bool(faults)
        if faults:
            assert not check(case.graph, plan).accepted, faults
    assert faulty > 10


def test_the_machine_finds_an_overlap() -> None:
    case = bases()[0]
    plan = naive_plan(case.graph, PlanRequest(budget_bytes=2**20, batch=4))
    h0 = next(b for b in plan.buffers if b.tensor == "h1")
    h3 = next(b for b in plan.buffers if b.tensor == "h3")
    faults = run_faults(case.graph, with_buffer(plan, h3.id, offset=h0.offset))
    assert any("finds something else for h1" in fault for fault in faults)
