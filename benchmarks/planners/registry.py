"""All planners by name, in the order of the table."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from benchmarks.planners.answer import Planner
from benchmarks.planners.checkmate import checkmate, checkmate_rounding
from benchmarks.planners.chen import chen, chen_greedy
from benchmarks.planners.melon import melon
from benchmarks.planners.min_cut import min_cut
from benchmarks.planners.moccasin import moccasin
from benchmarks.planners.model_joint import model_joint
from benchmarks.planners.ours import memplan
from benchmarks.planners.rotor import rotor
from benchmarks.planners.sequential import sequential

__all__ = ["PLANNERS"]

_HEURISTICS: Mapping[str, Planner] = {
    "chen": chen,
    "chen-greedy": chen_greedy,
    "rotor": rotor,
    "melon": melon,
    "checkmate-rounding": checkmate_rounding,
}

PLANNERS: Mapping[str, Planner] = MappingProxyType(
    {
        "memplan": memplan,
        "sequential": partial(sequential, exact=checkmate, heuristics=_HEURISTICS),
        "checkmate": checkmate,
        **_HEURISTICS,
        "moccasin-2": partial(moccasin, computations=2),
        "moccasin-3": partial(moccasin, computations=3),
        "model": model_joint,
        "min-cut": min_cut,
    }
)
