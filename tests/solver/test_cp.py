from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from ortools.sat.python import cp_model

from memplan.solver.clock import Clock, never
from memplan.solver.cp import Interim, solve_model


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

    seen: list[Interim] = []

    def watch(interim: Interim) -> None:
        if interim.best is not None:
            seen.append(replace(interim))

    _, status = solve_model(model, 600.0, 0, 1, Clock(stop), watch=watch)
    assert status in (cp_model.FEASIBLE, cp_model.UNKNOWN)
    assert len(polls) > 2
    for interim in seen:
        assert interim.best is not None
        assert interim.best.value(marks[-1]) >= (interim.objective or 0) > 0
        assert interim.bound is not None


def test_what_was_found_so_far_is_asked_as_a_solver_is() -> None:
    model = cp_model.CpModel()
    x, yes, no = model.new_int_var(3, 10, "x"), model.new_bool_var("a"), model.new_bool_var("b")
    model.add(yes == 1)
    model.add(no == 0)
    model.minimize(x)
    seen: list[Interim] = []
    solve_model(model, 10.0, 0, 1, watch=seen.append)
    best = seen[-1].best
    assert best is not None
    assert (best.value(x), best.boolean_value(yes), best.boolean_value(no)) == (3, True, False)
    assert seen[-1].objective == 3
