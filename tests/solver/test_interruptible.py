"""No CP-SAT solver may take Ctrl-C away from its caller."""

from __future__ import annotations

from memplan.solver.masks.estimate import _solver


def test_the_mask_estimate_leaves_the_signal_alone() -> None:
    # CP-SAT resets SIGINT to the default after a solve: the next Ctrl-C would lose the plan.
    assert not _solver(1.0).parameters.catch_sigint_signal
