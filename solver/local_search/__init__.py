"""Annealing over schedules, compiled: moves, their measure, and the walk."""

from __future__ import annotations

from memplan.solver.local_search.anneal import anneal

__all__ = ["anneal"]
