from __future__ import annotations

from functools import cache
from itertools import combinations

import pytest

from memplan.ir.check import check
from memplan.ir.graph import OpGraph
from memplan.ir.request import PlanRequest
from memplan.solver import Techniques, solve
from tests.solver.problems import request, skip, worth_of
from tests.support.brute_force import Best, brute_force
from tests.support.hand_graphs import diamond
from tests.support.random_graphs import random_graph

NAMES = Techniques.names()

#: Budgets: recomputation is needed; nothing fits; less than everything can be updated;
#: the batch must be divided.
PROBLEMS = {"skip": 120, "diamond": 240, "masks": 202, "parts": 248}


@cache
def problem(name: str) -> tuple[OpGraph, PlanRequest, Best | None]:
    graph = {
        "skip": skip(),
        "diamond": diamond(),
        "masks": random_graph(3, "train", tiny=True),
        "parts": random_graph(4, "train", tiny=True),
    }[name]
    asked = request(
        graph,
        PROBLEMS[name],
        update="auto",
        slice_divisors=(2,),
        time_limit_seconds=0.3,
        compute_limit=None,
        computations=2,
    )
    return graph, asked, brute_force(graph, asked)


#: What is switched off: nothing, one, two, all but one, everything.
LEFT_OUT = [
    *(names for count in (0, 1, 2) for names in combinations(NAMES, count)),
    *(tuple(name for name in NAMES if name != kept) for kept in NAMES),
    tuple(NAMES),
]


@pytest.mark.parametrize("off", LEFT_OUT, ids=lambda off: "-".join(off) if len(off) < 4 else None)
def test_whatever_is_switched_off_plans_check_and_claims_hold(off: tuple[str, ...]) -> None:
    names = list(PROBLEMS)
    # A pair meets one of the problems, the next pair the next one.
    for name in names if len(off) != 2 else [names[LEFT_OUT.index(off) % len(names)]]:
        claims_hold(name, off)


def claims_hold(name: str, off: tuple[str, ...]) -> None:
    graph, asked, best = problem(name)
    answer = solve(graph, asked, techniques=Techniques.without(*off))
    if answer.plan is not None:
        assert check(graph, answer.plan).accepted
        assert best is not None
        optimum = (-best.importance, best.time_ns, best.arena_bytes)
        assert worth_of(answer) >= optimum
        assert answer.lower_bound_bytes <= best.arena_bytes
        least_ns = answer.plan.certificate.lower_bound_time_ns
        if least_ns is not None:
            assert answer.plan.totals.importance == best.importance
            assert least_ns <= best.time_ns
        if answer.status == "optimal":
            assert worth_of(answer) == optimum
            assert all(level.gap == 0 for level in answer.plan.certificate.levels)
    else:
        assert answer.status in ("infeasible", "undecided")
        assert answer.explanation is not None
    if answer.status == "infeasible":
        assert best is None


@pytest.mark.parametrize("name", [name for name in PROBLEMS if name != "diamond"])
def test_with_everything_the_optimum_is_found(name: str) -> None:
    graph, asked, best = problem(name)
    # Ends with the proof, long before the limit.
    answer = solve(graph, asked.model_copy(update={"time_limit_seconds": 30.0}))
    assert best is not None
    assert answer.status == "optimal"
    assert worth_of(answer) == (-best.importance, best.time_ns, best.arena_bytes)


def test_switches_by_name() -> None:
    techniques = Techniques.without("greedy", "joint_model")
    assert not techniques.greedy and not techniques.joint_model
    assert techniques.annealing and techniques.mask_model
    with pytest.raises(ValueError, match="no technique 'magic'; there are annealing"):
        Techniques.without("magic")
