"""The order in which packing techniques are tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from memplan.solver.clock import WALL, Clock, WorkClock
from memplan.solver.packing.exact import no_overlap
from memplan.solver.packing.lowest_fit import improve_order
from memplan.solver.packing.portfolio import decide, seconds_per_node
from memplan.solver.packing.problem import Problem
from memplan.solver.packing.rectangle import Rectangle, height
from memplan.solver.packing.techniques import PackingTechniques

__all__ = ["Packing", "Proof", "least_packing", "pack", "pack_within"]

#: Of the time that is left: what each technique takes before the next one has its turn.
_DEPTH_FIRST_SHARE = 0.7
_ORDER_SEARCH_SHARE = 0.3
#: Nodes per buffer of the first, and of each further, round of ``least_packing``.
_ROUND_NODES, _ROUND_GROWTH = 100, 3
#: The bound itself is asked for with this many times the nodes: most real problems reach it.
_BOUND_SHARE = 5


@dataclass(frozen=True, slots=True)
class Packing:
    """Offsets of rectangles, and how high they reach."""

    offsets: tuple[int, ...]
    height: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of a problem and a capacity."""

    status: Literal["optimal", "feasible", "infeasible", "undecided"]
    packing: Packing | None
    #: Proven: no packing is lower.
    lower_bound: int


def pack(
    rectangles: Sequence[Rectangle],
    limit: int | None = None,
    *,
    seconds: float = 0.0,
    seed: int = 0,
    workers: int = 1,
    exact: bool = True,
    clock: Clock = WALL,
    techniques: PackingTechniques | None = None,
) -> Packing:
    """Return offsets for ``rectangles``, as low as is found.

    The techniques run in turn until the height is within ``limit`` (None: at the peak of live
    bytes, which is the least possible) or ``seconds`` are used up.  ``exact``: CP-SAT too.
    """
    if not rectangles:
        return Packing((), 0)
    techniques = techniques or PackingTechniques()
    if not exact:
        techniques = _without_no_overlap(techniques)
    problem = Problem(tuple(rectangles), (1,) * len(rectangles))
    limit = problem.bound if limit is None else max(limit, problem.bound)
    best, order = _first(problem, limit, techniques)
    if best.height > limit and seconds > 0:
        until = clock.now() + seconds
        found, impossible = _search(problem, limit, until, seed, workers, clock, techniques)
        if found is not None:
            return found
        if impossible:
            limit = problem.height_from(limit + 1)
        if techniques.order_search and best.height > limit:
            best = _improved(problem, best, order, limit, until, seed, clock)
    return best


def pack_within(
    problem: Problem,
    capacity: int,
    *,
    seconds: float,
    seed: int = 0,
    workers: int = 1,
    clock: Clock = WALL,
    techniques: PackingTechniques | None = None,
) -> Proof:
    """Find a packing of at most ``capacity`` bytes, or prove that there is none."""
    techniques = techniques or PackingTechniques()
    if capacity < problem.bound:
        return Proof("infeasible", None, problem.bound)
    until = clock.now() + seconds
    best, order = _first(problem, capacity, techniques)
    if best.height <= capacity:
        return Proof("feasible", best, problem.bound)
    found, impossible = _search(problem, capacity, until, seed, workers, clock, techniques)
    if impossible:
        return Proof("infeasible", None, problem.height_from(capacity + 1))
    if found is None and techniques.order_search:
        best = _improved(problem, best, order, capacity, until, seed, clock)
        found = best if best.height <= capacity else None
    return Proof("undecided" if found is None else "feasible", found, problem.bound)


