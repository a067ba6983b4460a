"""Segments that run again: valid schedules, of the bytes and the time that borders promise."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from benchmarks.planners.ours import as_graph, as_request
from benchmarks.planners.problem import Problem
from memplan.solver.build_instance import build_instance
from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.orders import starting_orders
from memplan.solver.scheduling.segments import run_again_by_segments, schedules_of_segments
from tests.solver.problems import request
from tests.support.random_graphs import random_graph

Steps = tuple[tuple[int, int], ...]

_BYTES = 16


def _chain(length: int) -> tuple[Table, Steps]:
    """Return a chain whose backward operations read a forward result and the gradient."""
    forward = [((place - 1,) if place else ()) for place in range(length)]
    backward = [(length - 1 - place, length - 1 + place) for place in range(length)]
    problem = Problem(
        "chain",
        (1,) * (2 * length),
        (_BYTES,) * (2 * length),
        (True,) * length + (False,) * length,
        tuple(tuple(dict.fromkeys(reads)) for reads in forward + backward),
    )
    return _table(problem, problem.plain_peak_bytes)


def _table(problem: Problem, budget_bytes: int) -> tuple[Table, Steps]:
    table = Table.of(build_instance(as_graph(problem), as_request(budget_bytes, 1.0), 1))
    return table, starting_orders(table, traced_only=True)[0]


def _computations(table: Table, steps: Steps) -> list[int]:
    count = Counter(work for work, _ in steps)
    return [count[work] for work in range(len(table.instance.works))]


@pytest.mark.parametrize(("length", "count"), [(64, 2), (64, 4), (64, 8), (60, 7), (5, 32)])
def test_a_chain_keeps_a_border_for_each_segment_and_one_segment(length: int, count: int) -> None:
    table, order = _chain(length)
    steps = tuple(run_again_by_segments(table, order, count))
    peak, segment = live_peak(table, steps), -(-length // count)
    assert peak is not None
    # Beside them the gradient that is read and the one that is written.
    assert peak <= _BYTES * (count + segment + 3)
    again = _computations(table, steps)
    assert max(again) <= 2
    if count < length:  # the last segment is not run again
        assert sum(again) - 2 * length <= length - segment


def test_two_levels_take_fewer_bytes_and_one_more_forward_pass() -> None:
    table, order = _chain(216)
    one = tuple(run_again_by_segments(table, order, 15))
    two = tuple(run_again_by_segments(table, order, 6, 6))
    peaks = live_peak(table, one), live_peak(table, two)
    assert peaks[0] is not None and peaks[1] is not None
    assert peaks[1] <= _BYTES * (6 + 6 + 6 + 4) < peaks[0]
    assert max(_computations(table, one)) == 2
    assert max(_computations(table, two)) == 3


def test_what_the_limit_does_not_need_is_left_out() -> None:
    table, order = _chain(64)
    plain = live_peak(table, order)
    assert plain is not None
    extra = []
    for part in (0.9, 0.6, 0.4):
        limit = int(part * plain)
        found = schedules_of_segments(table, [order], limit, math.inf)
        assert found and all((live_peak(table, steps) or plain) <= limit for steps in found)
        extra.append(min(len(steps) for steps in found) - len(order))
    assert 0 < extra[0] < extra[1] < extra[2] <= 64


def test_where_none_fits_the_smallest_comes_as_it_is() -> None:
    table, order = _chain(64)
    (smallest,) = schedules_of_segments(table, [order], 0, math.inf)
    peak = live_peak(table, smallest)
    assert peak is not None
    assert all(
        peak <= (live_peak(table, run_again_by_segments(table, order, count, inner)) or 0)
        for count in (2, 4, 8, 16)
        for inner in (1, 2, 3, 4)
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("count", "inner"), [(1, 1), (2, 1), (3, 1), (2, 2), (3, 4)])
def test_schedules_of_random_graphs_are_valid(seed: int, count: int, inner: int) -> None:
    graph = random_graph(seed)
    instance = build_instance(graph, request(graph, update="full"), graph.traced_batch)
    table = Table.of(instance)
    order = starting_orders(table, traced_only=True)[0]
    steps = run_again_by_segments(table, order, count, inner)
    assert live_peak(table, steps) is not None
    first = dict.fromkeys(work for work, _ in steps)
    assert list(first) == [work for work, _ in order]
    if count * inner == 1:  # everything is kept
        assert tuple(steps) == tuple(order)
