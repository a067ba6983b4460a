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


@pytest.mark.parametrize(
    ("update", "largest", "off", "share"),
    [
        ("auto", 500, (), module._SHARE_BEFORE_MODEL),
        ("full", 500, (), module._SHARE_BEFORE_MODEL),
        # Neither the joint model nor a bound on time can come behind them.
        ("auto", 1, (), module._SHARE_ALONE),
        # Here a bound on time can.
        ("full", 1, (), module._SHARE_BEFORE_MODEL),
        ("auto", 500, ("joint_model",), 1.0),
    ],
)
def test_heuristics_get_the_time_that_nothing_else_needs(
    update: str, largest: int, off: tuple[str, ...], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGEST_MODEL_COMPUTATIONS", largest)
    instance = instance_of(two_layers(), update=update)
    side = Side(instance.samples, instance, lower_bound(instance))
    techniques = Techniques.without(*off)
    pursuit = Pursuit(instance.request, techniques, Reporter(None), 10.0, WorkClock(), [side])
    assert module._heuristics_share(pursuit, [side]) == share
