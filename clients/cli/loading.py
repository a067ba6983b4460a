"""Loading the solver, which takes long once: when its machine code is compiled."""

from __future__ import annotations

from memplan.clients.cli.progress import Reporter

__all__ = ["load_solver"]


def load_solver(reporter: Reporter) -> None:
    """Load and compile the solver before its time limit begins, and say so.

    Raises:
        MissingExtraError: it is not installed.
    """
    from memplan.clients import pipeline

    reporter.stage("loading the solver, which is compiled the first time")
    pipeline.require_solver()
    from memplan.solver import prepare

    prepare()
