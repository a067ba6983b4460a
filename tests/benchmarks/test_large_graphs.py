from __future__ import annotations

from benchmarks.checker_times import checker_table, recomputing_plan
from benchmarks.large_graphs import CASES, measure, transformer
from benchmarks.large_table import section
from memplan.ir.check import check
from tests.support.hand_graphs import two_layers


def test_a_step_is_planned_in_both_ways() -> None:
    graph = two_layers()
    line = measure("two layers", graph, "full", 1.0, 2.0, 1)
    assert line.ours.fits
    assert line.sequential.fits
    assert line.ours.time_ns <= line.sequential.time_ns
    assert line.operations == len(graph.operations)
    text = section([line], "checker", "command")
    assert "two layers" in text
    assert "**Against choosing one after the other: " in text


def test_plans_of_the_checker_recompute_and_are_accepted() -> None:
    graph, plan = recomputing_plan(200)
    assert check(graph, plan).accepted
    assert len(plan.body) > 200
    assert checker_table([60]).count("\n") == 2


def test_there_are_twelve_and_twenty_four_layers() -> None:
    assert {name.split("-")[1][:2] for name in CASES} == {"12", "24"}
    module, _ = transformer(2)
    assert sum(name.endswith("attention.out.weight") for name, _ in module.named_parameters()) == 2
