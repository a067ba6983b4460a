from __future__ import annotations

import pytest

from memplan.ir.check import check
from memplan.ir.request import PlanRequest
from memplan.solver import Techniques, solve
from memplan.solver.bounds import lower_bound
from memplan.solver.clock import WorkClock
from memplan.solver.masks.possible import importance_is_proved, try_possible_masks
from memplan.solver.progress import Reporter
from memplan.solver.proofs import unrestricted_proof
from memplan.solver.pursuit import Pursuit, Side
from tests.solver.problems import PLENTY, instance_of, request, worth_of
from tests.support.brute_force import brute_force
from tests.support.hand_graphs import two_layers
from tests.support.random_graphs import random_graph, random_request


def pursue(budget: int, *without: str) -> Pursuit:
    """Return what is found and proved of the masks of two layers of 4 samples in one batch."""
    instance = instance_of(
        two_layers(),
        budget,
        update="auto",
        slice_divisors=(4, 2),
        criterion="uniform",
        micro_batch=4,
        deterministic=True,
    )
    side = Side(4, instance, lower_bound(instance))
    clock = WorkClock()
    pursuit = Pursuit(
        instance.request,
        Techniques.without(*without),
        Reporter(None),
        clock.now() + 60.0,
        clock,
        [side],
    )
    try_possible_masks(pursuit, pursuit.sides, 60.0)
    return pursuit


@pytest.mark.parametrize("budget", [600, 650, PLENTY])
def test_the_most_importance_is_found_and_proved(budget: int) -> None:
    pursuit = pursue(budget)
    best = brute_force(two_layers(), pursuit.request)
    assert best is not None and pursuit.best is not None
    assert -pursuit.best.worth.minus_importance == best.importance
    assert importance_is_proved(pursuit)
    assert pursuit.most_importance == best.importance


def test_it_can_be_switched_off() -> None:
    pursuit = pursue(650, "mask_tree")
    assert pursuit.best is None
    assert pursuit.mask_tree is None
    assert pursuit.most_importance == 1_000_000


def test_time_is_bounded_by_the_fastest_mask_of_that_importance() -> None:
    pursuit = pursue(650)
    assert pursuit.mask_tree is not None and pursuit.best is not None
    importance = -pursuit.best.worth.minus_importance
    alike = pursuit.mask_tree.of_importance(importance)
    assert alike
    side = pursuit.sides[0]
    proof = unrestricted_proof(pursuit, pursuit.sides)
    assert proof.importance == importance
    assert proof.time_ns == min(side.least_time_ns(each.mask) for each in alike)


def test_without_a_proof_of_importance_time_is_not_bounded() -> None:
    pursuit = pursue(650, "mask_tree")
    tried = pursue(650)
    assert tried.best is not None
    pursuit.best = tried.best
    assert not importance_is_proved(pursuit)
    assert unrestricted_proof(pursuit, pursuit.sides).time_ns is None


@pytest.mark.parametrize("seed", range(30))
def test_what_is_claimed_of_random_graphs_holds(seed: int) -> None:
    graph = random_graph(seed, "train", tiny=True)
    changes = {"update": "auto", "time_limit_seconds": 2.0, "workers": 1, "deterministic": True}
    asked = random_request(seed, graph, tiny=True).model_copy(update=changes)
    roomy = brute_force(graph, asked)
    assert roomy is not None
    tight: PlanRequest = asked.model_copy(
        update={"budget_bytes": max(1, roomy.arena_bytes * 9 // 10)}
    )
    best = brute_force(graph, tight)
    answer = solve(graph, tight, techniques=Techniques.without("joint_model"))
    if answer.plan is None:
        return
    assert check(graph, answer.plan).accepted
    assert best is not None
    assert worth_of(answer) >= best.key
    by_name = {level.name: level for level in answer.plan.certificate.levels}
    if "importance" in by_name:
        bound = by_name["importance"].bound
        assert bound is not None and bound >= best.importance
    least = answer.plan.certificate.lower_bound_time_ns
    if least is not None:
        assert (answer.plan.totals.importance, least <= best.time_ns) == (best.importance, True)


def test_a_small_network_is_proved_in_every_level() -> None:
    graph = two_layers()
    asked = request(graph, 650, update="auto", criterion="uniform", time_limit_seconds=20.0)
    with_it = solve(graph, asked, techniques=Techniques.without("joint_model"))
    assert with_it.plan is not None
    assert with_it.plan.certificate.levels[0].gap == 0
