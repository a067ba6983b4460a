"""All planners by name, in the order of the table."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from benchmarks.planners.answer import Planner
from benchmarks.planners.checkmate import checkmate, checkmate_big_m, checkmate_rounding
from benchmarks.planners.chen import chen, chen_greedy
from benchmarks.planners.melon import melon
from benchmarks.planners.min_cut import min_cut
from benchmarks.planners.moccasin import moccasin
from benchmarks.planners.model_joint import model_joint
from benchmarks.planners.ours import memplan
from benchmarks.planners.rotor import rotor
from benchmarks.planners.sequential import sequential

__all__ = ["ABOUT", "PLANNERS", "UNLIMITED"]

_HEURISTICS: Mapping[str, Planner] = {
    "chen": chen,
    "chen-greedy": chen_greedy,
    "melon": melon,
    "rotor": rotor,
    "checkmate-rounding": checkmate_rounding,
}

PLANNERS: Mapping[str, Planner] = MappingProxyType(
    {
        "memplan": memplan,
        "sequential": partial(sequential, exact=checkmate, heuristics=_HEURISTICS),
        "checkmate": checkmate,
        "checkmate-big-m": checkmate_big_m,
        **_HEURISTICS,
        "moccasin-2": partial(moccasin, computations=2),
        "moccasin-3": partial(moccasin, computations=3),
        "model": model_joint,
        "min-cut": min_cut,
    }
)

#: Has no time limit, and answers for every budget at once.
UNLIMITED = frozenset({"min-cut"})

#: What each is, for the reader of a table.
ABOUT: Mapping[str, str] = MappingProxyType(
    {
        "memplan": "order, recomputation and addresses together",
        "sequential": "plain order, then Checkmate's program (else the cheapest of the heuristics "
        "below), then memplan's packer; again with fewer live bytes where packing exceeds the "
        "budget",
        "checkmate": "the integer program of Jain et al. (2020) without big-M, on HiGHS",
        "checkmate-big-m": "the same as it was published first: with big-M, and backward "
        "operations may run again",
        "checkmate-rounding": "its relaxation at 0.9 of the budget, rounded at 0.1 to 0.9",
        "chen": "Chen et al. (2016): sqrt(n) segments of the forward order; what crosses a border "
        "is kept, so that it is defined on every graph; one plan, whatever the budget",
        "chen-greedy": "the same with segments of equal bytes, whose number is searched",
        "rotor": "the dynamic program of Beaumont et al. (2019) over blocks between articulation "
        "points",
        "melon": "Wang et al. (2022): eviction by TPS, in its own lifetime-aware pool",
        "moccasin-2": "retention intervals of Bartan et al. (2023) on CP-SAT, at most 2 "
        "computations of an operation",
        "moccasin-3": "the same with at most 3",
        "model": "Steiner et al. (2023) as one program with addresses, on CP-SAT; up to 100 "
        "operations",
        "min-cut": "torch's partitioner with activation_memory_budget 1.0 to 0.0, on graphs that "
        "come from torch; its first call traces the model",
    }
)
