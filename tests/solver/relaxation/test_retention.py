from __future__ import annotations

import random
from dataclasses import replace
from itertools import product

import pytest

from benchmarks.planners.ours import as_graph, as_request
from benchmarks.planners.problem import Problem, simulate
from memplan.solver import Techniques, solve
from memplan.solver.build_instance import build_instance
from memplan.solver.clock import WALL
from memplan.solver.relaxation.recomputation import RecomputationBound
from memplan.solver.relaxation.retention import even_cuts, retention_program
from memplan.solver.relaxation.timeline import Timeline, timeline_of
from memplan.solver.restrictions import suppose_a_line
from memplan.solver.schedule import Table


def random_problem(seed: int, forward: int = 4) -> Problem:
    """A small forward graph, and a backward that reads what is beside it."""
    chance = random.Random(seed)
    inputs: list[tuple[int, ...]] = []
    for operation in range(forward):
        earlier = range(max(0, operation - 3), operation)
        count = min(len(earlier), chance.choice((1, 1, 2)))
        inputs.append(tuple(sorted(chance.sample(earlier, count))))
    for operation in range(forward):
        mirrored = forward - 1 - operation
        reads = {forward + operation - 1, mirrored}
        if chance.random() < 0.6 and mirrored:
            reads.add(mirrored - 1)
        inputs.append(tuple(sorted(reads)))
    sizes = tuple(chance.randint(1, 20) for _ in inputs)
    costs = tuple(chance.randint(1, 30) for _ in inputs)
    phases = tuple(operation < forward for operation in range(2 * forward))
    return Problem(f"random{seed}", costs, sizes, phases, tuple(inputs))


def late_problem(seed: int) -> Problem:
    """A small graph with an operation behind the first that may not run again, which may."""
    problem = random_problem(seed, forward=3)
    chance = random.Random(seed)
    at = chance.choice((4, 5))

    def moved(o: int) -> int:
        return o if o < at else o + 1

    inputs = [tuple(moved(read) for read in reads) for reads in problem.inputs]
    inputs.insert(at, tuple(sorted(chance.sample(range(3), 2))))
    for later in range(at + 1, len(inputs)):
        if chance.random() < 0.8:
            inputs[later] = tuple(sorted({*inputs[later], at}))
    costs, sizes, phases = list(problem.costs), list(problem.sizes_bytes), list(problem.forward)
    costs.insert(at, chance.randint(1, 10))
    sizes.insert(at, chance.randint(5, 20))
    phases.insert(at, True)
    return Problem(f"late{seed}", tuple(costs), tuple(sizes), tuple(phases), tuple(inputs))


def least_cost(problem: Problem, limit_bytes: int, *, within: bool = False) -> int | None:
    """Try every set of recomputations, each set right before every operation.

    Args:
        within: before operations of the forward pass, too.
    """
    forward = problem.forward.index(False)
    least = None
    begin = 2 if within else forward + 1
    stages = range(begin, problem.count)
    free = [[o for o in range(stage) if problem.forward[o]] for stage in stages]
    for chosen in product(*(range(2 ** len(own)) for own in free)):
        sequence = list(range(begin))
        for stage, own, bits in zip(stages, free, chosen, strict=True):
            sequence += [o for place, o in enumerate(own) if bits >> place & 1]
            sequence.append(stage)
        cost = sum(problem.costs[o] for o in sequence)
        if (least is None or cost < least) and simulate(
            problem, sequence
        ).peak_bytes <= limit_bytes:
            least = cost
    return least


def line_of(problem: Problem, limit_bytes: int) -> Timeline:
    instance = build_instance(as_graph(problem), as_request(limit_bytes, 1.0), 1)
    line = timeline_of(Table.of(instance), [(o, 0) for o in range(problem.count)])
    assert line is not None
    assert line.forward + len(line.late) == sum(problem.forward)
    return line


@pytest.mark.parametrize("seed", range(14))
@pytest.mark.parametrize("part", [0.55, 0.75])
def test_no_bound_is_above_the_cheapest_recomputation(seed: int, part: float) -> None:
    problem = random_problem(seed)
    limit = int(problem.plain_peak_bytes * part)
    least = least_cost(problem, limit)
    if least is None:
        return
    line = line_of(problem, limit)
    for blocks in (1, 2, 8):
        program = retention_program(line, limit, even_cuts(line, blocks))
        linear, whole = program.lower_bound(5.0), program.whole_lower_bound(5.0)
        assert problem.base_cost + linear <= least
        assert linear <= whole
        assert problem.base_cost + whole <= least


