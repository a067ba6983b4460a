"""Compiling the packing search ahead of time, so that no time limit pays for it."""

from __future__ import annotations

import functools

import numpy as np

from memplan.solver.packing.depth_first import rules_of, search
from memplan.solver.packing.flat import flatten
from memplan.solver.packing.lowest_fit import lowest_fit_of
from memplan.solver.packing.rectangle import Rectangle
from memplan.solver.packing.techniques import PackingTechniques

__all__ = ["prepare_packing"]


@functools.cache
def prepare_packing() -> None:
    """Compile the search, or load what an earlier process compiled: some seconds, once."""
    flat = flatten([Rectangle(0, 1, 1), Rectangle(0, 1, 1)], [1, 1])
    order, none = np.arange(2), np.zeros(2, np.int64)
    lowest_fit_of(flat, order)
    halt, highest = np.zeros(1, np.int64), np.ones(2, np.int64)
    search(flat, highest, order, rules_of(PackingTechniques()), 8, none, halt)
