from __future__ import annotations

import pytest

from memplan.ir.device import Device, Rates, Region
from memplan.ir.graph import OpGraph
from memplan.solver.bounds import exceeds, excess_at, lower_bound
from memplan.solver.build_instance import build_instance
from memplan.solver.micro_batches import allowed_micro_batches
from tests.solver.problems import fork, instance_of, line, request, skip
from tests.support.brute_force import smallest_arena
from tests.support.graph_builder import GraphBuilder, alternative
from tests.support.hand_graphs import chain, inference
from tests.support.random_graphs import random_graph, random_request


def forced(recomputable: bool) -> OpGraph:
    """Return ``f: x 4 -> a 40``, ``g: a -> b 8``, ``h: b -> c 60``, ``join: c, a -> out 4``."""
    build = GraphBuilder("forced", mode="infer", symbolic=False, traced_batch=1)
    build.tensor("x", "input", 4)
    for name, operation, size, reads in (
        ("a", "f", 40, ["x"]),
        ("b", "g", 8, ["a"]),
        ("c", "h", 60, ["b"]),
        ("out", "join", 4, ["c", "a"]),
    ):
        build.tensor(name, "activation", size)
        build.operation(
            operation,
            "forward",
            alternative(reads, macs=10),
            [name],
            recomputable=recomputable or operation != "f",
        )
    return build.build(["out"])


def test_working_set_of_one_operation() -> None:
    bound = lower_bound(instance_of(line(4, 100, 60, 8)))
    assert bound.bytes == 160
    assert bound.operation == "f1"
    assert bound.tensors == (("t0", 100), ("t1", 60))


def test_in_place_results_need_no_bytes_of_their_own() -> None:
    assert lower_bound(instance_of(line(40, 40, 40, in_place=True))).bytes == 40
    assert lower_bound(instance_of(line(40, 40, 40, in_place=False))).bytes == 80
    # An operand of another size gives what it has: 60 of 100, at most.
    assert lower_bound(instance_of(line(4, 100, 60, in_place=True))).bytes == 100


def test_workspace_counts() -> None:
    # conv: x 128, h 256, workspace 48; the whole batch at once.
    assert lower_bound(instance_of(inference())).bytes >= 128 + 256 + 48


def test_a_tensor_computed_once_is_there_until_its_last_reader() -> None:
    # While h runs, a is waiting for join: 40 + 8 + 60.
    once = lower_bound(instance_of(forced(recomputable=False)))
    assert (once.bytes, once.operation) == (108, "h")
    # It may be computed again, from x: then 40 + 60 + 4, at join or while f runs again.
    assert lower_bound(instance_of(forced(recomputable=True))).bytes == 104


def test_looking_back_finds_what_was_there_before() -> None:
    bound = lower_bound(instance_of(fork()))
    assert bound.bytes == 115
    assert smallest_arena(fork(), request(fork(), compute_limit=None)) == 115


def test_looking_back_over_several_steps() -> None:
    # Before join, a came last: then x was there while d was computed (112), and before that
    # while c was (120).  Or d came last: then a was there beside c and d (168).
    assert lower_bound(instance_of(skip())).bytes == 120
    assert smallest_arena(skip(), request(skip())) == 120


def test_stores_are_there_all_the_time() -> None:
    bound = lower_bound(instance_of(chain(1), batch=2))
    # w and b, and at head's weight gradient: h0, two gradients, workspace.
    assert bound.operation == "head.weight_gradient"
    assert bound.bytes == 32 + 8 + 128 + 32 + 32 + 16


def test_an_open_mask_updates_one_layer_at_least() -> None:
    graph = chain(2)
    nothing = lower_bound(instance_of(graph.model_copy(update={"mode": "infer"}))).bytes
    # The bias of 8 B is the cheapest update; head's weight has 32.
    chosen = lower_bound(instance_of(graph, update="auto")).bytes
    assert chosen == nothing + 8
    assert chosen <= lower_bound(instance_of(graph, update="full")).bytes