@pytest.mark.parametrize("seed", range(10))
def test_neither_with_cuts_anywhere(seed: int) -> None:
    problem = random_problem(seed)
    chance = random.Random(seed)
    for part in (0.6, 0.7, 0.8):
        limit = int(problem.plain_peak_bytes * part)
        least = least_cost(problem, limit)
        if least is None:
            continue
        line = line_of(problem, limit)
        places = range(line.forward + 1, len(line.reads))
        for count in (1, 2, 3):
            cuts = (line.forward, *sorted(chance.sample(places, count)))
            program = retention_program(line, limit, cuts)
            assert problem.base_cost + program.whole_lower_bound(5.0) <= least


@pytest.mark.parametrize("seed", range(12))
def test_neither_where_the_forward_runs_again_too(seed: int) -> None:
    problem = random_problem(seed, forward=3)
    limit = int(problem.plain_peak_bytes * 0.7)
    least = least_cost(problem, limit, within=True)
    if least is None:
        return
    line = replace(line_of(problem, limit), again_in_forward=True)
    for blocks in (1, 2, 8):
        program = retention_program(line, limit, even_cuts(line, blocks))
        assert problem.base_cost + program.whole_lower_bound(5.0) <= least


@pytest.mark.parametrize("part", [0.75, 0.85, 0.92])
def test_neither_where_something_that_may_run_again_comes_late(part: float) -> None:
    met = 0
    for seed in range(12):
        problem = late_problem(seed)
        limit = int(problem.plain_peak_bytes * part)
        least = least_cost(problem, limit)
        if least is None:
            continue
        line = line_of(problem, limit)
        assert line.late
        bounds = []
        for blocks in (1, 2, 8):
            program = retention_program(line, limit, even_cuts(line, blocks))
            linear, whole = program.lower_bound(5.0), program.whole_lower_bound(5.0)
            assert linear <= whole
            assert problem.base_cost + whole <= least
            bounds.append(problem.base_cost + whole)
        met += max(bounds) == least > problem.base_cost
    assert met >= 1


def test_some_bounds_are_met() -> None:
    met = 0
    for seed in range(10):
        problem = random_problem(seed)
        limit = int(problem.plain_peak_bytes * 0.75)
        least = least_cost(problem, limit)
        bound = RecomputationBound(line_of(problem, limit), limit)
        bound.sharpen(10**9, 10.0, WALL)
        assert bound.exhausted
        met += least == bound.trip_time_ns and bound.extra_ns > 0
    assert met >= 3


def test_with_room_for_everything_nothing_must_run_again() -> None:
    problem = random_problem(3)
    line = line_of(problem, problem.plain_peak_bytes)
    for blocks in (1, 8):
        cuts = even_cuts(line, blocks)
        program = retention_program(line, problem.plain_peak_bytes, cuts)
        assert program.whole_lower_bound(5.0) == 0


def test_cuts_begin_with_the_backward_pass() -> None:
    line = line_of(random_problem(5, forward=12), 1)
    for blocks in (1, 3, 100):
        cuts = even_cuts(line, blocks)
        assert cuts[0] == 12
        assert list(cuts) == sorted(set(cuts))
        assert len(cuts) <= blocks


def test_the_line_of_a_schedule_knows_where_it_runs_again() -> None:
    problem = random_problem(2)
    table = Table.of(build_instance(as_graph(problem), as_request(10**6, 1.0), 1))
    plain = [(o, 0) for o in range(problem.count)]
    for schedule, within in (
        (plain, False),
        ([(0, 0), *plain], True),
        ([*plain[:5], (1, 0), *plain[5:]], False),
    ):
        line = timeline_of(table, schedule)
        assert line is not None
        assert line.again_in_forward == within
    assert timeline_of(table, [*plain, (6, 0)]) is None


def test_a_plan_says_what_its_bound_supposes() -> None:
    problem = random_problem(7, forward=25)
    limit = int(problem.plain_peak_bytes * 0.7)
    techniques = Techniques.without("any_order_bound", "order_search")
    answer = solve(as_graph(problem), as_request(limit, 6.0), techniques=techniques)
    assert answer.plan is not None
    certificate = answer.plan.certificate
    assert certificate.lower_bound_time_ns == problem.base_cost
    (time,) = [level for level in certificate.levels if level.name == "time_ns"]
    assert time.bound is not None
    assert problem.base_cost <= time.bound <= time.value
    if time.bound > problem.base_cost:
        assert suppose_a_line(certificate.restrictions)
