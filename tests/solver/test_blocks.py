from __future__ import annotations

import pytest

from memplan.ir.plan import Plan
from memplan.ir.request import LayerUpdate
from memplan.solver import solve
from memplan.solver.bounds import lower_bound
from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.ways import block_ways, fastest_ways, needed_schedule
from memplan.solver.techniques import Techniques
from memplan.solver.time_bound import time_lower_bound
from tests.solver.problems import instance_of, request, table_of
from tests.support.hand_graphs import block

#: Without the block 488 bytes at least are needed at a batch of 2, for the wide gradient.
TIGHT = 300


def _alternatives(plan: Plan) -> dict[str, str]:
    return {step.operation: step.alternative for step in plan.body}


@pytest.mark.parametrize("micro_batch", [1, 2])
def test_where_the_wide_gradient_does_not_fit_the_block_runs_as_one(micro_batch: int) -> None:
    asked = request(block(), TIGHT, batch=2, micro_batch=micro_batch, time_limit_seconds=2.0)
    plan = solve(block(), asked).plan
    assert plan is not None
    ran = _alternatives(plan)
    phase = "update" if micro_batch == 2 else "accumulate"
    assert ran["narrow.back"] == f"strips_{phase}"
    assert "widen" not in ran
    assert f"{phase}.w1" not in ran
    assert f"{phase}.w0" in ran
    assert plan.totals.arena_bytes <= TIGHT


def test_where_there_is_room_the_faster_way_is_taken() -> None:
    # The strips have as many MACs as what they stand for, and move fewer bytes.
    plan = solve(block(), request(block(), 2000, batch=2, time_limit_seconds=2.0)).plan
    assert plan is not None
    assert _alternatives(plan)["narrow.back"].startswith("strips")


def test_a_part_of_the_updates_can_be_covered() -> None:
    graph = block(covers=("w1",))
    asked = request(graph, TIGHT + 500, batch=2, micro_batch=2, time_limit_seconds=2.0)
    plan = solve(graph, asked).plan
    assert plan is not None
    assert "update.b1" in _alternatives(plan)


def test_needed_operations_leave_out_what_a_block_covers() -> None:
    table = table_of(block(), batch=2)
    names = [work.operation for work in table.instance.works]
    plain = needed_schedule(table, fastest_ways(table))
    strips = needed_schedule(table, block_ways(table, fastest_ways(table)))
    gone = {names[work] for work, _ in plain} - {names[work] for work, _ in strips}
    assert gone == {"widen", "w1.back", "b1.back", "update.w1", "update.b1"}
    peak, lower = live_peak(table, plain), live_peak(table, strips)
    assert peak is not None
    assert lower is not None
    assert lower < peak / 2


def test_an_update_is_done_once() -> None:
    table = table_of(block(), batch=2)
    names = [work.operation for work in table.instance.works]
    strips = needed_schedule(table, block_ways(table, fastest_ways(table)))
    plain = dict(needed_schedule(table, fastest_ways(table)))
    again = [(names.index(n), plain[names.index(n)]) for n in ("widen", "b1.back", "update.b1")]
    assert live_peak(table, strips) is not None
    assert live_peak(table, [*strips, *again]) is None
    assert live_peak(table, [*strips[:-1], *again, strips[-1]]) is None


@pytest.mark.parametrize("batch", [1, 2])
def test_bounds_hold_for_blocks(batch: int) -> None:
    instance = instance_of(block(), TIGHT, batch=batch)
    table = Table.of(instance)
    strips = needed_schedule(table, block_ways(table, fastest_ways(table)))
    peak = live_peak(table, strips)
    assert peak is not None
    assert lower_bound(instance).bytes <= instance.store_bytes + peak
    spent = sum(table.time_ns[work][way] for work, way in strips)
    assert time_lower_bound(table) <= spent


@pytest.mark.parametrize("without", ["greedy", "annealing", "joint_model", "mask_model"])
def test_whatever_is_switched_off_plans_with_blocks_check(without: str) -> None:
    asked = request(block(), TIGHT, batch=2, time_limit_seconds=1.0)
    answer = solve(block(), asked, techniques=Techniques.without(without))
    assert answer.plan is not None
    assert answer.plan.totals.arena_bytes <= TIGHT


def test_a_block_is_no_way_where_the_mask_freezes_what_it_covers() -> None:
    graph = block()
    mask = (LayerUpdate(layer="l0", weight="whole"), LayerUpdate(layer="l1", weight="whole"))
    plan = solve(graph, request(graph, 2000, batch=2, update=mask)).plan
    assert plan is not None
    assert _alternatives(plan)["narrow.back"] == "plain"
    assert solve(graph, request(graph, TIGHT, batch=2, update=mask)).plan is None


def test_masks_are_chosen_beside_blocks() -> None:
    asked = request(block(), TIGHT, batch=2, update="auto", time_limit_seconds=2.0)
    plan = solve(block(), asked).plan
    assert plan is not None
    assert plan.totals.importance > 0
