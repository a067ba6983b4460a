from __future__ import annotations

import pytest

from memplan.ir.graph import OpGraph
from memplan.ir.request import LayerUpdate
from memplan.solver.time_bound import linear_time_lower_bound, time_lower_bound
from tests.solver.problems import skip, table_of, time_ns
from tests.support.brute_force import brute_force
from tests.support.graph_builder import GraphBuilder, alternative
from tests.support.hand_graphs import block, chain
from tests.support.random_graphs import random_graph, random_request


def test_every_operation_that_must_run_counts_once() -> None:
    assert time_lower_bound(table_of(skip())) == 5 * time_ns(10)


def test_what_nothing_needs_does_not_count() -> None:
    graph = chain(1)
    full = time_lower_bound(table_of(graph, batch=1))
    only_head = (LayerUpdate(layer="head", weight="whole"),)
    head = time_lower_bound(table_of(graph, batch=1, update=only_head))
    # Without the stem: no input gradient, no bias gradient, no update of the bias.
    spared = ((100, 100), (0, 64), (0, 24))
    assert full - head == sum(1_000 - (-m // 10) - (-b // 10) for m, b in spared)


def test_prologue_and_epilogue_count_once_and_the_body_per_trip() -> None:
    graph = chain(1)
    whole = table_of(graph, batch=4, samples=4)
    parts = table_of(graph, batch=4, samples=2)
    outside = sum(values[0] for _, values in parts.instance.outside_time_ns)
    assert outside == 2 * (1_000 + 1) + 2 * (1_000 + 1)  # clear moves 1 byte, apply 8
    assert (time_lower_bound(parts) - outside) % 2 == 0
    assert time_lower_bound(parts) > time_lower_bound(whole)


def alternatives(fused_macs: int) -> OpGraph:
    build = GraphBuilder("fused", mode="infer", symbolic=False, traced_batch=1)
    build.tensor("x", "input", 8)
    build.tensor("t", "activation", 8)
    build.tensor("out", "activation", 8)
    build.operation("f", "forward", alternative(["x"], macs=500), ["t"])
    build.operation(
        "g",
        "forward",
        [alternative(["t"], macs=10), alternative(["x"], "fused", macs=fused_macs)],
        ["out"],
    )
    return build.build(["out"])


@pytest.mark.parametrize(("fused_macs", "least"), [(600, time_ns(600)), (99_999, time_ns(500, 10))])
def test_a_way_pays_for_the_operation_that_it_alone_reads(fused_macs: int, least: int) -> None:
    assert time_lower_bound(table_of(alternatives(fused_macs))) == least


@pytest.mark.parametrize("seed", range(12))
def test_never_above_the_fastest_plan(seed: int) -> None:
    graph = random_graph(seed, tiny=True)
    asked = random_request(seed, graph, tiny=True).model_copy(update={"update": "full"})
    best = brute_force(graph, asked)
    assert best is not None
    table = table_of(
        graph,
        samples=best.micro_batch,
        batch=asked.batch,
        alignment_bytes=asked.alignment_bytes,
        stream_inputs=asked.stream_inputs,
    )
    assert time_lower_bound(table) <= linear_time_lower_bound(table) <= best.time_ns


def two_roads() -> OpGraph:
    """Both ways of the last operation come after the first one, by different operations."""
    build = GraphBuilder("two_roads", mode="infer", symbolic=False, traced_batch=1)
    build.tensor("x", "input", 8)
    for name in ("a", "b", "c", "out"):
        build.tensor(name, "activation", 8)
    build.operation("f", "forward", alternative(["x"], macs=500), ["a"])
    build.operation("g", "forward", alternative(["a"], macs=20), ["b"])
    build.operation("h", "forward", alternative(["a"], macs=30), ["c"])
    ways = [alternative(["b"], macs=10), alternative(["c"], "other", macs=10)]
    build.operation("last", "forward", ways, ["out"])
    return build.build(["out"])


def test_what_all_roads_come_from_counts_whole() -> None:
    table = table_of(two_roads())
    assert linear_time_lower_bound(table) == time_ns(500, 20, 10)
    assert time_lower_bound(table) < time_ns(500, 20, 10)


@pytest.mark.parametrize("phase", ["update", "accumulate"])
def test_a_block_that_covers_updates_is_a_way_to_do_them(phase: str) -> None:
    graph = block()
    trips = 1 if phase == "update" else 2
    asked = random_request(0, graph, tiny=True).model_copy(
        update={"update": "full", "batch": 2, "micro_batch": 2 // trips, "compute_limit": None}
    )
    best = brute_force(graph, asked)
    assert best is not None
    table = table_of(graph, samples=2 // trips, batch=2)
    assert time_lower_bound(table) <= linear_time_lower_bound(table) <= best.time_ns
