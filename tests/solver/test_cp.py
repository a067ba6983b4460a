from __future__ import annotations

from itertools import pairwise

from ortools.sat.python import cp_model

from memplan.solver.clock import Clock, never
from memplan.solver.cp import solve_model


def test_a_model_is_solved() -> None:
    model = cp_model.CpModel()
    x = model.new_int_var(0, 10, "x")
    model.maximize(x)
    for stop in (never, lambda: False):
        solver, status = solve_model(model, 10.0, 0, 1, Clock(stop))
        assert status == cp_model.OPTIMAL
        assert solver.value(x) == 10


def test_a_stop_ends_a_long_solve() -> None:
    # A Golomb ruler of 16 marks takes CP-SAT much longer than anybody waits.
    model = cp_model.CpModel()
    marks = [model.new_int_var(0, 400, f"mark_{i}") for i in range(16)]
    for first, second in pairwise(marks):
        model.add(first < second)
    model.add_all_different(b - a for i, a in enumerate(marks) for b in marks[i + 1 :])
    model.minimize(marks[-1])
    polls: list[int] = []

    def stop() -> bool:
        polls.append(1)
        return len(polls) > 2

    _, status = solve_model(model, 600.0, 0, 1, Clock(stop))
    assert status in (cp_model.FEASIBLE, cp_model.UNKNOWN)
    assert len(polls) > 2
