"""How the stages share the time."""

from __future__ import annotations

import pytest

from memplan.solver import search as module
from memplan.solver.bounds import lower_bound
from memplan.solver.clock import WorkClock
from memplan.solver.progress import Reporter
from memplan.solver.pursuit import Pursuit, Side
from memplan.solver.techniques import Techniques
from tests.solver.problems import instance_of
from tests.support.hand_graphs import two_layers

#: The graph has fewer operations, and more computations if what may runs twice.
BETWEEN = 20


@pytest.mark.parametrize(
    ("computations", "largest", "share"),
    [
        (None, 500, module._SHARE_BEFORE_MODEL),
        # Then the joint model cannot come behind them.
        (None, 1, module._SHARE_ALONE),
        # Each operation counts once where none may run again.
        (1, BETWEEN, module._SHARE_BEFORE_MODEL),
        (2, BETWEEN, module._SHARE_ALONE),
    ],
)
def test_choosing_a_mask_gets_the_time_that_nothing_else_needs(
    computations: int | None, largest: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = instance_of(two_layers(), update="auto", computations=computations)
    works = instance.works
    assert len(works) <= BETWEEN < sum(1 + work.recomputable for work in works)
    monkeypatch.setattr(module, "LARGEST_MODEL_COMPUTATIONS", largest)
    side = Side(instance.samples, instance, lower_bound(instance))
    pursuit = Pursuit(instance.request, Techniques(), Reporter(None), 10.0, WorkClock(), [side])
    assert module._mask_share(pursuit, [side]) == share
