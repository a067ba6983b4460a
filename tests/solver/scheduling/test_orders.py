from __future__ import annotations

import pytest

from memplan.solver.schedule import live_peak
from memplan.solver.scheduling.orders import list_schedule, sink_growing, starting_orders
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule
from tests.solver.problems import fork, steps, table_of
from tests.support.hand_graphs import HAND_GRAPHS, chain
from tests.support.random_graphs import random_graph


def test_it_frees_bytes_early() -> None:
    table = table_of(fork())
    order = list_schedule(table, needed_schedule(table, fastest_ways(table)))
    # Right adds 10 B, as the stem still needs x; the stem 100; after it left frees 90.
    assert order[0] == steps(table, "right")[0]
    assert order == tuple(steps(table, "right", "stem", "left", "join"))


def test_what_grows_waits_for_its_first_reader() -> None:
    table = table_of(fork())
    traced = tuple(steps(table, "right", "stem", "left", "join"))
    # Right (5 B to 10 B) is only needed at join; the stem right before left.
    assert sink_growing(table, traced) == tuple(steps(table, "stem", "left", "right", "join"))


def test_an_update_waits_for_the_last_reader_of_its_weight() -> None:
    table = table_of(chain(2))
    order = list_schedule(table, needed_schedule(table, fastest_ways(table)))
    names = [table.instance.works[work].operation for work, _ in order]
    assert names.index("head.input_gradient") < names.index("update.w")


@pytest.mark.parametrize("name", HAND_GRAPHS)
def test_orders_are_valid_and_the_traced_one_is_among_them(name: str) -> None:
    table = table_of(HAND_GRAPHS[name]())
    orders = starting_orders(table)
    assert orders[0] == tuple(needed_schedule(table, fastest_ways(table)))
    assert len(set(orders)) == len(orders)
    assert all(live_peak(table, order) is not None for order in orders)


@pytest.mark.parametrize("seed", range(20))
def test_a_list_schedule_runs_what_is_needed_once(seed: int) -> None:
    table = table_of(random_graph(seed))
    traced = tuple(needed_schedule(table, fastest_ways(table)))
    listed = list_schedule(table, needed_schedule(table, fastest_ways(table)))
    for order in (listed, sink_growing(table, listed), sink_growing(table, traced)):
        assert sorted(order) == sorted(traced)
        assert live_peak(table, order) is not None
