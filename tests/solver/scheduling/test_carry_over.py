from __future__ import annotations

import pytest

from memplan.ir.options import update_options
from memplan.ir.request import LayerUpdate
from memplan.ir.units import Affine
from memplan.solver import Techniques, solve
from memplan.solver.build_instance import build_instance, fix_mask
from memplan.solver.restore import restore
from memplan.solver.schedule import Schedule, Table, live_peak
from memplan.solver.scheduling.carry_over import carried_over
from tests.solver.problems import request, steps
from tests.support.brute_force import masks
from tests.support.hand_graphs import block, chain
from tests.support.random_graphs import random_graph, random_request


def test_the_same_mask_keeps_the_schedule() -> None:
    graph = chain(4)
    asked = request(graph, update="full", time_limit_seconds=5.0, deterministic=True)
    roomy = solve(graph, asked).plan
    assert roomy is not None
    tight = asked.model_copy(update={"budget_bytes": roomy.totals.arena_bytes * 7 // 10})
    plan = solve(graph, tight).plan
    assert plan is not None and plan.totals.recomputed_operations
    start = restore(build_instance(graph, tight, plan.micro_batch), plan)
    assert start.solution is not None and start.steps is not None
    table = start.solution.table
    assert carried_over(table, start.steps, table) == start.steps


@pytest.mark.parametrize("seed", range(12))
def test_every_mask_and_micro_batch_of_random_graphs(seed: int) -> None:
    graph = random_graph(seed, "train", tiny=True)
    asked = random_request(seed, graph, tiny=True).model_copy(
        update={"time_limit_seconds": 0.3, "workers": 1, "deterministic": True}
    )
    plan = solve(graph, asked, techniques=Techniques.without("joint_model")).plan
    assert plan is not None
    start = restore(build_instance(graph, asked, plan.micro_batch), plan)
    assert start.solution is not None and start.steps is not None
    assert all(update_options(graph, asked).values())
    divided = graph.batch_symbolic and not graph.batch_coupled_by
    for samples in {plan.micro_batch, 1 if divided else plan.micro_batch}:
        instance = build_instance(graph, asked, samples)
        for mask in masks(graph, asked):
            table = Table.of(fix_mask(instance, {update.layer: update for update in mask}))
            carried = carried_over(start.solution.table, start.steps, table)
            # These graphs have nothing (used-up operands, covers) that an order could break.
            assert carried is not None
            assert live_peak(table, carried) is not None


def test_a_way_that_may_not_do_all_updates_is_followed_by_one_that_does_the_others() -> None:
    graph = block()
    back = graph.operation["narrow.back"]
    (strips,) = [way for way in back.alternatives if way.name == "strips_update"]
    of_bias = strips.model_copy(update={"name": "strips_bias_update", "covers": ("update.b1",)})
    slow = of_bias.model_copy(update={"name": "slow", "covers": (), "macs": Affine(0, 10_000)})
    plain = back.alternatives[0].model_copy(update={"target": "aten.mm.default"})
    ways = (plain, slow, *back.alternatives[1:], of_bias)
    operations = [
        operation if operation is not back else back.model_copy(update={"alternatives": ways})
        for operation in graph.operations
    ]
    graph = graph.model_copy(update={"operations": tuple(operations)})
    instance = build_instance(graph, request(graph, update="auto"), graph.traced_batch)
    weight = LayerUpdate(layer="l0", bias=False, weight="whole")
    known, table = (
        Table.of(fix_mask(instance, {"l0": weight, "l1": update}))
        for update in (
            LayerUpdate(layer="l1", bias=True, weight="whole"),
            LayerUpdate(layer="l1", bias=True, weight="none"),
        )
    )
    schedule = steps(
        known, "f0", "f1", "loss", "loss.back", "narrow.back:strips_update", "w0.back", "update.w0"
    )
    assert live_peak(known, schedule) is not None
    carried = carried_over(known, schedule, table)
    assert carried is not None
    assert names(table, carried) == [
        "f0", "f1", "loss", "loss.back", "narrow.back:strips_bias_update", "w0.back", "update.w0",
    ]  # fmt: skip
    # Nothing but the slow way is left that is of its target.
    none = Table.of(fix_mask(instance, {"l0": weight}))
    carried = carried_over(known, schedule, none)
    assert carried is not None
    assert "narrow.back:slow" in names(none, carried)


def names(table: Table, schedule: Schedule) -> list[str]:
    """Return operations, with ways but the first."""
    works = table.instance.works
    return [
        works[work].operation + (f":{works[work].ways[way].name}" if way else "")
        for work, way in schedule
    ]
