from __future__ import annotations

import pytest

from memplan.ir.errors import RequestError
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Buffer, Plan
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.solver import Techniques, solve
from memplan.solver.build_instance import build_instance
from memplan.solver.restore import Start, bare_plan, restore
from tests.solver.problems import accepted_plan, request
from tests.support.hand_graphs import HAND_GRAPHS, chain, two_layers
from tests.support.random_graphs import random_graph, random_request, with_used_up


def restored(graph: OpGraph, asked: PlanRequest, plan: Plan) -> Start:
    return restore(build_instance(graph, asked, plan.micro_batch), plan)


def stored(graph: OpGraph, asked: PlanRequest, techniques: Techniques | None = None) -> Plan:
    answer = solve(graph, asked, techniques=techniques)
    assert answer.plan is not None
    return Plan.from_json(answer.plan.to_json())


def _without_numbers(plan: Plan) -> set[Buffer]:
    """Return what the buffers say: in which order they are numbered does not matter."""
    return {buffer.model_copy(update={"id": 0}) for buffer in plan.buffers}


@pytest.mark.parametrize("name", HAND_GRAPHS)
def test_a_plan_comes_back_as_it_was(name: str) -> None:
    graph = HAND_GRAPHS[name]()
    asked = request(graph, update="full", deterministic=True)
    plan = stored(graph, asked)
    start = restored(graph, asked, plan)
    assert start.solution is not None
    again = bare_plan(start.solution)
    assert again.totals == plan.totals and again.mask == plan.mask
    assert [(step.operation, step.alternative) for step in again.body] == [
        (step.operation, step.alternative) for step in plan.body
    ]
    assert _without_numbers(again) == _without_numbers(plan)


@pytest.mark.parametrize("without", [(), ("joint_model",)])
@pytest.mark.parametrize("seed", range(6))
def test_plans_of_random_graphs_come_back(seed: int, without: tuple[str, ...]) -> None:
    graph = random_graph(seed)
    graph = with_used_up(graph, seed) if seed % 2 else graph
    asked = random_request(seed, graph).model_copy(
        update={"time_limit_seconds": 0.3, "workers": 1, "deterministic": True}
    )
    techniques = Techniques.without(*without)
    roomy = stored(graph, asked, techniques)
    tight = asked.model_copy(update={"budget_bytes": max(1, roomy.totals.arena_bytes * 4 // 5)})
    answer = solve(graph, tight, techniques=techniques)
    for plan in (roomy, answer.plan):
        if plan is None:
            continue
        start = restored(graph, asked, plan)
        assert start.solution is not None
        assert accepted_plan(start.solution).totals == plan.totals


def test_under_another_alignment_the_schedule_stays_and_the_addresses_do_not() -> None:
    graph = chain(3, per_sample=20)
    asked = request(graph, update="full", alignment_bytes=4, deterministic=True)
    plan = stored(graph, asked)
    start = restored(graph, asked.model_copy(update={"alignment_bytes": 64}), plan)
    assert start.steps is not None and len(start.steps) == len(plan.body)
    assert start.solution is None


def test_more_computations_than_allowed_leave_the_mask() -> None:
    graph = chain(4)
    asked = request(graph, update="full", time_limit_seconds=5.0, deterministic=True)
    roomy = stored(graph, asked)
    tight = solve(
        graph, asked.model_copy(update={"budget_bytes": roomy.totals.arena_bytes * 7 // 10})
    ).plan
    assert tight is not None and tight.totals.recomputed_operations
    start = restored(graph, asked.model_copy(update={"computations": 1}), tight)
    assert start.steps is None and start.solution is None
    assert start.mask == tight.update_of


def test_a_mask_that_the_request_does_not_allow() -> None:
    graph = two_layers()
    plan = stored(graph, request(graph, update="full", deterministic=True))
    only = (LayerUpdate(layer=graph.layers[0].id, weight="whole", bias=True),)
    with pytest.raises(RequestError, match="does not allow"):
        restored(graph, request(graph, update=only), plan)
