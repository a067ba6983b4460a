from __future__ import annotations

from memplan.solver.joint import JointModel
from tests.solver.joint.test_execution import work
from tests.solver.problems import line, model_of, skip, solve_model


def item(joint: JointModel, tensor: str) -> int:
    return next(t for t, entry in enumerate(joint.instance.items) if entry.tensor == tensor)


def test_an_instance_is_kept_until_its_last_reader() -> None:
    joint = model_of(skip(recomputable=False))
    solver, feasible = solve_model(joint)
    assert feasible
    # The order is that of the line: join, which reads a, is step 4.
    assert solver.value(joint.end[item(joint, "a"), 0]) >= 5
    assert solver.value(joint.end[item(joint, "x"), 0]) >= 1


def test_an_instance_cannot_be_dropped_before_its_reader() -> None:
    joint = model_of(skip(recomputable=False))
    joint.model.add(joint.end[item(joint, "a"), 0] <= 4)
    assert not solve_model(joint)[1]


def test_dropped_and_computed_again() -> None:
    joint = model_of(skip())
    a, join = item(joint, "a"), work(joint.instance, "join")
    joint.model.add(joint.end[a, 0] <= 3)
    solver, feasible = solve_model(joint)
    assert feasible
    assert not solver.boolean_value(joint.serves[join, 0, a, 0])
    assert any(solver.boolean_value(joint.serves[join, 0, a, d]) for d in (1, 2))


def test_each_read_is_served_once() -> None:
    joint = model_of(skip())
    a, join = item(joint, "a"), work(joint.instance, "join")
    solver, feasible = solve_model(joint)
    assert feasible
    assert sum(solver.boolean_value(joint.serves[join, 0, a, d]) for d in range(3)) == 1
    for d in (0, 1):
        joint.model.add(joint.serves[join, 0, a, d] == 1)
    assert not solve_model(joint)[1]


def test_an_instance_does_not_serve_before_it_is_there() -> None:
    joint = model_of(skip())
    a, join = item(joint, "a"), work(joint.instance, "join")
    joint.model.add(joint.serves[join, 0, a, 1] == 1)
    assert solve_model(joint)[1]
    joint.model.add(joint.start[join, 0] < joint.start[work(joint.instance, "f"), 1])
    assert not solve_model(joint)[1]


def test_outputs_stay() -> None:
    joint = model_of(line(4, 8, 8))
    out = item(joint, "t1")
    solver, feasible = solve_model(joint)
    assert feasible
    assert solver.value(joint.end[out, 0]) == joint.beyond
    for d in range(3):
        joint.model.add(joint.end[out, d] < joint.beyond)
    assert not solve_model(joint)[1]


def test_nothing_is_computed_for_nobody() -> None:
    joint = model_of(line(4, 8, 8))
    # f0's only reader is f1; if that runs once, a second f0 would serve nobody.
    joint.model.add(joint.runs[1, 1] == 0)
    assert solve_model(joint)[1]
    joint.model.add(joint.runs[0, 1] == 1)
    assert not solve_model(joint)[1]
