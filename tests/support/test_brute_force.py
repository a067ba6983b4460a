"""The oracle against a slower one, against the checker, and against plans made by hand."""

from __future__ import annotations

from random import Random

import pytest

from memplan.ir.check import check
from memplan.ir.graph import OpGraph
from memplan.ir.request import LayerUpdate, PlanRequest
from tests.support.brute_force import brute_force, masks, micro_batches, smallest_arena
from tests.support.exact_plan import exact_plan
from tests.support.graph_builder import GraphBuilder, alternative
from tests.support.hand_graphs import HAND_GRAPHS, chain, diamond
from tests.support.naive_plan import naive_plan
from tests.support.random_graphs import random_graph, random_request, with_used_up
from tests.support.slow_oracle import slow_oracle


def with_budget(request: PlanRequest, budget_bytes: int) -> PlanRequest:
    return request.model_copy(update={"budget_bytes": budget_bytes})


def case(seed: int, tiny: bool) -> tuple[OpGraph, PlanRequest, int] | None:
    """Return graph, request with a tight budget, and the smallest arena; None if there is none."""
    graph = random_graph(seed, tiny=tiny)
    request = random_request(seed, graph, tiny=tiny)
    smallest = smallest_arena(graph, request)
    if smallest is None:
        return None
    return graph, with_budget(request, smallest + Random(seed).choice((0, 4, 16, 40))), smallest


@pytest.mark.parametrize("seed", range(60))
def test_equals_the_slow_oracle(seed: int) -> None:
    found = case(seed, tiny=True)
    assert found is not None
    graph, request, smallest = found
    best = brute_force(graph, request)
    truth = slow_oracle(graph, request)
    assert truth.sequences > 0
    assert truth.smallest_arena == smallest
    assert truth.key == (best.key if best else None)


#: Graphs of full size with few enough sequences (up to ten thousand) for the slow oracle.
MODERATE = (
    2, 10, 11, 16, 21, 26, 27, 47, 49, 54, 64, 70, 80, 82, 90, 93, 99, 100, 107, 109, 116, 120,
    121, 126, 140, 142, 149,
)  # fmt: skip


@pytest.mark.parametrize("seed", MODERATE)
def test_equals_the_slow_oracle_on_larger_graphs(seed: int) -> None:
    graph = random_graph(seed)
    request = random_request(seed, graph).model_copy(update={"computations": 2})
    smallest = smallest_arena(graph, request)
    assert smallest is not None
    request = with_budget(request, smallest + Random(seed).choice((0, 4, 16, 40)))
    best = brute_force(graph, request)
    truth = slow_oracle(graph, request)
    assert truth.smallest_arena == smallest
    assert truth.key == (best.key if best else None)


def test_equals_the_slow_oracle_where_operands_are_used_up() -> None:
    smaller = 0
    for seed in range(40):
        plain = random_graph(seed, tiny=True)
        graph = with_used_up(plain, seed)
        request = random_request(seed, plain, tiny=True)
        smallest = smallest_arena(graph, request)
        without = smallest_arena(plain, request)
        assert smallest is not None and without is not None and smallest <= without
        smaller += smallest < without
        request = with_budget(request, smallest + Random(seed).choice((0, 4, 16, 40)))
        best = brute_force(graph, request)
        truth = slow_oracle(graph, request)
        assert truth.smallest_arena == smallest
        assert truth.key == (best.key if best else None)
        assert best is not None
        plan = exact_plan(graph, request, best)
        report = check(graph, plan)
        assert report.accepted, "\n".join(map(str, report.verdicts))
        assert plan.totals.arena_bytes == best.arena_bytes
    assert smaller > 5


@pytest.mark.parametrize("seed", range(100))
def test_its_plans_are_accepted(seed: int) -> None:
    found = case(seed, tiny=False)
    if found is None:
        return
    graph, request, smallest = found
    best = brute_force(graph, request)
    assert best is not None
    plan = exact_plan(graph, request, best)
    report = check(graph, plan)
    assert report.accepted, "\n".join(map(str, report.verdicts))
    totals = plan.totals
    assert (totals.importance, totals.time_ns, totals.arena_bytes) == (
        best.importance,
        best.time_ns,
        best.arena_bytes,
    )
    at_the_limit = brute_force(graph, with_budget(request, smallest))
    assert at_the_limit is not None
    assert at_the_limit.arena_bytes == smallest
    assert smallest == 1 or brute_force(graph, with_budget(request, smallest - 1)) is None
    assert best.key[:2] <= at_the_limit.key[:2]


@pytest.mark.parametrize("seed", range(40))
def test_nothing_valid_is_better(seed: int) -> None:
    graph = random_graph(seed)
    request = random_request(seed, graph)
    best = brute_force(graph, request)
    smallest = smallest_arena(graph, request)
    assert best is not None
    assert smallest is not None
    random = Random(seed)
    for _ in range(8):
        plan = naive_plan(
            graph,
            request,
            mask=random.choice(masks(graph, request)),
            micro_batch=random.choice(micro_batches(graph, request)),
            reuse=True,
            in_place=random.random() < 0.5,
        )
        assert check(graph, plan).accepted
        key = (-plan.totals.importance, plan.totals.time_ns, plan.totals.arena_bytes)
        assert best.key <= key
        assert smallest <= plan.totals.arena_bytes


