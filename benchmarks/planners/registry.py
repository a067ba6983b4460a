"""All planners by name, in the order of the table."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from benchmarks.planners.answer import Planner
from benchmarks.planners.checkmate import checkmate, checkmate_rounding
from benchmarks.planners.chen import chen, chen_greedy
from benchmarks.planners.ours import memplan
from benchmarks.planners.sequential import sequential

__all__ = ["PLANNERS"]

_HEURISTICS: Mapping[str, Planner] = {
    "chen": chen,
    "chen-greedy": chen_greedy,
    "checkmate-rounding": checkmate_rounding,
}

PLANNERS: Mapping[str, Planner] = MappingProxyType(
    {
        "memplan": memplan,
        "sequential": partial(sequential, exact=checkmate, heuristics=_HEURISTICS),
        "checkmate": checkmate,
        **_HEURISTICS,
    }
)
