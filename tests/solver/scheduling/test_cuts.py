"""What minimum cuts keep: of fewest bytes, and enough."""

from __future__ import annotations

from itertools import combinations

import pytest

from memplan.solver.build_instance import build_instance
from memplan.solver.schedule import Table
from memplan.solver.scheduling.cuts import kept_by_cut, weights_of_cuts
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
        assert weights_of_cuts(table, order) == []
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


def test_weights_tell_what_is_kept() -> None:
    table, order = _table(0)
    weights = weights_of_cuts(table, order)
    assert weights
    assert len({tuple(one) for one in weights}) == len(weights)
    assert all(set(one) <= {0.0, one.max()} for one in weights)