@pytest.mark.parametrize("name", HAND_GRAPHS)
def test_hand_graphs(name: str) -> None:
    graph = HAND_GRAPHS[name]()
    batch = {"diamond": 1, "statistics": 2}.get(name, 2)
    request = PlanRequest(budget_bytes=2**20, batch=batch, update="full", computations=2)
    plain = naive_plan(graph, request, reuse=True, in_place=True)
    smallest = smallest_arena(graph, request)
    assert smallest is not None
    assert smallest <= plain.totals.arena_bytes
    best = brute_force(graph, with_budget(request, smallest))
    assert best is not None
    assert check(graph, exact_plan(graph, with_budget(request, smallest), best)).accepted


def test_recomputation_pays_off_in_a_diamond() -> None:
    # add may take p's or q's bytes.  Keeping p for the gradient: w 24 + p 96 + q 96 + sum in
    # place, or a beside p and q at 24 + 48 + 96 + 96 = 264.  Computing p last, beside the sum,
    # needs a too: w + a 48 + p 96 + sum 96, the same.
    graph = diamond()
    request = PlanRequest(budget_bytes=2**20, batch=1, update="full", compute_limit=None)
    assert smallest_arena(graph, request) == 24 + 48 + 96 + 96
    # left and right in either order; the least time runs everything once.
    best = brute_force(graph, request)
    assert best is not None
    assert best.time_ns == naive_plan(graph, request).totals.time_ns


def test_a_chain_recomputes_under_a_tight_budget() -> None:
    graph = chain(3)
    request = PlanRequest(budget_bytes=2**20, batch=1, update="full", compute_limit=None)
    smallest = smallest_arena(graph, request)
    assert smallest is not None
    roomy, tight = brute_force(graph, request), brute_force(graph, with_budget(request, smallest))
    assert roomy is not None
    assert tight is not None
    assert tight.time_ns >= roomy.time_ns
    assert len({name for name, _ in roomy.body}) == len(roomy.body)
    plain = smallest_arena(graph, request.model_copy(update={"computations": 1}))
    assert plain is not None
    assert smallest <= plain


def fork() -> OpGraph:
    """Return x -> a -> big -> small; out reads a and small; a is cheap to compute again."""
    build = GraphBuilder("fork", mode="infer", symbolic=False, traced_batch=1)
    for name, size in (("a", 64), ("big", 64), ("small", 8), ("out", 8)):
        build.tensor(name, "activation", size)
    build.tensor("x", "input", 8)
    for name, reads, writes in (
        ("f.a", ["x"], "a"),
        ("f.big", ["a"], "big"),
        ("f.small", ["big", "x"], "small"),
        ("f.out", ["a", "small"], "out"),
    ):
        build.operation(
            name, "forward", alternative(reads, macs=10), [writes], recomputable=name == "f.a"
        )
    return build.build(["out"])


def test_limits_on_recomputation() -> None:
    graph = fork()
    request = PlanRequest(
        budget_bytes=2**20, batch=1, alignment_bytes=8, compute_limit=None, computations=2
    )
    # a 64, big 64 and x 8 at f.big, whatever happens; f.small would add 8 beside a kept a.
    assert smallest_arena(graph, request) == 136
    assert smallest_arena(graph, request.model_copy(update={"computations": 1})) == 144
    # One more f.a is 10 of 40 MACs of the forward.
    assert smallest_arena(graph, request.model_copy(update={"compute_limit": 0.25})) == 136
    assert smallest_arena(graph, request.model_copy(update={"compute_limit": 0.24})) == 144
    tight = brute_force(graph, with_budget(request, 136))
    assert tight is not None
    assert [name for name, _ in tight.body] == ["f.a", "f.big", "f.small", "f.a", "f.out"]
    assert brute_force(graph, with_budget(request, 135)) is None


def test_importance_comes_first_then_time_then_bytes() -> None:
    graph = chain(2)
    request = PlanRequest(budget_bytes=2**20, batch=4, criterion="uniform")
    roomy = brute_force(graph, request)
    assert roomy is not None
    assert roomy.importance == 1_000_000
    assert roomy.micro_batch == 4
    # Updating the head alone keeps less: it is what fits when both do not.
    both = smallest_arena(graph, request.model_copy(update={"update": "full"}))
    assert both is not None
    less = brute_force(graph, with_budget(request, both - 1))
    assert less is not None
    assert less.importance == 500_000
    head = (LayerUpdate(layer="head", weight="whole"),)
    assert less.mask == head


def test_more_budget_never_costs_more() -> None:
    for seed in range(12):
        graph = random_graph(seed)
        request = random_request(seed, graph)
        smallest = smallest_arena(graph, request)
        if smallest is None:
            continue
        keys = []
        for extra in (0, 8, 24, 64, 200):
            best = brute_force(graph, with_budget(request, smallest + extra))
            assert best is not None
            keys.append(best.key[:2])
        assert keys == sorted(keys, reverse=True)
