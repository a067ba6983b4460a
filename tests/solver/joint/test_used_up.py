"""The joint model on operands that are used up: what fits only so, and what is no plan."""

from __future__ import annotations

import pytest

from memplan.ir.graph import OpGraph
from memplan.solver import solve
from memplan.solver.build_instance import build_instance
from memplan.solver.joint import JointModel, add_hints, build_joint_model, extract
from memplan.solver.micro_batches import allowed_micro_batches
from memplan.solver.schedule import Table
from memplan.solver.scheduling.lean import lean_schedule
from memplan.solver.scheduling.narrow import narrow_ways
from memplan.solver.solution import place
from tests.solver.joint.test_execution import work
from tests.solver.joint.test_retention import item
from tests.solver.problems import accepted_plan, model_of, request, solve_model, worth_of
from tests.solver.test_used_up import shrink, without_used_up
from tests.support.brute_force import brute_force, masks, smallest_arena
from tests.support.graph_builder import GraphBuilder, alternative, used_up_alternative
from tests.support.hand_graphs import pictures
from tests.support.random_graphs import random_graph, random_request, with_used_up


def names_of(joint: JointModel, schedule: list[tuple[int, int]]) -> list[str]:
    works = joint.instance.works
    return [f"{works[v].operation}:{works[v].ways[w].name}" for v, w in schedule]


@pytest.mark.parametrize(
    ("rows", "least", "otherwise"),
    [
        ((40, 30, 20, 4), 41, 70),  # x and a byte, against x and t0
        ((40, 40, 40, 1), 41, 80),
        ((8, 8, 8, 30), 38, 38),  # the last result beside its operand
    ],
)
@pytest.mark.parametrize("addresses", [False, True])
def test_what_fits_only_where_operands_are_used_up(
    rows: tuple[int, ...], least: int, otherwise: int, addresses: bool
) -> None:
    graph = shrink(*rows)
    for one, needed in ((graph, least), (without_used_up(graph), otherwise)):
        assert not solve_model(model_of(one, needed - 1, addresses))[1]
        joint = model_of(one, needed, addresses)
        solver, feasible = solve_model(joint)
        assert feasible
        if addresses:
            solution = extract(joint, solver)
            assert accepted_plan(solution).totals.arena_bytes <= needed
            if one is graph and least < otherwise:
                assert "f0:up" in names_of(joint, list(solution.schedule))


def test_what_is_read_later_is_not_used_up() -> None:
    # f2 reads t0 once more: 54 with it kept, or computed again from x, which must stay for that.
    graph = shrink(40, 30, 20, 4, again=True)
    least = smallest_arena(graph, request(graph))
    assert least == 54
    for budget, expected in ((least, True), (least - 1, False)):
        assert solve_model(model_of(graph, budget))[1] == expected
    joint = model_of(graph, computations=1)
    f1 = work(joint.instance, "f1")
    joint.model.add(joint.way[f1, 0, 1] == 1)
    assert not solve_model(joint)[1]
    again = model_of(graph)
    again.model.add(again.way[f1, 0, 1] == 1)
    solver, feasible = solve_model(again)
    assert feasible  # one t0 is used up, another one read
    accepted_plan(extract(again, solver))


def test_the_operand_dies_and_the_result_begins() -> None:
    joint = model_of(shrink(40, 30, 20, 4), 41, computations=1)
    solver, feasible = solve_model(joint)
    assert feasible
    f0, f1 = (work(joint.instance, name) for name in ("f0", "f1"))
    x, t0 = item(joint, "x"), item(joint, "t0")
    assert solver.value(joint.end[x, 0]) == solver.value(joint.start[f0, 0]) + 1
    assert solver.value(joint.end[t0, 0]) == solver.value(joint.start[f1, 0]) + 1
    plan = accepted_plan(extract(joint, solver))
    lifetimes = {b.tensor: (b.start_step, b.end_step) for b in plan.buffers if b.tensor}
    assert lifetimes == {"x": (0, 1), "t0": (1, 2), "t1": (2, 3), "t2": (2, 3)}
    for longer in (x, t0):
        held = model_of(shrink(40, 30, 20, 4), 41)
        reader = f0 if longer == x else f1
        held.model.add(held.end[longer, 0] > held.start[reader, 0] + 1)
        assert not solve_model(held)[1]


