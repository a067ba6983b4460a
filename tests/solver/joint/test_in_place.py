from __future__ import annotations

from memplan.ir.graph import OpGraph
from memplan.solver import Techniques, solve
from tests.solver.problems import line, model_of, request, solve_model, worth_of
from tests.support.brute_force import brute_force
from tests.support.graph_builder import Cut, GraphBuilder, alternative
from tests.support.hand_graphs import diamond

OUTPUT: tuple[Cut, ...] = (("output", 4),)


def test_sharing_lets_the_body_take_half() -> None:
    for in_place, budget, expected in ((True, 40, True), (False, 40, False), (False, 80, True)):
        joint = model_of(line(40, 40, 40, in_place=in_place), budget)
        assert solve_model(joint)[1] == expected


def test_only_where_the_sizes_agree() -> None:
    joint = model_of(line(40, 40, 16, in_place=True), computations=1)
    assert {(key.work, key.read) for key in joint.shares} == {(0, 0)}


def test_only_where_the_operand_dies() -> None:
    joint = model_of(diamond(), computations=1)
    names = [item.tensor for item in joint.instance.items]
    by_operand = {names[key.read]: shares for key, shares in joint.shares.items()}
    assert set(by_operand) == {"p", "q"}
    # p is read by the weight gradient once more.
    for operand, expected in (("q", True), ("p", False)):
        again = model_of(diamond(), computations=1)
        key = next(k for k in again.shares if names[k.read] == operand)
        again.model.add(again.shares[key] == 1)
        assert solve_model(again)[1] == expected


def test_a_result_takes_the_bytes_of_one_operand() -> None:
    joint = model_of(diamond(), computations=1)
    for shares in joint.shares.values():
        joint.model.add(shares == 1)
    assert not solve_model(joint)[1]


def mixed_sizes() -> OpGraph:
    """Return a gradient that may be written over an activation only where it is not cut."""
    build = GraphBuilder("mixed", symbolic=False, traced_batch=1)
    build.tensor("x", "input", 8)
    build.tensor("w", "parameter", 64, "l", OUTPUT)
    build.layer("l", weight="w", parameters=64, macs=1, axes=OUTPUT)
    build.tensor("h", "activation", 64)
    build.operation("f", "forward", alternative(["x"], macs=5, moved=8), ["h"])
    build.tensor("loss", "activation", 4)
    build.operation("loss", "forward", alternative(["h"], moved=8), ["loss"])
    build.tensor("gw", "gradient", 64, "l", OUTPUT)
    build.operation(
        "gw", "backward", alternative(["h"], moved=8, in_place=[(0, 0)]), ["gw"], layer="l"
    )
    build.updates("w", alternative(["w", "gw"], moved=8), layer="l")
    return build.build(["loss"])


def test_sizes_that_agree_under_some_options() -> None:
    graph = mixed_sizes()
    for budget in (104, 120, 135, 136, 200):
        asked = request(graph, budget, update="auto", slice_divisors=(2,), alignment_bytes=4)
        best = brute_force(graph, asked)
        if best is None:
            continue
        # Ends with the proof, long before the limit.
        asked = asked.model_copy(update={"time_limit_seconds": 30.0})
        answer = solve(graph, asked, techniques=Techniques.without("greedy", "annealing"))
        assert answer.status == "optimal"
        assert worth_of(answer) == (-best.importance, best.time_ns, best.arena_bytes)
