"""What minimum cuts keep: of fewest bytes, and enough."""

from __future__ import annotations

import math
from itertools import combinations

import pytest

from benchmarks.planners.ours import as_graph, as_request
from benchmarks.planners.torch_graphs import traced
from memplan.solver.build_instance import build_instance
from memplan.solver.local_search.leave_out import with_less_recomputed
from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.cuts import kept_by_cut, schedules_of_cuts
from memplan.solver.scheduling.orders import starting_orders
from tests.solver.problems import request
from tests.support.random_graphs import random_graph

Steps = tuple[tuple[int, int], ...]


def _table(seed: int) -> tuple[Table, Steps]:
    graph = random_graph(seed)
    instance = build_instance(graph, request(graph, update="full"), graph.traced_batch)
    table = Table.of(instance)
    return table, starting_orders(table, traced_only=True)[0]


def _is_enough(table: Table, order: Steps, border: float, kept: frozenset[int]) -> bool:
    """Tell whether what is read behind the forward pass comes from what is kept, all cheap."""
    works = table.instance.works
    way_of = dict(order)
    wanted = [
        item
        for work, way in order
        if not works[work].recomputable
        for item in table.reads[work][way]
    ] + sorted(table.kept)
    seen: set[int] = set()
    while wanted:
        item = wanted.pop()
        work = table.producer.get(item)
        if work is None or item in seen or item in kept or not works[work].recomputable:
            continue
        seen.add(item)
        size = sum(table.size[each] for each in table.writes[work])
        if table.size[item] and table.time_ns[work][way_of[work]] / max(1, size) > border:
            return False
        wanted += table.reads[work][way_of[work]]
    return True


@pytest.mark.parametrize("seed", range(12))
def test_fewest_bytes_that_are_enough(seed: int) -> None:
    table, order = _table(seed)
    works = table.instance.works
    items = [
        item
        for work, _ in order
        if works[work].recomputable
        for item in table.writes[work]
        if table.size[item]
    ]
    assert len(items) <= 12
    if not items:
        assert schedules_of_cuts(table, [order], 0, math.inf) == []
    for border in (0.0, 0.02, 0.1, 1.0, 1e9):
        kept = kept_by_cut(table, order, border)
        assert _is_enough(table, order, border, kept)
        least = min(
            sum(table.size[item] for item in chosen)
            for count in range(len(items) + 1)
            for chosen in combinations(items, count)
            if _is_enough(table, order, border, frozenset(chosen))
        )
        assert sum(table.size[item] for item in kept) == least


@pytest.mark.parametrize("seed", range(12))
def test_schedules_are_valid_and_recompute_no_more_than_the_limit_asks(seed: int) -> None:
    table, order = _table(seed)
    plain, roomy = live_peak(table, order), 1 << 40
    assert plain is not None
    assert schedules_of_cuts(table, [order], roomy, math.inf) in ([order], [])
    for limit in (plain - 1, plain // 2):
        for steps in schedules_of_cuts(table, [order], limit, math.inf):
            peak = live_peak(table, steps)
            assert peak is not None
            if peak <= limit:  # at one of the aims
                aims = (int(part * limit) for part in (1.0, 0.995, 0.98))
                assert any(
                    with_less_recomputed(table, steps, aim, math.inf) == steps
                    for aim in aims
                    if peak <= aim
                )


def test_a_chain_with_cheap_parts_keeps_the_dear_ones() -> None:
    problem = traced("conv-bn-relu-7").problem
    budget = problem.plain_peak_bytes * 7 // 10
    graph = as_graph(problem)
    table = Table.of(build_instance(graph, as_request(budget, 1.0), 1))
    order = starting_orders(table, traced_only=True)[0]
    found = [
        steps
        for steps in schedules_of_cuts(table, [order], budget, math.inf)
        if (live_peak(table, steps) or budget + 1) <= budget
    ]
    extra = min(table.trip_time_ns(steps) for steps in found) - table.trip_time_ns(order)
    dearest = max(table.time_ns[work][way] for work, way in order)
    assert 0 < extra < dearest  # no convolution runs again
