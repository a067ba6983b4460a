from __future__ import annotations

import itertools
import random

import pytest

from memplan.solver.relaxation.linear import LinearProgram


def random_program(seed: int, variables: int = 8, rows: int = 10) -> LinearProgram:
    chance = random.Random(seed)
    program = LinearProgram()
    for _ in range(variables):
        program.variable(chance.randint(0, 1000))
    for _ in range(rows):
        terms = [(v, chance.choice((-1, 1, 2))) for v in chance.sample(range(variables), 3)]
        most = sum(max(0, factor) for _, factor in terms)
        program.at_least(terms, chance.randint(-1, most))
    return program


def least_of_whole_solutions(program: LinearProgram) -> int | None:
    costs = [
        sum(c * x for c, x in zip(program.costs, values, strict=True))
        for values in itertools.product((0, 1), repeat=len(program.costs))
        if all(sum(f * values[v] for v, f in terms) >= bound for terms, bound in program.rows)
    ]
    return min(costs, default=None)


@pytest.mark.parametrize("seed", range(30))
def test_the_bound_is_never_above_a_whole_solution(seed: int) -> None:
    program = random_program(seed)
    least = least_of_whole_solutions(program)
    if least is not None:
        assert 0 <= program.lower_bound(1.0) <= least


@pytest.mark.parametrize("seed", range(30))
def test_whatever_the_multipliers_are_the_bound_holds(seed: int) -> None:
    program = random_program(seed)
    least = least_of_whole_solutions(program)
    chance = random.Random(seed)
    multipliers = [chance.uniform(-100, 400) for _ in program.rows]
    if least is not None:
        assert program.bound_by(multipliers) <= least


def test_a_path_is_bounded_exactly() -> None:
    program = LinearProgram()
    first, second, last = (program.variable(cost) for cost in (10**12 + 1, 7, 3))
    program.at_least([(last, 1)], 1)
    program.at_least([(second, 1), (last, -1)], 0)
    program.at_least([(first, 1), (second, -1)], 0)
    assert program.lower_bound(1.0) == 10**12 + 11


def test_without_multipliers_nothing_is_proved() -> None:
    program = LinearProgram()
    program.at_least([(program.variable(5), 1)], 1)
    assert program.bound_by([0.0]) == 0
    assert program.bound_by([float(5)]) == 5


def test_a_row_may_name_a_variable_twice() -> None:
    program = LinearProgram()
    first, second = program.variable(5), program.variable(7)
    program.at_least([(first, 1), (second, 1), (first, 1)], 2)
    assert program.lower_bound(1.0) == 5
    assert program.whole(1.0).values == (1.0, 0.0)


def test_without_a_solution_the_bound_is_above_all_costs() -> None:
    proved = 0
    for seed in range(60):
        program = random_program(seed, rows=9)
        bound = program.lower_bound(1.0)
        least = least_of_whole_solutions(program)
        if bound > sum(program.costs):
            assert least is None
            proved += 1
        elif least is not None:
            assert bound <= least
    assert 10 < proved < 60


def test_rows_of_bytes_that_contradict_each_other() -> None:
    program = LinearProgram()
    first, second = program.variable(10**9), program.variable(3)
    program.at_least([(first, -(10**8)), (second, -(10**8) - 1)], -(10**8))
    program.at_least([(first, 1)], 1)
    assert program.lower_bound(1.0) == 10**9
    program.at_least([(second, 1)], 1)
    assert program.lower_bound(1.0) > 10**9 + 3
