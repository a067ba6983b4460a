"""False claims that a search over random graphs has found, each by a graph that shows it.

The truth is brute force's, which shares no code with the solver.
"""

from __future__ import annotations

from memplan.ir.graph import OpGraph
from memplan.solver import solve
from tests.solver.problems import request, worth_of
from tests.support.brute_force import brute_force
from tests.support.graph_builder import GraphBuilder, alternative, used_up_alternative


def unread_input() -> OpGraph:
    """``f: x -> t``, and ``g: t -> out`` with 30 B of workspace, or slower, of ``t`` and ``z``."""
    build = GraphBuilder("unread_input", mode="infer")
    for name in ("x", "z"):
        build.tensor(name, "input", (0, 10))
    for name in ("t", "out"):
        build.tensor(name, "activation", (0, 10))
    build.operation("f", "forward", alternative(["x"], macs=10), ["t"])
    ways = [
        alternative(["t"], macs=10, workspace=30),
        alternative(["t", "z"], "slow", macs=500),
    ]
    build.operation("g", "forward", ways, ["out"])
    return build.build(["out"])


def test_what_is_supposed_of_a_resident_batch_is_said() -> None:
    graph = unread_input()
    # x 20 B, t, out and the workspace; the way that needs z has room for z instead.
    asked = request(graph, 70, batch=2, micro_batch=1, time_limit_seconds=20.0, compute_limit=None)
    best = brute_force(graph, asked)
    assert best is not None
    assert best.arena_bytes == 70
    answer = solve(graph, asked)
    assert answer.plan is not None
    supposed = "resident even if no operation reads it: z" in answer.plan.certificate.restrictions
    assert supposed or worth_of(answer) == best.key


def test_nothing_is_supposed_of_an_input_that_every_plan_reads() -> None:
    graph = unread_input()
    asked = request(graph, 70, batch=2, micro_batch=2, time_limit_seconds=20.0)
    answer = solve(graph, asked)
    assert answer.plan is not None
    assert not any("resident" in text for text in answer.plan.certificate.restrictions)


def used_up_output() -> OpGraph:
    """``f: x 1 -> t 96``, ``g: t -> u 96`` in the rows of t, ``h: u -> v 1``; outputs t, v."""
    build = GraphBuilder("used_up_output", mode="infer", symbolic=False, traced_batch=1)
    picture = (1, 96, 1)
    build.tensor("x", "input", 1)
    for name in ("t", "u"):
        build.tensor(name, "activation", 96, image=picture)
    build.tensor("v", "activation", 1)
    build.operation("f", "forward", alternative(["x"], macs=10), ["t"], recomputable=True)
    ways = [alternative(["t"], macs=10), used_up_alternative(["t"], picture, macs=10)]
    build.operation("g", "forward", ways, ["u"])
    build.operation("h", "forward", alternative(["u"], macs=10), ["v"])
    return build.build(["t", "v"])


def test_an_output_may_be_used_up_if_it_can_be_computed_again() -> None:
    graph = used_up_output()
    # Beside each other t and u have 192 B, which was taken for a bound.
    asked = request(graph, 150, compute_limit=None, time_limit_seconds=20.0)
    best = brute_force(graph, asked)
    assert best is not None
    assert [name for name, _ in best.body] == ["f", "g", "h", "f"]
    answer = solve(graph, asked)
    assert answer.lower_bound_bytes <= best.arena_bytes == 98
    assert answer.status == "optimal"
    assert worth_of(answer) == best.key


def test_one_that_cannot_is_read_in_another_way() -> None:
    graph = used_up_output()
    once = graph.operations[0].model_copy(update={"recomputable": False})
    graph = graph.model_copy(update={"operations": (once, *graph.operations[1:])})
    asked = request(graph, 150, compute_limit=None, time_limit_seconds=20.0)
    assert brute_force(graph, asked) is None
    assert solve(graph, asked).status == "infeasible"
