from __future__ import annotations

import pytest

from memplan.ir.graph import OpGraph
from memplan.solver.build_instance import build_instance, fix_mask
from memplan.solver.joint import add_hints, build_joint_model, extract
from memplan.solver.joint.hint import fits_model
from memplan.solver.masks.estimate import choose_mask, estimate_memory
from memplan.solver.schedule import Table
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule
from memplan.solver.solution import Solution, place
from tests.solver.problems import (
    PLENTY,
    accepted_plan,
    instance_of,
    skip,
    solve_model,
    steps,
)
from tests.support.hand_graphs import HAND_GRAPHS, two_layers
from tests.support.random_graphs import random_graph, random_request


def plain_solution(table: Table) -> Solution:
    """Return the plan in traced order."""
    return place(table, needed_schedule(table, fastest_ways(table)), None, 0.2)


@pytest.mark.parametrize("name", HAND_GRAPHS)
@pytest.mark.parametrize("alignment", [1, 16])
def test_a_plan_of_the_heuristics_is_a_solution_of_the_model(name: str, alignment: int) -> None:
    instance = instance_of(HAND_GRAPHS[name](), alignment_bytes=alignment)
    solution = plain_solution(Table.of(instance))
    joint = build_joint_model(instance)
    add_hints(joint, solution)
    solver, feasible = solve_model(joint, fix_hints=True)
    assert feasible
    again = extract(joint, solver)
    assert again.schedule == solution.schedule
    assert again.worth == solution.worth
    assert accepted_plan(again).body == accepted_plan(solution).body


def test_a_plan_of_one_mask_is_a_solution_of_the_model_of_all() -> None:
    instance = instance_of(two_layers(), update="auto", slice_divisors=(2,))
    estimate = estimate_memory(instance)
    for budget in (0, 700, 1000, PLENTY):
        mask = choose_mask(estimate, budget)
        solution = plain_solution(Table.of(fix_mask(instance, mask)))
        joint = build_joint_model(instance)
        add_hints(joint, solution)
        solver, feasible = solve_model(joint, fix_hints=True)
        assert feasible
        again = extract(joint, solver)
        assert again.instance.mask() == mask
        assert again.worth == solution.worth


def test_a_plan_with_recomputation_is_a_solution_of_the_model() -> None:
    instance = instance_of(skip(), 120)
    table = Table.of(instance)
    solution = place(table, steps(table, "f", "g", "h", "k", "f", "join"), 120, 1.0)
    assert solution.worth.arena_bytes == 120
    joint = build_joint_model(instance)
    assert fits_model(joint, solution)
    add_hints(joint, solution)
    solver, feasible = solve_model(joint, fix_hints=True)
    assert feasible
    assert extract(joint, solver).schedule == solution.schedule


def test_a_plan_that_needs_more_than_the_budget_is_not() -> None:
    instance = instance_of(skip(), 175)
    table = Table.of(instance)
    solution = place(table, steps(table, "f", "g", "h", "k", "join"), None, 0.0)
    joint = build_joint_model(instance)
    add_hints(joint, solution)
    assert not solve_model(joint, fix_hints=True)[1]


def test_a_plan_with_more_computations_does_not_fit_the_model() -> None:
    instance = instance_of(skip(), 120)
    table = Table.of(instance)
    solution = place(table, steps(table, "f", "g", "h", "k", "f", "join"), 120, 1.0)
    assert not fits_model(build_joint_model(instance, (1,) * 5), solution)


@pytest.mark.parametrize("seed", range(16))
def test_hints_and_round_trip_on_random_graphs(seed: int) -> None:
    graph = random_graph(seed)
    asked = random_request(seed, graph).model_copy(update={"update": "full", "workers": 1})
    for samples in {asked.batch, 1} if _divides(graph) else {asked.batch}:
        instance = build_instance(graph, asked, samples)
        solution = plain_solution(Table.of(instance))
        joint = build_joint_model(instance)
        add_hints(joint, solution)
        solver, feasible = solve_model(joint, fix_hints=True)
        assert feasible
        again = extract(joint, solver)
        assert again.worth == solution.worth
        accepted_plan(again)


def _divides(graph: OpGraph) -> bool:
    return graph.batch_symbolic and not graph.batch_coupled_by