def test_the_epilogue_needs_its_workspace() -> None:
    bound = lower_bound(instance_of(chain(1, per_sample=1), batch=4, samples=1))
    stores = 32 + 32 + 8 + 8 + 4 * 1 + 4 * 8
    assert bound.bytes >= stores + 48


def test_an_input_that_nothing_reads_is_not_resident() -> None:
    build = GraphBuilder("unread", mode="infer")
    build.tensor("x", "input", (0, 10))
    build.tensor("unread", "input", (0, 1_000))
    build.tensor("out", "activation", (0, 10))
    build.operation("f", "forward", alternative(["x"], macs=1), ["out"])
    graph = build.build(["out"])
    assert lower_bound(instance_of(graph, samples=1, batch=2)).bytes == 2 * 10 + 10
    assert smallest_arena(graph, request(graph, batch=2, micro_batch=1)) == 30


def test_an_input_is_resident_whichever_operation_reads_it() -> None:
    build = GraphBuilder("either", mode="infer")
    build.tensor("x", "input", (0, 100))
    build.tensor("t", "activation", (0, 10))
    build.tensor("out", "activation", (0, 10))
    build.operation("f", "forward", alternative(["x"], macs=1), ["t"], recomputable=True)
    ways = [alternative(["t"], macs=1), alternative(["x"], "directly", macs=2)]
    build.operation("g", "forward", ways, ["out"])
    graph = build.build(["out"])
    # Beside both samples of x the result alone, if g reads x itself.
    assert lower_bound(instance_of(graph, samples=1, batch=2)).bytes == 200 + 10
    asked = request(graph, batch=2, micro_batch=1, compute_limit=None)
    assert smallest_arena(graph, asked) == 210


@pytest.mark.parametrize("seed", range(24))
def test_exceeding_a_budget_is_what_the_bound_says(seed: int) -> None:
    graph = random_graph(seed, tiny=True)
    asked = random_request(seed, graph, tiny=True)
    for samples in allowed_micro_batches(graph, asked):
        instance = build_instance(graph, asked, samples)
        for look_back in (True, False):
            bound = lower_bound(instance, look_back=look_back).bytes
            assert exceeds(instance, bound - 1, look_back=look_back)
            assert not exceeds(instance, bound, look_back=look_back)


def test_likely_works_come_first_and_the_others_only_if_it_is_thorough() -> None:
    instance = instance_of(skip())
    # 120 bytes are seen looking back from join, which itself has fewer.
    assert lower_bound(instance, look_back=False).bytes < 120
    join = [work.operation for work in instance.works].index("join")
    at = excess_at(instance, 119)
    assert at is not None
    assert excess_at(instance, 119, likely=(join,)) == join
    assert excess_at(instance, 119, look_back=False) is None
    assert excess_at(instance, 120, likely=(join,), thorough=False) is None


def test_frozen_weights_in_ram() -> None:
    device = Device(
        name="phone",
        regions=(Region(name="ram", kind="ram", size_bytes=1 << 20),),
        rates=Rates(macs_per_second=10**9, moved_bytes_per_second=10**9),
        weights="ram",
    )
    plain = lower_bound(instance_of(inference()))
    found = lower_bound(instance_of(inference(), device=device))
    # They stand beside the arena, and the budget holds both.
    assert found.bytes == plain.bytes
    assert found.budget_bytes == plain.budget_bytes + 40 == plain.bytes + 40


@pytest.mark.parametrize("seed", range(24))
def test_never_above_the_least_arena_of_random_graphs(seed: int) -> None:
    graph = random_graph(seed, tiny=True)
    asked = random_request(seed, graph, tiny=True)
    least = smallest_arena(graph, asked)
    assert least is not None
    bounds = [
        lower_bound(build_instance(graph, asked, samples)).bytes
        for samples in allowed_micro_batches(graph, asked)
    ]
    assert min(bounds) <= least
