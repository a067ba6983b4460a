from __future__ import annotations

import pytest

from memplan.solver.clock import Clock
from memplan.solver.joint import build_joint_model
from memplan.solver.joint.lexicographic import solve_levels
from memplan.solver.schedule import Table
from memplan.solver.solution import Solution, place
from tests.solver.problems import accepted_plan, instance_of, model_of, skip, steps, time_ns
from tests.support.brute_force import brute_force
from tests.support.hand_graphs import chain, diamond

#: The models are tiny: they end with the proof, long before this.
SECONDS = 30.0


@pytest.mark.parametrize(("budget", "runs"), [(1_000, 5), (175, 6), (120, 6)])
def test_time_before_bytes(budget: int, runs: int) -> None:
    result = solve_levels(model_of(skip(), budget), SECONDS)
    assert result.solution is not None and not result.infeasible
    worth = result.solution.worth
    assert worth.time_ns == result.proof.time_ns == runs * time_ns(10)
    assert worth.arena_bytes == result.proof.arena_bytes == (176 if runs == 5 else 120)
    accepted_plan(result.solution)


def test_importance_before_time() -> None:
    graph = chain(1)
    joint = model_of(graph, batch=1, update="auto", slice_divisors=(), criterion="uniform")
    result = solve_levels(joint, SECONDS)
    assert result.solution is not None
    worth = result.solution.worth
    assert (worth.minus_importance, result.proof.importance) == (-1_000_000, 1_000_000)
    assert worth.time_ns == result.proof.time_ns
    best = brute_force(graph, joint.instance.request)
    assert best is not None
    assert (worth.time_ns, worth.arena_bytes) == (best.time_ns, best.arena_bytes)


def test_infeasible_is_reported() -> None:
    result = solve_levels(model_of(skip(), 119), SECONDS)
    assert result.infeasible
    assert result.solution is None
    assert (result.proof.time_ns, result.proof.arena_bytes) == (None, None)


def test_without_time_nothing_is_claimed() -> None:
    result = solve_levels(model_of(skip()), 0.0)
    assert (result.solution, result.infeasible) == (None, False)
    assert result.proof.time_ns is None


def test_a_stop_ends_it() -> None:
    result = solve_levels(model_of(skip()), SECONDS, clock=Clock(lambda: True))
    assert (result.solution, result.infeasible) == (None, False)


@pytest.mark.parametrize("lns_only", [False, True])
def test_it_goes_on_from_a_known_plan(lns_only: bool) -> None:
    instance = instance_of(diamond())
    table = Table.of(instance)
    names = [work.operation for work in instance.works]
    known = place(table, steps(table, *names), None, 0.0)
    offered: list[Solution] = []
    result = solve_levels(
        build_joint_model(instance),
        0.5 if lns_only else SECONDS,
        hint=known,
        lns_only=lns_only,
        on_solution=offered.append,
    )
    assert result.solution is not None
    assert result.solution.worth <= known.worth
    assert offered[-1].worth == result.solution.worth