def least_packing(
    problem: Problem,
    *,
    seconds: float,
    seed: int = 0,
    workers: int = 1,
    clock: Clock = WALL,
    techniques: PackingTechniques | None = None,
) -> Proof:
    """Find the lowest packing; it is ``optimal`` only if it reaches a proven bound.

    Each round asks first for the bound itself, then halves the interval up to the best height.  A
    height that a round leaves undecided counts as too low in that round, and is asked for again,
    with more nodes, in the next one.
    """
    techniques = techniques or PackingTechniques()
    until = clock.now() + seconds
    bound = problem.bound
    best, order = _first(problem, bound, techniques)
    nodes = _ROUND_NODES * len(problem.rectangles)
    while best.height > bound and not clock.over(until):
        doubtful = bound
        while techniques.depth_first and doubtful < best.height and not clock.over(until):
            target, limit = bound, _BOUND_SHARE * nodes
            if doubtful > bound:
                limit = nodes
                target = problem.height_from((doubtful + best.height) // 2)
                target = min(target, best.height - 1)
            found, impossible = _depth_first(
                problem, target, until, seed, workers, clock, techniques, limit
            )
            if found is not None:
                best = found
            elif impossible:
                bound = doubtful = problem.height_from(target + 1)
            else:
                doubtful = target + 1
        # By work and not by the clock: the same in every run.
        work = nodes * seconds_per_node(problem.flat)
        counted = WorkClock(partial(clock.over, until))
        if techniques.no_overlap and best.height > bound:
            found, impossible = _no_overlap(problem, best.height - 1, work, seed, workers, counted)
            best = best if found is None else found
            bound = best.height if impossible else bound
        if techniques.order_search and best.height > bound:
            later = counted.now() + work
            best = _improved(problem, best, order, bound, later, seed, counted)
        clock.spend(counted.spent)
        if not (techniques.depth_first or techniques.no_overlap or techniques.order_search):
            break
        nodes *= _ROUND_GROWTH
        seed += 1
    return Proof("optimal" if best.height <= bound else "feasible", best, bound)


def _without_no_overlap(techniques: PackingTechniques) -> PackingTechniques:
    off = [name for name in techniques.__slots__ if not getattr(techniques, name)]
    return PackingTechniques.without("no_overlap", *off)


def _first(
    problem: Problem, limit: int, techniques: PackingTechniques
) -> tuple[Packing, list[int]]:
    """Return a packing at once, and the order of lowest fit that it comes from."""
    order = list(range(len(problem.rectangles)))
    if techniques.sort_orders:
        offsets, order = problem.sort_orders(limit)
    else:
        offsets = problem.lowest_fit(order)
    return Packing(tuple(offsets), height(problem.rectangles, offsets)), order


def _improved(
    problem: Problem,
    best: Packing,
    order: list[int],
    limit: int,
    until: float,
    seed: int,
    clock: Clock,
) -> Packing:
    offsets = improve_order(problem.rectangles, problem.flat, order, limit, until, seed, clock)
    top = height(problem.rectangles, offsets)
    return Packing(tuple(offsets), top) if top < best.height else best


def _search(
    problem: Problem,
    capacity: int,
    until: float,
    seed: int,
    workers: int,
    clock: Clock,
    techniques: PackingTechniques,
) -> tuple[Packing | None, bool]:
    """Return (a packing within ``capacity``, True if there is proved to be none).

    Either of the two techniques is complete; each gets a part of the time until ``until``.
    """
    found, impossible = None, False
    if techniques.depth_first:
        others = techniques.no_overlap or techniques.order_search
        share = _DEPTH_FIRST_SHARE if others else 1.0
        middle = clock.now() + share * (until - clock.now())
        found, impossible = _depth_first(
            problem, capacity, middle, seed, workers, clock, techniques
        )
    decided = found is not None or impossible
    if techniques.no_overlap and not decided and not clock.over(until):
        share = 1 - _ORDER_SEARCH_SHARE if techniques.order_search else 1.0
        left = share * (until - clock.now())
        found, impossible = _no_overlap(problem, capacity, left, seed, workers, clock)
    return found, impossible


def _depth_first(
    problem: Problem,
    capacity: int,
    until: float,
    seed: int,
    workers: int,
    clock: Clock,
    techniques: PackingTechniques,
    nodes: int | None = None,
) -> tuple[Packing | None, bool]:
    verdict = decide(
        problem.flat,
        problem.flat.highest(problem.rectangles, capacity),
        until,
        clock=clock,
        seed=seed,
        workers=workers,
        node_limit=nodes,
        techniques=techniques,
    )
    return _packing(problem, verdict.offsets), verdict.impossible


def _no_overlap(
    problem: Problem, capacity: int, seconds: float, seed: int, workers: int, clock: Clock
) -> tuple[Packing | None, bool]:
    highest = problem.flat.highest(problem.rectangles, capacity)
    offsets, impossible = no_overlap(problem.flat, highest, seconds, seed, workers, clock=clock)
    return _packing(problem, offsets), impossible


def _packing(problem: Problem, offsets: Sequence[int] | None) -> Packing | None:
    if offsets is None:
        return None
    return Packing(tuple(offsets), height(problem.rectangles, offsets))
