from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import joint_vs_sequential
from benchmarks.comparison import Comparison
from benchmarks.sequential import (
    estimates_of,
    plan_sequentially,
    smallest_sequential,
)
from examples.catalogue import example
from memplan.ir.check import check
from memplan.ir.graph import OpGraph
from memplan.ir.options import update_options
from memplan.ir.request import PlanRequest
from memplan.solver.masks.estimate import choose_mask
from tests.support.hand_graphs import chain


@pytest.fixture(scope="module")
def resnet8() -> OpGraph:
    return joint_vs_sequential.trace_example(example("resnet8"))


def request(budget_bytes: int, seconds: float = 1.0) -> PlanRequest:
    return PlanRequest(budget_bytes=budget_bytes, batch=2, time_limit_seconds=seconds, workers=1)


def test_the_sequential_way_plans_resnet8(resnet8: OpGraph) -> None:
    asked = request(600_000)
    estimates = estimates_of(resnet8, asked)
    assert list(estimates) == [2, 1]
    plan = plan_sequentially(resnet8, asked, estimates)
    assert plan is not None
    assert check(resnet8, plan).accepted
    assert plan.totals.arena_bytes <= 600_000
    # The mask is the estimate's, at the full batch, and the estimate holds.
    assert plan.micro_batch == 2
    assert plan.update_of == choose_mask(estimates[2], 600_000)
    assert estimates[2].of(plan.update_of) <= 600_000
    assert plan.totals.peak_live_bytes <= estimates[2].of(plan.update_of)
    assert plan.totals.importance > 0


def test_what_a_slice_takes_lies_between_the_bias_and_the_whole(resnet8: OpGraph) -> None:
    asked = request(1)
    options = update_options(resnet8, asked)
    for costs in estimates_of(resnet8, asked)[2].layers:
        own = {cost.update: cost.own_bytes for cost in costs}
        bias, *_, whole = (o for o in options[costs[0].update.layer] if o is not None)
        assert bias.weight == "none" and whole.weight == "whole"
        assert own[bias] == min(own.values()) > 0
        assert own[whole] == max(own.values())


def test_the_smallest_budget_of_resnet8(resnet8: OpGraph) -> None:
    asked = request(1, seconds=0.5)
    estimates = estimates_of(resnet8, asked)
    smallest = smallest_sequential(resnet8, asked, estimates)
    assert smallest is not None
    assert smallest.arena_bytes == min(plan.totals.arena_bytes for plan in smallest.plans)
    # Recomputation and micro-batches go below what is estimated without them.
    assert smallest.arena_bytes < estimates[2].of(choose_mask(estimates[2], 0))
    assert all(check(resnet8, plan).accepted for plan in smallest.plans)


def test_measured_lines_are_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = []

    def trace(entry: object) -> OpGraph:
        traced.append(entry)
        return chain()

    monkeypatch.setattr(joint_vs_sequential, "trace_example", trace)
    cache, page = tmp_path / "cache.jsonl", tmp_path / "page.md"
    arguments = ["--examples", "resnet8", "--seconds", "0.5", "--workers", "1"]
    arguments += ["--cache", str(cache), "--output", str(page)]
    for _ in range(2):
        assert joint_vs_sequential.main(arguments) == 0
    assert len(traced) == 1
    lines = [Comparison.model_validate_json(line) for line in cache.read_text().splitlines()]
    assert [line.factor for line in lines] == [1.05, 1.2]
    assert all(line.sequential.fits for line in lines)
    assert page.read_text().count("| resnet8 |") == 2
    assert "Without a line: ds-cnn, " in page.read_text()
    # Other settings are another measurement.
    assert joint_vs_sequential.main([*arguments, "--seed", "1"]) == 0
    assert len(traced) == 2
