from __future__ import annotations

from collections.abc import Mapping

import pytest

from memplan.ir.request import LayerUpdate
from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.ways import (
    fastest_ways,
    light_updates,
    needed_schedule,
    saving_ways,
    starting_ways,
    without_unread,
)
from tests.solver.problems import skip, steps, table_of
from tests.support.hand_graphs import two_layers
from tests.support.random_graphs import random_graph


def _names(table: Table, schedule: list[tuple[int, int]]) -> list[str]:
    works = table.instance.works
    return [f"{works[v].operation}:{works[v].ways[w].name}" for v, w in schedule]


def test_only_what_is_needed_runs() -> None:
    head = (LayerUpdate(layer="l2", weight="whole"),)
    table = table_of(two_layers(), update=head)
    names = _names(table, needed_schedule(table, fastest_ways(table)))
    assert names == [
        "linear1:plain",
        "relu1:plain",
        "linear2:plain",
        "loss:plain",
        "loss.back:plain",
        "linear2.weight_gradient:plain",
        "update.w2:plain",
    ]


def test_the_fastest_way_counts_what_it_spares() -> None:
    table = table_of(two_layers(), batch=1)
    # Fused: 1,000 + 10 + 32; plain: 1,000 + 24, and the gradient's 1,000 + 10 + 16.
    assert "update.w1:fused" in _names(table, needed_schedule(table, fastest_ways(table)))


def test_saving_ways_keep_fewer_bytes_for_the_backward() -> None:
    input_slice = LayerUpdate(layer="l2", bias=True, weight="input", channels=(0,))
    whole = LayerUpdate(layer="l1", bias=True, weight="whole")
    table = table_of(two_layers(), update=(whole, input_slice))
    works = table.instance.works
    relu = next(v for v, w in enumerate(works) if w.operation == "relu1.back")
    saving = saving_ways(table)
    # The bits have 12 B per sample, the activation 80.
    assert works[relu].ways[saving[relu]].name == "bits"
    starts = starting_ways(table)
    assert starts[0] == ("fastest", fastest_ways(table))
    assert ("saving", saving) in starts
    for _, chosen in starts:
        assert live_peak(table, needed_schedule(table, chosen)) is not None


def test_light_updates_need_the_fewest_bytes_beside_them() -> None:
    # Of w1: the gradient of 80 B, or g1 (80 per sample), x (40 per sample) and workspace.
    table = table_of(two_layers(), batch=1)
    fast = fastest_ways(table)
    update = next(v for v, w in enumerate(table.instance.works) if w.operation == "update.w1")
    assert table.instance.works[update].ways[fast[update]].name == "fused"
    light = light_updates(table, fast)
    assert table.instance.works[update].ways[light[update]].name == "plain"
    assert {v: w for v, w in light.items() if v != update} == {
        v: w for v, w in fast.items() if v != update
    }


def test_one_start_where_the_ways_agree() -> None:
    assert [name for name, _ in starting_ways(table_of(skip()))] == ["fastest"]


def test_computations_that_nobody_reads_are_dropped() -> None:
    table = table_of(skip())
    schedule = steps(table, "f", "f", "g", "h", "g", "k", "f", "join")
    assert without_unread(table, schedule) == steps(table, "f", "g", "h", "k", "f", "join")


def test_updates_are_not_dropped() -> None:
    table = table_of(two_layers())
    plain = needed_schedule(table, fastest_ways(table))
    assert without_unread(table, plain) == plain


def _saved_bytes(table: Table, ways: Mapping[int, int]) -> int:
    """What backward operations read of what forward ones write, or of the inputs."""
    works = table.instance.works
    forward = set(table.given)
    saved = set()
    for work, way in needed_schedule(table, ways):
        if works[work].phase == "forward":
            forward.update(table.writes[work])
        else:
            saved.update(forward.intersection(table.reads[work][way]))
    return sum(table.size[item] for item in saved)


@pytest.mark.parametrize("seed", range(30))
def test_no_other_way_of_one_operation_saves_more(seed: int) -> None:
    graph = random_graph(seed, "train")
    update = tuple(LayerUpdate(layer=layer.id, weight="whole") for layer in graph.layers)
    table = table_of(graph, update=update)
    ways = saving_ways(table)
    least = _saved_bytes(table, ways)
    assert least <= _saved_bytes(table, fastest_ways(table))
    for work in ways:
        for way in table.allowed[work]:
            if not table.covers[work][way]:
                assert _saved_bytes(table, {**ways, work: way}) >= least
