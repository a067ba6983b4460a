from __future__ import annotations

import pytest

from memplan.ir.request import LayerUpdate
from memplan.solver.instance import Instance
from memplan.solver.joint import JointModel
from tests.solver.problems import model_of, skip, solve_model
from tests.support.hand_graphs import chain, statistics, two_layers


def work(instance: Instance, operation: str) -> int:
    return next(v for v, w in enumerate(instance.works) if w.operation == operation)


def runs_in(joint: JointModel, operation: str) -> bool:
    """Solve, and tell whether an operation runs."""
    solver, feasible = solve_model(joint)
    assert feasible
    return solver.boolean_value(joint.runs[work(joint.instance, operation), 0])


def choose(joint: JointModel, layer: str, update: LayerUpdate | None) -> None:
    """Hold a layer at one of its options."""
    for choice, literals in zip(joint.instance.choices, joint.option, strict=True):
        if choice.layer == layer:
            joint.model.add(literals[choice.options.index(update)] == 1)


def test_what_is_needed_runs() -> None:
    joint = model_of(skip())
    solver, feasible = solve_model(joint)
    assert feasible
    assert all(solver.boolean_value(joint.runs[v, 0]) for v in range(5))


def test_what_is_needed_cannot_be_left_out() -> None:
    joint = model_of(skip())
    joint.model.add(joint.runs[1, 0] == 0)
    _, feasible = solve_model(joint)
    assert not feasible


def test_a_later_computation_supposes_the_earlier_ones() -> None:
    joint = model_of(skip())
    joint.model.add(joint.runs[0, 1] == 0)
    joint.model.add(joint.runs[0, 2] == 1)
    _, feasible = solve_model(joint)
    assert not feasible


def test_what_may_not_run_again_has_one_computation() -> None:
    joint = model_of(skip(recomputable=False))
    assert sorted(joint.runs) == [(v, 0) for v in range(5)]
    _, feasible = solve_model(joint)
    assert feasible


@pytest.mark.parametrize("update", [None, LayerUpdate(layer="head", weight="whole")])
def test_updates_follow_the_mask(update: LayerUpdate | None) -> None:
    joint = model_of(chain(1), update="auto")
    choose(joint, "head", update)
    assert runs_in(joint, "update.w") == (update is not None)


def test_an_update_that_the_mask_wants_cannot_be_left_out() -> None:
    joint = model_of(chain(1), update="auto")
    choose(joint, "head", LayerUpdate(layer="head", weight="whole"))
    joint.model.add(joint.runs[work(joint.instance, "update.w"), 0] == 0)
    _, feasible = solve_model(joint)
    assert not feasible


def test_something_is_updated() -> None:
    joint = model_of(chain(1), update="auto")
    choose(joint, "head", None)
    assert runs_in(joint, "update.b")
    choose(joint, "stem", None)
    _, feasible = solve_model(joint)
    assert not feasible


def test_the_mask_decides_which_ways_are_allowed() -> None:
    sliced = LayerUpdate(layer="l2", bias=True, weight="input", channels=(0, 1))
    for wanted, way in ((True, 1), (False, 0)):
        joint = model_of(two_layers(), update="auto", slice_divisors=(2,), computations=1)
        choose(joint, "l2", sliced)
        choose(joint, "l1", None)
        gradient = work(joint.instance, "linear2.weight_gradient")
        joint.model.add(joint.way[gradient, 0, way] == 1)
        _, feasible = solve_model(joint)
        assert feasible == wanted


def test_statistics_run_whatever_the_mask() -> None:
    joint = model_of(statistics(), update="auto")
    assert runs_in(joint, "bn.statistics")
    joint.model.add(joint.runs[work(joint.instance, "bn.statistics"), 0] == 0)
    _, feasible = solve_model(joint)
    assert not feasible