def handed_on() -> OpGraph:
    """Return ``x 40 -> a 30 -> b 30 -> out``: a may lie in x, and b is written over a."""
    build = GraphBuilder("handed_on", mode="infer", symbolic=False, traced_batch=1)
    build.tensor("x", "input", 40, image=(1, 40, 1))
    build.tensor("a", "activation", 30, image=(1, 30, 1))
    ways = [alternative(["x"], macs=10), used_up_alternative(["x"], (1, 30, 1), macs=10)]
    build.operation("f", "forward", ways, ["a"])
    for name, operand in (("b", "a"), ("out", "b")):
        build.tensor(name, "activation", 30)
        way = alternative([operand], macs=10, in_place=[(0, 0)])
        build.operation(name, "forward", way, [name])
    return build.build(["out"])


def test_a_result_is_handed_on_in_the_first_step_of_its_life() -> None:
    graph = handed_on()
    assert smallest_arena(graph, request(graph)) == 41
    assert not solve_model(model_of(graph, 40))[1]
    joint = model_of(graph, 41)
    solver, feasible = solve_model(joint)
    assert feasible
    plan = accepted_plan(extract(joint, solver))
    assert plan.totals.arena_bytes == 41
    answer = solve(graph, request(graph, 41, time_limit_seconds=2.0))
    assert answer.plan is not None
    assert (answer.plan.totals.arena_bytes, answer.status) == (41, "optimal")


def test_plans_of_the_heuristics_are_solutions_of_the_model() -> None:
    used_up = 0
    for seed in range(60):
        plain = random_graph(seed)
        graph = with_used_up(plain, seed)
        if graph == plain:
            continue
        asked = random_request(seed, plain).model_copy(update={"compute_limit": None})
        if graph.mode == "train":
            asked = asked.model_copy(update={"update": masks(graph, asked)[-1]})
        instance = build_instance(graph, asked, allowed_micro_batches(graph, asked)[0])
        table = Table.of(instance)
        schedule = lean_schedule(table, narrow_ways(table))
        used_up += any(table.uses_up[v][w] >= 0 for v, w in schedule)
        solution = place(table, schedule, None, 0.2)
        joint = build_joint_model(instance)
        add_hints(joint, solution)
        solver, feasible = solve_model(joint, fix_hints=True)
        assert feasible, seed
        again = extract(joint, solver)
        assert again.schedule == solution.schedule
        assert again.worth == solution.worth
        accepted_plan(again)
    assert used_up > 10


@pytest.mark.parametrize("update", ["last-layer", "full"])
def test_pictures_at_their_least_arena(update: str) -> None:
    graph = pictures()
    asked = request(graph, batch=2, micro_batch=2, update=update, time_limit_seconds=3.0)
    least = smallest_arena(graph, asked)
    plain = smallest_arena(without_used_up(graph), asked)
    assert least is not None and plain is not None and least < plain
    answer = solve(graph, asked.model_copy(update={"budget_bytes": least}))
    assert answer.plan is not None
    assert answer.plan.totals.arena_bytes == least
    assert any(step.alternative == "rows_used_up" for step in answer.plan.body)
    assert answer.lower_bound_bytes <= least
    below = solve(graph, asked.model_copy(update={"budget_bytes": least - 1}))
    assert below.plan is None


@pytest.mark.parametrize("seed", [1, 5, 13, 19, 26, 34])
def test_optimum_of_random_graphs(seed: int) -> None:
    plain = random_graph(seed, tiny=seed != 19)
    graph = with_used_up(plain, seed)
    asked = random_request(seed, plain, tiny=seed != 19)
    least = smallest_arena(graph, asked)
    assert least is not None
    for spare in (0, 8, 40):
        tight = asked.model_copy(
            update={"budget_bytes": least + spare, "time_limit_seconds": 1.0, "workers": 1}
        )
        best = brute_force(graph, tight)
        answer = solve(graph, tight)
        assert answer.lower_bound_bytes <= least
        assert answer.status != "infeasible"
        if answer.plan is not None:
            assert best is not None
            found = worth_of(answer)
            assert found >= best.key
            if answer.status == "optimal":
                assert found == best.key
