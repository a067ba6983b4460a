from __future__ import annotations

import pytest

from memplan.ir.request import LayerUpdate
from memplan.solver.joint import JointModel, extract
from tests.solver.joint.test_execution import choose, work
from tests.solver.problems import model_of, skip, solve_model, time_ns
from tests.support.hand_graphs import chain, two_layers


def best_importance(joint: JointModel) -> int:
    joint.model.maximize(joint.importance)
    solver, feasible = solve_model(joint)
    assert feasible
    return round(solver.objective_value)


def least_time(joint: JointModel) -> int:
    joint.model.minimize(joint.time_ns)
    solver, feasible = solve_model(joint)
    assert feasible
    assert extract(joint, solver).worth.time_ns == round(solver.objective_value)
    return round(solver.objective_value)


def test_importance_is_that_of_the_chosen_options() -> None:
    joint = model_of(chain(1), update="auto", criterion="uniform")
    assert best_importance(joint) == 1_000_000
    choose(joint, "head", None)
    assert best_importance(joint) == 500_000
    choose(joint, "stem", None)
    joint.model.maximize(joint.importance)
    assert not solve_model(joint)[1]


def test_time_counts_every_computation() -> None:
    assert least_time(model_of(skip())) == 5 * time_ns(10)
    assert least_time(model_of(skip(), 120)) == 6 * time_ns(10)


def test_time_counts_trips_and_the_option_of_the_layer() -> None:
    times = []
    for channels in ((0,), (0, 1), (0, 1, 2, 3)):
        half = LayerUpdate(layer="l2", bias=True, weight="input", channels=channels)
        update = (half,) if len(channels) < 4 else (half.model_copy(update={"weight": "whole"}),)
        if len(channels) == 4:
            update = (LayerUpdate(layer="l2", bias=True, weight="whole"),)
        times.append(least_time(model_of(two_layers(), update=update, computations=1)))
    assert times[0] < times[1]
    # An open mask, held at the same option, costs the same.
    joint = model_of(two_layers(), update="auto", slice_divisors=(4, 2), computations=1)
    choose(joint, "l1", None)
    choose(joint, "l2", LayerUpdate(layer="l2", bias=True, weight="input", channels=(0, 1)))
    assert least_time(joint) == times[1]


@pytest.mark.parametrize(
    ("limit", "feasible"), [(0.0, False), (0.19, False), (0.2, True), (1.0, True), (None, True)]
)
def test_the_compute_limit(limit: float | None, feasible: bool) -> None:
    # 120 B need f (10 MACs) once more; one forward pass has 50.
    joint = model_of(skip(), 120, compute_limit=limit)
    assert solve_model(joint)[1] == feasible


def test_extra_macs_are_those_beyond_the_plain_step_of_the_same_mask() -> None:
    # The head alone is updated: the plain step has no input gradient.  Running it is not free.
    update = (LayerUpdate(layer="head", weight="whole"),)
    for limit, feasible in ((0.0, True), (None, True)):
        joint = model_of(chain(1), batch=1, update=update, compute_limit=limit, computations=1)
        assert solve_model(joint)[1] == feasible
    for limit, feasible in ((0.0, False), (1.0, True)):
        joint = model_of(chain(1), batch=1, update="auto", slice_divisors=(), compute_limit=limit)
        choose(joint, "head", LayerUpdate(layer="head", weight="whole"))
        choose(joint, "stem", None)
        again = work(joint.instance, "f0")
        joint.model.add(joint.runs[again, 1] == 1)
        assert solve_model(joint)[1] == feasible
