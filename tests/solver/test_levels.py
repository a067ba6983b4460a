from __future__ import annotations

import pytest

from memplan.ir.request import PlanRequest
from memplan.solver.levels import Proof, certify_levels, with_known
from memplan.solver.restrictions import (
    ALONG_LINE,
    ALONG_LINE_BEHIND_FORWARD,
    ONCE_IN_ORDER,
    on_computations,
)
from memplan.solver.solution import Worth

FOUND = Worth(-70, 1_000, 400)


def test_optimal_where_every_level_meets_its_bound() -> None:
    levels, status = certify_levels(FOUND, Proof(70, 1_000, 400), 300, choice=True)
    assert status == "optimal"
    assert [(level.name, level.bound, level.gap) for level in levels] == [
        ("importance", 70, 0.0),
        ("time_ns", 1_000, 0.0),
        ("arena_bytes", 400, 0.0),
    ]


def test_the_byte_bound_alone_may_close_the_last_level() -> None:
    levels, status = certify_levels(FOUND, Proof(70, 1_000, None), 400, choice=True)
    assert status == "optimal"
    assert levels[-1].bound == 400


@pytest.mark.parametrize("importance", [70, 71, None])
@pytest.mark.parametrize("time_ns", [1_000, 990, None])
@pytest.mark.parametrize("arena_bytes", [400, 399, None])
def test_never_optimal_with_a_gap(
    importance: int | None, time_ns: int | None, arena_bytes: int | None
) -> None:
    proof = Proof(importance, time_ns, arena_bytes)
    levels, status = certify_levels(FOUND, proof, 300, choice=True)
    closed = (importance, time_ns, arena_bytes) == (70, 1_000, 400)
    assert (status == "optimal") == closed
    assert all(level.bound == level.value for level in levels) == closed


@pytest.mark.parametrize("line", [ALONG_LINE, ALONG_LINE_BEHIND_FORWARD, ONCE_IN_ORDER])
def test_what_is_proved_along_a_line_is_not_optimal(line: str) -> None:
    of_models = on_computations(PlanRequest(budget_bytes=400, batch=1))
    for restrictions, expected in (
        ([of_models], "optimal"),
        ([line], "feasible"),
        ([line, of_models], "feasible"),
    ):
        proof = Proof(70, 1_000, 400, restrictions)
        levels, status = certify_levels(FOUND, proof, 300, choice=True)
        assert status == expected
        assert all(level.gap == 0 for level in levels)


def test_of_proofs_with_the_same_limits_those_along_a_line_come_last() -> None:
    free = Proof(70, 1_000, 400, ["at most 3 computations", "everything in region SRAM"])
    along = Proof(70, 1_000, 400, [ALONG_LINE])
    assert with_known(along, [free]).restrictions == free.restrictions
    assert with_known(free, [along]).restrictions == free.restrictions


def test_lower_levels_have_no_bound_while_a_higher_one_is_open() -> None:
    levels, status = certify_levels(FOUND, Proof(80, 1_000, 400), 300, choice=True)
    assert status == "feasible"
    importance, time_ns, arena = levels
    assert importance.gap == pytest.approx(10 / 70)
    # 1,000 ns holds for plans of importance 80, which are no faster than others may be.
    assert (time_ns.bound, time_ns.gap) == (None, None)
    # The byte bound holds for every plan.
    assert (arena.bound, arena.gap) == (300, 0.25)


def test_a_given_mask_has_no_importance_level() -> None:
    levels, status = certify_levels(FOUND, Proof(None, 1_000, 400), 0, choice=False)
    assert [level.name for level in levels] == ["time_ns", "arena_bytes"]
    assert status == "optimal"


def test_what_is_known_counts_only_under_the_same_limits_above() -> None:
    own = Proof(importance=10, time_ns=50, arena_bytes=7, restrictions=["own"])
    assert with_known(own, ()) == own
    # A closer limit of importance: what was proved of time for more importance says nothing.
    less = Proof(importance=9, time_ns=40, restrictions=["less"])
    assert with_known(own, [less]) == Proof(importance=9, time_ns=40, restrictions=["less"])
    # The same importance: the later time counts, and bytes only of proofs with that time.
    slower = Proof(importance=10, time_ns=60, restrictions=["slower"])
    assert with_known(own, [slower]) == Proof(10, 60, restrictions=["slower"])
    # One that has all of the limits does alone; without it both are needed.
    smaller = Proof(importance=10, time_ns=60, arena_bytes=8, restrictions=["smaller"])
    assert with_known(slower, [smaller]) == Proof(10, 60, 8, ["smaller"])
    higher = Proof(importance=10, restrictions=["higher"])
    later = Proof(importance=12, time_ns=99, restrictions=["later"])
    assert with_known(higher, [later]) == Proof(importance=10, restrictions=["higher"])
    larger = Proof(importance=10, time_ns=50, arena_bytes=9)
    assert with_known(own, [larger]) == Proof(10, 50, 9, lower_bound_time_ns=50)
    # More importance, which is no news.
    assert with_known(own, [Proof(importance=11, time_ns=99)]) == own
    assert with_known(Proof(), [own]) == own
    given = Proof(time_ns=50, arena_bytes=7)  # of a mask that is given
    assert with_known(given, ()) == given
