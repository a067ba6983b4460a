"""Native code that does not end in time is left to itself."""

from __future__ import annotations

import threading

import pytest

from memplan.solver.clock import Clock
from memplan.solver.native import ABANDONED, run_watched


def test_what_takes_longer_than_its_limit_is_abandoned() -> None:
    go_on, before = threading.Event(), threading.enumerate()
    assert run_watched(go_on.wait, Clock(), None, seconds=0.0) is None
    (left,) = [thread for thread in threading.enumerate() if thread not in before]
    assert left.daemon
    assert left.name == ABANDONED
    go_on.set()
    left.join()


def test_what_ends_in_time_is_returned() -> None:
    assert run_watched(lambda: 7, Clock(), None, seconds=60.0) == 7


def test_a_failure_is_raised_here() -> None:
    def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_watched(fail, Clock(), None, seconds=60.0)
