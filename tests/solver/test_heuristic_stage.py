from __future__ import annotations

import pytest

from memplan.solver import heuristic_stage
from memplan.solver.bounds import lower_bound
from memplan.solver.clock import WorkClock
from memplan.solver.progress import Reporter
from memplan.solver.pursuit import Pursuit, Side
from memplan.solver.techniques import Techniques
from tests.solver.problems import instance_of
from tests.support.hand_graphs import two_layers


def test_where_everything_fits_nothing_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def searched(pursuit: Pursuit, side: Side, seconds: float) -> None:
        asked.append(seconds)

    techniques = Techniques.without("mask_tree")
    monkeypatch.setattr(heuristic_stage, "search_masks", searched)
    for budget in (10**6, 700):
        instance = instance_of(two_layers(), budget, update="auto")
        side = Side(instance.samples, instance, lower_bound(instance))
        clock = WorkClock()
        pursuit = Pursuit(instance.request, techniques, Reporter(None), 10.0, clock, [side])
        heuristic_stage.try_heuristics(pursuit, [side], 1.0, 8.0)
        assert (pursuit.best is None) == bool(asked)
    # Both rounds: a fifth, then all, of three quarters of the longer time.
    assert len(asked) == 2 and 0.1 * 8 < asked[0] < asked[1] < 0.75 * 8 + 0.01


def test_a_mask_that_is_proved_to_be_the_most_important_is_not_searched_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heuristic_stage, "search_masks", None)  # calling it fails
    instance = instance_of(two_layers(), 650, update="auto", criterion="uniform")
    side = Side(instance.samples, instance, lower_bound(instance))
    clock = WorkClock()
    pursuit = Pursuit(instance.request, Techniques(), Reporter(None), 60.0, clock, [side])
    heuristic_stage.try_heuristics(pursuit, [side], 20.0, 20.0)
    assert pursuit.best is not None
    assert -pursuit.best.worth.minus_importance == pursuit.most_importance < 1_000_000
