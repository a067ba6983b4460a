from __future__ import annotations

from memplan.solver.joint import build_joint_model
from tests.solver.joint.test_execution import work
from tests.solver.problems import fork, instance_of, model_of, skip, solve_model
from tests.support.hand_graphs import chain


def test_one_computation_per_step_and_no_gaps() -> None:
    joint = model_of(skip())
    joint.model.maximize(sum(joint.runs.values()))
    solver, feasible = solve_model(joint)
    assert feasible
    starts = sorted(
        solver.value(joint.start[key])
        for key, runs in joint.runs.items()
        if solver.boolean_value(runs)
    )
    assert starts == list(range(len(starts)))


def test_steps_that_are_left_empty_are_refused() -> None:
    joint = model_of(skip(recomputable=False))
    # Five computations take steps 0 to 4.
    joint.model.add(joint.start[4, 0] == 5)
    _, feasible = solve_model(joint)
    assert not feasible


def test_producers_come_first() -> None:
    joint = model_of(fork())
    stem, right = work(joint.instance, "stem"), work(joint.instance, "right")
    # Right does not depend on the stem: both orders are possible.
    for first, second in ((stem, right), (right, stem)):
        either = model_of(fork())
        either.model.add(either.start[first, 0] < either.start[second, 0])
        assert solve_model(either)[1]
    left = work(joint.instance, "left")
    joint.model.add(joint.start[left, 0] < joint.start[stem, 0])
    assert not solve_model(joint)[1]


def test_computations_are_numbered_in_time() -> None:
    joint = model_of(skip())
    joint.model.add(joint.runs[0, 1] == 1)
    joint.model.add(joint.start[0, 1] < joint.start[0, 0])
    assert not solve_model(joint)[1]


def test_a_weight_is_read_before_its_update() -> None:
    for update_first in (False, True):
        joint = model_of(chain(1), computations=1)
        update = work(joint.instance, "update.w")
        reader = work(joint.instance, "head.input_gradient")
        if update_first:
            joint.model.add(joint.start[update, 0] < joint.start[reader, 0])
        else:
            joint.model.add(joint.start[update, 0] > joint.start[reader, 0])
        assert solve_model(joint)[1] == (not update_first)


def test_windows_hold_computations_to_steps() -> None:
    instance = instance_of(skip())
    ones = (1,) * 5
    exact = {(v, 0): (v, v) for v in range(5)}
    joint = build_joint_model(instance, ones, exact)
    solver, feasible = solve_model(joint)
    assert feasible
    assert [solver.value(joint.start[v, 0]) for v in range(5)] == [0, 1, 2, 3, 4]
    wrong = exact | {(0, 0): (1, 1), (1, 0): (0, 0)}
    assert not solve_model(build_joint_model(instance, ones, wrong))[1]
