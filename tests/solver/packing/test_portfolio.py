"""Workers, seeds, switches and proofs of whole searches."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from memplan.ir.check.packing import packing_faults, require_packing
from memplan.ir.errors import PlanRejectedError
from memplan.ir.packing import PackedBuffer, PackingAnswer, PackingBuffer
from memplan.solver.clock import Clock, WorkClock
from memplan.solver.packing import (
    PackingTechniques,
    Problem,
    Rectangle,
    answer,
    clique_bound,
    least_packing,
    pack,
    pack_within,
    portfolio,
)
from memplan.solver.packing.depth_first import LIMIT
from memplan.solver.packing.flat import Flat, Integers, flatten
from memplan.solver.packing.portfolio import decide
from tests.solver.packing.instances import cut_up, random_problem
from tests.solver.packing.test_pack import GAP, assert_apart
from tests.support.exact_packing import min_height

WHOLE = ("sort_orders", "order_search", "depth_first", "no_overlap", "random_restarts")


def problem_of(rectangles: list[Rectangle], alignment: int = 1) -> Problem:
    return Problem(tuple(rectangles), (alignment,) * len(rectangles))


def buffers_of(rectangles: list[Rectangle]) -> list[PackingBuffer]:
    return [PackingBuffer(str(i), *rectangle) for i, rectangle in enumerate(rectangles)]


def test_every_preorder_gets_one_descent_before_any_gets_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[tuple[int, ...], int]] = []

    def searched(flat: Flat, *rest: Any) -> tuple[int, int, Integers]:
        _, rank, _, nodes, *_ = rest
        asked.append((tuple(rank), nodes))
        return LIMIT, nodes, flat.first

    monkeypatch.setattr(portfolio, "search", searched)
    rectangles = random_problem(3)
    flat = flatten(rectangles, [1] * len(rectangles))
    highest = flat.highest(rectangles, clique_bound(rectangles))
    steady = PackingTechniques.without("random_restarts")
    decide(flat, highest, 1e9, clock=WorkClock(), node_limit=10_000, techniques=steady)
    preorders = len(portfolio._FIXED)
    ranks, nodes = zip(*asked[: 2 * preorders], strict=True)
    assert ranks[:preorders] == ranks[preorders:] and len(set(ranks)) > 1
    assert len(set(nodes[:preorders])) == 1 and nodes[0] >= len(rectangles)
    assert [later / first for first, later in zip(nodes, nodes[preorders:], strict=False)] == [
        2.0
    ] * preorders


@pytest.mark.parametrize("off", [*product((False, True), repeat=len(WHOLE))])
@pytest.mark.parametrize("weights", [False, True])
def test_no_switch_makes_a_wrong_result(off: tuple[bool, ...], weights: bool) -> None:
    names = [name for name, is_off in zip(WHOLE, off, strict=True) if is_off]
    techniques = PackingTechniques.without(*names, *([] if weights else ["conflict_weights"]))
    complete = techniques.depth_first or techniques.no_overlap
    seconds = (
        20.0 if complete else 0.1
    )  # a complete search ends with its proof, others with the time
    for rectangles in (random_problem(3), [Rectangle(*r) for r in GAP]):
        least = min_height(tuple(rectangles), 1)
        assert least is not None
        problem = problem_of(rectangles)
        below = pack_within(problem, least - 1, seconds=seconds, techniques=techniques)
        assert below.packing is None and below.lower_bound <= least
        assert below.status == ("infeasible" if complete else below.status)
        at = pack_within(problem, least, seconds=seconds, techniques=techniques)
        assert at.status in ("feasible", "undecided")
        if complete:
            assert at.status == "feasible"
        free = least_packing(problem, seconds=seconds, techniques=techniques)
        assert free.packing is not None
        assert free.lower_bound <= least <= free.packing.height
        assert (free.status == "optimal") == (free.lower_bound == free.packing.height)
        if complete:
            assert free.status == "optimal"
        assert_apart(rectangles, free.packing.offsets)


@pytest.mark.parametrize("seed", [0, 7])
def test_one_worker_finds_what_two_find(seed: int) -> None:
    rectangles = cut_up(0, 90, 60, 500)
    flat = flatten(rectangles, [1] * 90)
    highest = flat.highest(rectangles, 500)
    results = [
        decide(flat, highest, 1e12, clock=Clock(), seed=seed, workers=workers, node_limit=10**6)
        for workers in (1, 2, 2)
    ]
    assert results[0].offsets is not None
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("alignment", [1, 4])
def test_the_least_packing_is_the_optimum(alignment: int) -> None:
    for seed in range(15):
        rectangles = random_problem(seed, 8)
        proof = least_packing(problem_of(rectangles, alignment), seconds=20.0, workers=2)
        assert proof.status == "optimal" and proof.packing is not None
        assert proof.packing.height == min_height(tuple(rectangles), alignment)


def test_the_bound_counts_alignment() -> None:
    rectangles = [Rectangle(0, 2, 3), Rectangle(0, 2, 2), Rectangle(1, 4, 5)]
    assert problem_of(rectangles).bound == clique_bound(rectangles) == 10
    # Two are padded to 4 and 8; the one on top of them is not: 4 + 8 + 2 or 4 + 4 + 5.
    assert problem_of(rectangles, 4).bound == 13


def test_heights_that_can_be() -> None:
    problem = problem_of([Rectangle(0, 1, 6), Rectangle(0, 1, 4)], 4)
    assert [problem.height_from(least) for least in (0, 5, 7, 9, 11)] == [4, 6, 8, 10, 12]


def test_the_work_clock_ends_a_search() -> None:
    rectangles = cut_up(0, 200, 100, 1000)
    clock = WorkClock()
    proof = pack_within(problem_of(rectangles), 1000, seconds=0.05, clock=clock)
    assert proof.status in ("feasible", "undecided")
    assert 0 < clock.spent < 60


def test_a_stop_is_obeyed_at_once() -> None:
    rectangles = cut_up(0, 200, 100, 1000)
    proof = least_packing(problem_of(rectangles), seconds=600.0, clock=Clock(lambda: True))
    assert proof.status == "feasible" and proof.packing is not None
    assert_apart(rectangles, proof.packing.offsets)


def test_pack_keeps_within_a_limit_that_sort_orders_miss() -> None:
    rectangles = cut_up(0, 60, 30, 200)
    assert pack(rectangles, 200).height > 200
    packing = pack(rectangles, 200, seconds=30.0)
    assert packing.height == 200
    assert_apart(rectangles, packing.offsets)


def test_unknown_technique() -> None:
    with pytest.raises(ValueError, match="no technique 'magic'"):
        PackingTechniques.without("magic")


def test_answers_are_checked() -> None:
    buffers = buffers_of([Rectangle(0, 2, 3), Rectangle(1, 3, 4)])
    right = answer(buffers, None, seconds=1.0, workers=1)
    require_packing(buffers, right)

    def faults(*offsets: int, capacity: int = 9) -> str:
        placed = [PackedBuffer(str(i), offset) for i, offset in enumerate(offsets)]
        return " ".join(packing_faults(buffers, placed, capacity))

    assert faults(0, 3) == faults(4, 0) == ""
    assert "share bytes [2, 3)" in faults(0, 2)
    assert "capacity of 6" in faults(0, 3, capacity=6)
    assert "takes [-1, 2)" in faults(-1, 3)
    assert "not those of the problem" in faults(0)
    aligned = [PackingBuffer("0", 0, 2, 3, alignment=2)]
    assert packing_faults(aligned, [PackedBuffer("0", 1)], 9) == ["0 begins at 1, no multiple of 2"]


@pytest.mark.parametrize(
    ("status", "capacity", "bound", "height", "message"),
    [
        ("optimal", 8, 7, 7, "optimal at 8, and the bound is 7"),
        ("optimal", 7, 7, 6, "height"),
        ("feasible", 9, 8, 7, "bound 8 is above the height 7"),
        ("infeasible", 9, 7, 7, "there are places"),
        ("infeasible", 9, 9, None, "infeasible at 9, and the bound is 9"),
    ],
)
def test_wrong_answers_are_refused(
    status: str, capacity: int, bound: int, height: int | None, message: str
) -> None:
    buffers = buffers_of([Rectangle(0, 2, 3), Rectangle(1, 3, 4)])
    places = () if height is None else (PackedBuffer("0", 0), PackedBuffer("1", 3))
    wrong = PackingAnswer(status, capacity, bound, height, places, 0.0)  # type: ignore[arg-type]
    with pytest.raises(PlanRejectedError, match=message):
        require_packing(buffers, wrong)
