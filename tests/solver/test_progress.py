from __future__ import annotations

from memplan.solver import Progress, solve
from memplan.solver.progress import Reporter
from tests.solver.problems import request, skip
from tests.support.hand_graphs import two_layers


def test_stages_are_told_in_turn_and_time_only_grows() -> None:
    told: list[Progress] = []
    graph = two_layers()
    asked = request(graph, 700, update="auto", slice_divisors=(2,), time_limit_seconds=1.0)
    answer = solve(graph, asked, progress=told.append)
    assert answer.plan is not None
    assert told[0].stage == "bounds"
    stages = {progress.stage.split(",")[0] for progress in told}
    assert {"bounds", "update mask", "joint model"} <= stages
    elapsed = [progress.elapsed_seconds for progress in told]
    assert elapsed == sorted(elapsed)
    assert all(seconds >= 0 for seconds in elapsed)


def test_incumbents_get_better_and_bounds_are_told() -> None:
    told: list[Progress] = []
    graph = two_layers()
    asked = request(graph, 700, update="auto", slice_divisors=(2,), time_limit_seconds=1.0)
    answer = solve(graph, asked, progress=told.append)
    worths = [(-p.importance, p.time_ns) for p in told if p.importance is not None]
    assert worths == sorted(worths, reverse=True)
    assert told[-1].lower_bound_bytes == answer.lower_bound_bytes


def test_no_more_than_five_times_a_second_within_a_stage() -> None:
    told: list[Progress] = []
    reporter = Reporter(told.append)
    for _ in range(50):
        reporter.tell("greedy")
    reporter.tell("joint model", arena_bytes=7)
    assert [progress.stage for progress in told].count("joint model") == 1
    assert told[-1].arena_bytes == 7
    assert len(told) < 50


def test_nobody_needs_to_listen() -> None:
    Reporter(None).tell("bounds")
    assert solve(skip(), request(skip(), 120)).plan is not None
