"""Annealing over schedules, compiled: moves, their measure, and the walk."""

from __future__ import annotations

from memplan.solver.local_search.anneal import anneal
from memplan.solver.local_search.prepare import prepare

__all__ = ["anneal", "prepare"]
