from __future__ import annotations

import pytest
from ortools.sat.python import cp_model

from memplan.solver import solve
from memplan.solver.clock import Clock, WorkClock
from memplan.solver.cp import solve_model
from tests.solver.problems import request
from tests.support.random_graphs import random_graph


def test_the_wall_clock_goes_on_by_itself_and_ends_at_a_stop() -> None:
    clock = Clock()
    began = clock.now()
    clock.spend(1e6)
    assert clock.now() - began < 1e5
    assert clock.over(began)
    assert not clock.over(clock.now() + 1e5)
    assert Clock(lambda: True).over(began + 1e5)


def test_the_work_clock_counts_only_what_is_spent() -> None:
    clock = WorkClock()
    assert clock.now() == 0.0
    clock.spend(1.5)
    clock.spend(0.5)
    assert clock.now() == 2.0
    assert clock.over(2.0)
    assert not clock.over(2.1)


def test_a_solve_is_charged_to_the_work_clock() -> None:
    model = cp_model.CpModel()
    numbers = [model.new_int_var(0, 40, f"x{i}") for i in range(12)]
    model.add_all_different(numbers)
    model.add(sum(i * x for i, x in enumerate(numbers)) == 700)
    model.maximize(sum(x * (7 * i % 5) for i, x in enumerate(numbers)))
    clock = WorkClock()
    solver, _ = solve_model(model, 0.2, 0, 2, clock)
    assert solver.parameters.interleave_search
    assert 0.0 < solver.response_proto.deterministic_time < 0.2
    assert solver.response_proto.deterministic_time < clock.now() < 1.0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("update", ["auto", "full"])
def test_the_same_question_gets_the_same_plan_where_the_limit_counts_work(
    workers: int, update: str
) -> None:
    graph = random_graph(11, "train")
    most = solve(graph, request(graph, update="full")).plan
    assert most is not None
    asked = request(
        graph,
        most.totals.arena_bytes * 3 // 4,
        update=update,
        deterministic=True,
        time_limit_seconds=0.5,
        workers=workers,
    )
    first, second = solve(graph, asked), solve(graph, asked)
    assert first.status == second.status
    assert first.plan is not None
    assert second.plan is not None
    assert first.plan.content_hash() == second.plan.content_hash()
