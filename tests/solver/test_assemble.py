from __future__ import annotations

import pytest

from memplan.ir.device import Device, Rates, Region
from memplan.ir.plan import Plan
from memplan.solver.schedule import Table
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule
from memplan.solver.solution import place
from tests.solver.problems import accepted_plan, skip, steps, table_of
from tests.support.hand_graphs import HAND_GRAPHS, chain, inference, statistics


def plan_of(table: Table, *names: str) -> Plan:
    order = steps(table, *names) if names else needed_schedule(table, fastest_ways(table))
    return accepted_plan(place(table, order, None, 0.1))


@pytest.mark.parametrize("name", HAND_GRAPHS)
@pytest.mark.parametrize("alignment", [1, 16])
@pytest.mark.parametrize("stream", [False, True])
def test_plans_of_the_traced_order_are_accepted(name: str, alignment: int, stream: bool) -> None:
    graph = HAND_GRAPHS[name]()
    divides = graph.batch_symbolic and not graph.batch_coupled_by
    batch = 4 if divides else graph.traced_batch
    for samples in (4, 2, 1) if divides else (batch,):
        table = table_of(
            graph, samples=samples, batch=batch, alignment_bytes=alignment, stream_inputs=stream
        )
        plan = plan_of(table)
        assert plan.trips * plan.micro_batch == batch


def test_figures_of_a_plan_worked_out_by_hand() -> None:
    plan = plan_of(table_of(skip()), "f", "g", "h", "k", "f", "join")
    assert [(step.operation, step.computation) for step in plan.body] == [
        ("f", 0),
        ("g", 0),
        ("h", 0),
        ("k", 0),
        ("f", 1),
        ("join", 0),
    ]
    assert plan.live_bytes == (72, 88, 120, 112, 80, 80)
    assert (plan.peak.step, plan.peak.operation) == (2, "h")
    assert [(t.tensor, t.size_bytes) for t in plan.peak.tensors] == [("c", 96), ("b", 16), ("x", 8)]
    totals = plan.totals
    assert (totals.macs, totals.plain_macs) == (60, 50)
    assert totals.recomputed_operations == 1
    assert totals.persistent_bytes == 0
    assert totals.peak_live_bytes == 120


def test_prologue_and_epilogue_of_several_trips() -> None:
    plan = plan_of(table_of(chain(1), batch=4, samples=2))
    assert [step.operation for step in plan.prologue] == ["clear.w", "clear.b"]
    assert [step.operation for step in plan.epilogue] == ["apply.w", "apply.b"]
    buffers = {buffer.tensor: buffer for buffer in plan.buffers}
    assert buffers["w"].scope == "persistent"
    assert buffers["acc.w"].scope == buffers["x"].scope == "batch"
    assert buffers["h0"].scope == "body"
    assert (buffers["x"].start_step, buffers["x"].end_step) == (0, len(plan.steps))
    workspace = plan.buffers[plan.epilogue[0].workspace or 0]
    assert (workspace.tensor, workspace.size_bytes) == (None, 48)


def test_frozen_weights_are_read_from_outside_the_arena() -> None:
    plan = plan_of(table_of(inference()))
    conv = next(step for step in plan.body if step.operation == "conv")
    assert conv.reads[1] is None
    assert plan.totals.frozen_bytes == 40


def test_statistics_mutate_their_state_in_place() -> None:
    plan = plan_of(table_of(statistics()))
    step = next(step for step in plan.body if step.operation == "bn.statistics")
    assert plan.buffers[step.mutates[0]].tensor == "running_mean"
    assert step.reads[0] == step.mutates[0]


def test_buffers_name_the_region_of_the_device() -> None:
    device = Device(
        name="board",
        regions=(Region(name="sram", kind="ram", size_bytes=1 << 16),),
        rates=Rates(macs_per_second=10**9, moved_bytes_per_second=10**9),
    )
    plan = plan_of(table_of(inference(), 1 << 16, device=device))
    assert {buffer.region for buffer in plan.buffers} == {"sram"}
