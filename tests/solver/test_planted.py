"""Bounds above the value and wrong statuses, planted in the search: none leaves the solver.

What the checker cannot see (a bound that is too high, but not above this plan) is what the
comparison with brute force in ``test_against_brute_force`` is for; here it is seen to catch it.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest

from memplan.ir.errors import PlanRejectedError
from memplan.ir.packing import PackingBuffer
from memplan.solver import _solve, proofs, search, solve
from memplan.solver.bounds import ByteBound
from memplan.solver.instance import Instance
from memplan.solver.levels import Proof, certify_levels
from memplan.solver.packing import answer as pack_answer
from memplan.solver.packing._pack import Packing
from memplan.solver.packing._pack import Proof as PackingProof
from memplan.solver.pebble_bound import least_bytes
from tests.solver.problems import request, skip
from tests.solver.test_against_brute_force import is_optimal

ASKED = request(skip(), 130, time_limit_seconds=20.0)
OPTIMUM_BYTES = 120


def plant_proof(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    joined = proofs.joined_proof

    def planted(*arguments: Any) -> Proof:
        return replace(joined(*arguments), **changes)

    monkeypatch.setattr(search, "joined_proof", planted)


def plant_byte_bound(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    def planted(instance: Instance, *arguments: Any, **options: Any) -> ByteBound:
        return replace(least_bytes(instance, *arguments, **options), bytes=size)

    monkeypatch.setattr(search, "least_bytes", planted)


def test_the_problem_has_an_optimum() -> None:
    answer = solve(skip(), ASKED)
    assert answer.plan is not None
    assert answer.status == "optimal"
    assert answer.plan.totals.arena_bytes == OPTIMUM_BYTES


def test_a_bound_on_time_above_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_proof(monkeypatch, time_ns=10**9)
    with pytest.raises(PlanRejectedError, match=r"\[bound\] time_ns reaches .* beyond its bound"):
        solve(skip(), ASKED)


def test_a_bound_on_bytes_above_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_proof(monkeypatch, arena_bytes=OPTIMUM_BYTES + 1)
    with pytest.raises(PlanRejectedError, match=r"\[bound\] arena_bytes reaches 120, beyond"):
        solve(skip(), ASKED)


def test_a_bound_of_every_plan_above_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_byte_bound(monkeypatch, OPTIMUM_BYTES + 1)
    with pytest.raises(PlanRejectedError, match="121 bytes are said to be needed, the arena has"):
        solve(skip(), ASKED)


@pytest.mark.parametrize("status", ["optimal", "feasible"])
def test_a_wrong_status(monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    if status == "optimal":  # with a gap
        plant_proof(monkeypatch, time_ns=1)

    def planted(*arguments: Any) -> Any:
        levels, honest = certify_levels(*arguments)
        assert honest != status
        return levels, status

    monkeypatch.setattr(_solve, "certify_levels", planted)
    with pytest.raises(
        PlanRejectedError, match=r"\[status\] (said to be optimal|every level meets)"
    ):
        solve(skip(), ASKED)


@pytest.mark.parametrize("size", [OPTIMUM_BYTES - 1, OPTIMUM_BYTES + 1, 131])
def test_what_no_plan_shows_brute_force_does(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Below the least arena a bound is honest, beyond the budget the answer is infeasible."""
    plant_byte_bound(monkeypatch, size)
    if size < OPTIMUM_BYTES:
        assert is_optimal(skip(), ASKED, OPTIMUM_BYTES)
        return
    with pytest.raises((AssertionError, PlanRejectedError), match=r"bound|bytes are said"):
        is_optimal(skip(), ASKED, OPTIMUM_BYTES)


BUFFERS = (PackingBuffer("a", 0, 2, 8), PackingBuffer("b", 1, 3, 8))


@pytest.mark.parametrize(
    ("proof", "capacity", "fault"),
    [
        (PackingProof("optimal", Packing((0, 8), 16), 17), None, "bound 17 is above the height 16"),
        (PackingProof("feasible", Packing((0, 8), 16), 17), 20, "bound 17 is above the height 16"),
        (PackingProof("optimal", Packing((0, 8), 16), 15), None, "optimal at 16, and the bound is"),
        (PackingProof("infeasible", None, 16), 16, "infeasible at 16, and the bound is 16"),
        (PackingProof("undecided", None, 17), 16, "undecided at 16, and the bound is 17"),
        (PackingProof("undecided", Packing((0, 8), 16), 16), 16, "places, and the status is"),
        (PackingProof("feasible", Packing((0, 4), 12), 12), 16, "live at once and share bytes"),
    ],
)
def test_a_packing_that_lies(
    monkeypatch: pytest.MonkeyPatch, proof: PackingProof, capacity: int | None, fault: str
) -> None:
    module = sys.modules[pack_answer.__module__]  # which its function hides
    monkeypatch.setattr(module, "_prove", lambda *arguments: proof)
    with pytest.raises(PlanRejectedError, match=fault):
        pack_answer(BUFFERS, capacity)
