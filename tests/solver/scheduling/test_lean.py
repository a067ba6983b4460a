from __future__ import annotations

import pytest

from memplan.ir.graph import OpGraph
from memplan.ir.request import LayerUpdate
from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.lean import lean_schedule
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule, saving_ways
from tests.solver.problems import table_of
from tests.support.graph_builder import GraphBuilder, alternative
from tests.support.hand_graphs import HAND_GRAPHS, block
from tests.support.random_graphs import random_graph


def names(table: Table, schedule: list[tuple[int, int]]) -> list[str]:
    works = table.instance.works
    return [f"{works[v].operation}:{works[v].ways[w].name}" for v, w in schedule]


def test_a_block_runs_as_one_where_that_spares_its_wide_tensor() -> None:
    table = table_of(block(), batch=2)
    lean = lean_schedule(table, fastest_ways(table))
    ran = names(table, lean)
    assert "narrow.back:strips_update" in ran
    assert not {"widen:plain", "w1.back:plain", "update.w1:plain"} & set(ran)
    plain = live_peak(table, needed_schedule(table, fastest_ways(table)))
    peak = live_peak(table, lean)
    assert plain is not None
    assert peak is not None
    assert peak < plain / 2


def test_a_block_runs_for_its_updates_alone() -> None:
    mask = (LayerUpdate(layer="l1", weight="whole", bias=True),)
    table = table_of(block(), batch=2, update=mask)
    # No one reads the gradient of ``narrow``, as ``l0`` is frozen.
    assert "narrow.back:plain" not in names(table, needed_schedule(table, fastest_ways(table)))
    lean = lean_schedule(table, fastest_ways(table))
    assert "narrow.back:strips_update" in names(table, lean)
    peak, plain = (
        live_peak(table, lean),
        live_peak(table, needed_schedule(table, saving_ways(table))),
    )
    assert peak is not None
    assert plain is not None
    assert peak < plain


def rows(*, saved: bool, rows_moved: int = 0) -> OpGraph:
    """A chain whose end can be had without its wide middle; the backward may read the middle."""
    build = GraphBuilder("rows", symbolic=False, traced_batch=1)
    build.tensor("x", "input", 16)
    build.tensor("w", "parameter", 8)
    build.layer("head", weight="w", parameters=2, macs=1)
    build.forward("widen", "wide", 400, alternative(["x"], macs=5))
    ways = [
        alternative(["wide"], macs=5),
        alternative(["x"], "rows", macs=10, moved=rows_moved, workspace=40),
    ]
    build.tensor("y", "activation", 16)
    build.operation("narrow", "forward", ways, ["y"], recomputable=True)
    build.forward("loss", "loss", 4, alternative(["y", "w"], macs=1), recomputable=False)
    read = alternative(["y", "wide"] if saved else ["y"], macs=1)
    build.backward("w.back", "g.w", 8, read, layer="head")
    build.updates("w", alternative(["w", "g.w"]), layer="head")
    return build.build(["loss"])


@pytest.mark.parametrize("saved", [False, True])
def test_reading_past_a_tensor_pays_where_no_one_else_reads_it(saved: bool) -> None:
    table = table_of(rows(saved=saved), batch=1)
    ran = names(table, lean_schedule(table, fastest_ways(table)))
    assert ("narrow:rows" in ran) != saved
    assert ("widen:plain" in ran) == saved


@pytest.mark.parametrize("name", HAND_GRAPHS)
def test_it_is_a_schedule_of_any_graph(name: str) -> None:
    graph = HAND_GRAPHS[name]()
    table = table_of(graph, batch=graph.traced_batch)
    for ways in (fastest_ways(table), saving_ways(table)):
        assert live_peak(table, lean_schedule(table, ways)) is not None


@pytest.mark.parametrize("seed", range(20))
def test_it_is_a_schedule_of_random_graphs(seed: int) -> None:
    table = table_of(random_graph(seed), batch=2)
    assert live_peak(table, lean_schedule(table, fastest_ways(table))) is not None
