from __future__ import annotations

import pytest

from memplan.ir.device import Device, Rates, Region
from memplan.ir.graph import OpGraph
from memplan.solver.joint import build_joint_model
from tests.solver.problems import instance_of, line, model_of, skip, solve_model
from tests.support.graph_builder import GraphBuilder, alternative
from tests.support.hand_graphs import chain, inference


def least_arena(graph: OpGraph, budget_bytes: int = 1 << 20, **changes: object) -> int:
    """Return the fewest bytes that the model without addresses can do with."""
    joint = model_of(graph, budget_bytes, addresses=False, **changes)
    assert joint.arena is not None
    joint.model.minimize(joint.arena)
    solver, feasible = solve_model(joint)
    assert feasible
    return round(solver.objective_value)


@pytest.mark.parametrize(
    ("budget", "recomputable", "feasible"),
    [(176, False, True), (175, False, False), (120, True, True), (119, True, False)],
)
def test_live_bytes_stay_within_the_budget(budget: int, recomputable: bool, feasible: bool) -> None:
    joint = model_of(skip(recomputable), budget, addresses=False)
    assert solve_model(joint)[1] == feasible


def test_an_input_that_is_read_late_is_there_from_the_start() -> None:
    # inference: project reads x (64 per sample) beside r (128) and s (64).
    assert least_arena(inference(), batch=1) == 64 + 128 + 64


def workspace() -> OpGraph:
    build = GraphBuilder("workspace", mode="infer", symbolic=False, traced_batch=1)
    build.tensor("x", "input", 8)
    build.tensor("out", "activation", 8)
    build.operation("f", "forward", alternative(["x"], macs=10, workspace=30), ["out"])
    return build.build(["out"])


@pytest.mark.parametrize(("budget", "feasible"), [(46, True), (45, False)])
def test_workspace_counts_at_its_step(budget: int, feasible: bool) -> None:
    assert solve_model(model_of(workspace(), budget))[1] == feasible
    assert solve_model(model_of(workspace(), budget, addresses=False))[1] == feasible


def test_stores_count_all_the_time() -> None:
    graph = chain(1)
    with_stem = least_arena(graph, batch=1)
    joint = model_of(graph, with_stem - 1, batch=1, addresses=False)
    assert not solve_model(joint)[1]
    assert with_stem > 32 + 8


def test_the_topmost_buffer_need_not_be_padded() -> None:
    # Aligned to 16: x takes 16 of its 5 B, the result 9 B on top; or x 5 B on 16.
    assert least_arena(line(5, 9), alignment_bytes=16) == 17
    for budget, feasible in ((21, True), (20, False)):
        joint = model_of(line(5, 9), budget, alignment_bytes=16)
        assert solve_model(joint)[1] == feasible


def epilogue(workspace_bytes: int) -> OpGraph:
    build = GraphBuilder("epilogue")
    build.tensor("x", "input", (0, 4))
    build.tensor("w", "parameter", 8)
    build.layer("l", weight="w", parameters=8)
    build.tensor("loss", "activation", 4)
    build.operation("loss", "forward", alternative(["x", "w"], macs=1), ["loss"])
    build.tensor("gw", "gradient", 8)
    build.operation("gw", "backward", alternative(["x"], macs=1), ["gw"], layer="l")
    build.updates(
        "w",
        alternative(["w", "gw"]),
        alternative(["acc.w", "gw"]),
        accumulator_size=8,
        layer="l",
        apply_workspace=workspace_bytes,
    )
    return build.build(["loss"])


@pytest.mark.parametrize("workspace_bytes", [0, 40])
def test_the_epilogue_needs_its_workspace_beside_the_stores(workspace_bytes: int) -> None:
    def fits(budget: int) -> bool:
        graph = epilogue(workspace_bytes)
        return solve_model(build_joint_model(instance_of(graph, budget, 1, batch=2)))[1]

    # Stores: w, its accumulator, two samples of x; the body: gw, after which the loss.
    needed = 8 + 8 + 8 + max(8, workspace_bytes)
    assert fits(needed)
    assert not fits(needed - 1)


def test_frozen_weights_in_ram_take_of_the_budget() -> None:
    device = Device(
        name="phone",
        regions=(Region(name="ram", kind="ram", size_bytes=1 << 20, alignment_bytes=1),),
        rates=Rates(macs_per_second=10**9, moved_bytes_per_second=10**9),
        weights="ram",
    )
    plain = least_arena(inference(), batch=1)
    for budget, feasible in ((plain + 40, True), (plain + 39, False)):
        joint = model_of(inference(), budget, batch=1, device=device)
        assert solve_model(joint)[1] == feasible
