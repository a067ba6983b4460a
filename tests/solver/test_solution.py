from __future__ import annotations

from memplan.solver.schedule import derive
from memplan.solver.solution import Worth, layout, place, plain_costs, worth
from tests.solver.problems import accepted_plan, line, skip, steps, table_of, time_ns
from tests.support.graph_builder import GraphBuilder, alternative
from tests.support.hand_graphs import chain


def test_worth_is_ordered_level_by_level() -> None:
    assert Worth(-10, 99, 99) < Worth(-9, 1, 1)
    assert Worth(-10, 5, 99) < Worth(-10, 6, 1)
    assert Worth(-10, 5, 7) < Worth(-10, 5, 8)


def test_worth_counts_time_per_trip() -> None:
    table = table_of(skip())
    assert worth(table, steps(table, "f", "g", "h"), 7) == Worth(0, 3 * time_ns(10), 7)
    graph = chain(1)
    parts = table_of(graph, batch=4, samples=2)
    outside, macs = plain_costs(parts.instance)
    assert macs == 0
    one = worth(parts, steps(parts, "f0"), 0).time_ns - outside
    assert one == 2 * (1_000 + 2 + 26)  # two trips of 20 MACs and 256 bytes


def test_addresses_at_the_peak_of_live_bytes() -> None:
    table = table_of(skip(), 120)
    solution = place(table, steps(table, "f", "g", "h", "k", "f", "join"), 120, 1.0)
    assert solution.worth.arena_bytes == solution.lifetimes.peak == 120
    accepted_plan(solution)


def test_a_limit_that_cannot_be_had_is_exceeded() -> None:
    table = table_of(skip(), 100)
    solution = place(table, steps(table, "f", "g", "h", "k", "join"), 100, 0.0)
    assert solution.worth.arena_bytes == 176


def test_the_topmost_buffer_is_not_padded() -> None:
    table = table_of(line(5, 9), alignment_bytes=16)
    lifetimes = derive(table, steps(table, "f0"))
    assert layout(lifetimes, (0, 16), table.instance).arena_bytes == 25
    assert layout(lifetimes, (16, 0), table.instance).arena_bytes == 21


def test_a_padded_store_stands_on_top_where_that_helps() -> None:
    build = GraphBuilder("store", symbolic=False, traced_batch=1)
    build.tensor("x", "input", 16)
    build.tensor("w", "parameter", 1)
    build.layer("l", weight="w")
    build.tensor("loss", "activation", 16)
    build.operation("loss", "forward", alternative(["x", "w"], macs=1), ["loss"])
    build.tensor("gw", "gradient", 16)
    build.operation("gw", "backward", alternative(["x"], macs=1), ["gw"], layer="l")
    build.updates("w", alternative(["w", "gw"]), layer="l")
    table = table_of(build.build(["loss"]), alignment_bytes=16)
    solution = place(table, steps(table, "loss", "gw", "update.w"), None, 0.0)
    placed = layout(solution.lifetimes, solution.offsets, table.instance)
    # x, loss and gw fill 48 B; w takes 16 below them, or 1 above.
    assert placed.arena_bytes == 49
    assert (placed.body_offset, placed.stores_offset, placed.last_store) == (0, 48, 0)
    assert accepted_plan(solution).totals.arena_bytes == 49
