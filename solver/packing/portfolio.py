"""Many depth-first searches in turn, by two workers with different preorders.

A run that meets a good preorder ends within a few hundred nodes, and one that does not may never
end: so there are many, and their limits grow.  The *steady* worker goes round some fixed preorders,
with limits that double from round to round: in the end one of them is complete, which is a proof.
The *restless* one makes short runs (Luby's sequence) in random preorders, also by conflicts.

Work goes in slices of equal numbers of nodes.  Both workers finish a slice before its outcome is
looked at, and the steady one goes first: so the result is the same whether the two run side by
side or one after the other, and on whatever machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memplan.solver.clock import Clock
from memplan.solver.packing.depth_first import EXHAUSTED, FOUND, LIMIT, rules_of, search
from memplan.solver.packing.flat import Flat, Integers
from memplan.solver.packing.techniques import PackingTechniques

__all__ = ["Verdict", "decide", "seconds_per_node"]

#: Preorders of the steady worker: sort keys, the largest first.
_FIXED = (
    ("width", "area", "load"),
    ("load", "area", "width"),
    ("load", "width", "area"),
    ("load", "neighbours"),
    ("neighbours", "area"),
    ("area", "load"),
)
#: Nodes of the first run in each: one descent, and some turning back.
_FIRST_NODES_PER_BUFFER, _FIRST_NODES = 1, 200
#: Nodes of the shortest run of the restless worker.
_RUN_NODES = 700
_NOISE = (0.03, 0.1, 0.3, 0.6)
#: What a node takes per buffer, measured.
_SECONDS_PER_NODE = 2.5e-8
_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a capacity is enough."""

    #: In bytes; None: no packing was found.
    offsets: tuple[int, ...] | None
    #: There is none: proved by a complete search.
    impossible: bool
    nodes: int


def decide(
    flat: Flat,
    highest: Integers,
    until: float,
    *,
    clock: Clock,
    seed: int = 0,
    workers: int = 1,
    node_limit: int | None = None,
    techniques: PackingTechniques | None = None,
) -> Verdict:
    """Look for offsets of at most ``highest`` (units) until the clock says ``until``.

    ``node_limit``: most nodes of each worker, None for no limit.
    """
    techniques = techniques or PackingTechniques()
    halt = np.zeros(1, np.int64)
    steady = _Steady(flat, highest, halt, techniques)
    team: list[_Steady | _Restless] = [steady]
    if techniques.random_restarts:
        team.append(_Restless(flat, highest, halt, techniques, seed))
    node_seconds = seconds_per_node(flat)
    used = 0
    with ThreadPoolExecutor(max_workers=max(1, min(workers, len(team)))) as pool:
        while not clock.over(until) and (node_limit is None or used < node_limit):
            left = int((until - clock.now()) / node_seconds) + 1
            nodes = min(steady.next_limit(), left, node_limit - used if node_limit else left)
            futures = [pool.submit(worker.slice, nodes) for worker in team]
            try:
                while wait(futures, timeout=_POLL_SECONDS).not_done:
                    decided = futures[0].done() and futures[0].result()[0] != LIMIT
                    if decided or clock.over(until):
                        halt[0] = 1
            except BaseException:
                halt[0] = 1  # the pool waits for its threads
                raise
            used += nodes
            clock.spend(nodes * node_seconds)
            for future in futures:
                outcome, offsets = future.result()
                if outcome == FOUND:
                    return Verdict(tuple(int(o) * flat.unit for o in offsets), False, used)
                if outcome == EXHAUSTED:
                    return Verdict(None, True, used)
    return Verdict(None, False, used)


def seconds_per_node(flat: Flat) -> float:
    """Return about what one placement takes, in seconds of work."""
    return _SECONDS_PER_NODE * len(flat.size)


class _Steady:
    """Fixed preorders in turn, with limits that double each round."""

    def __init__(
        self, flat: Flat, highest: Integers, halt: Integers, techniques: PackingTechniques
    ) -> None:
        self._flat, self._highest, self._halt = flat, highest, halt
        self._rules = rules_of(techniques)
        self._weight = np.zeros(len(flat.size), np.int64)
        keys = _sort_keys(flat)
        self._ranks = [_rank([-keys[name] for name in names]) for names in _FIXED]
        self._runs = 0

    def next_limit(self) -> int:
        """Return how many nodes the next run may take."""
        limit = _FIRST_NODES_PER_BUFFER * len(self._flat.size) + _FIRST_NODES
        return min(limit << (self._runs // len(self._ranks)), 1 << 60)

    def slice(self, nodes: int) -> tuple[int, Integers]:
        """Search with the next preorder; return (outcome, offsets)."""
        rank = self._ranks[self._runs % len(self._ranks)]
        self._runs += 1
        outcome, _, offsets = search(
            self._flat, self._highest, rank, self._rules, nodes, self._weight, self._halt
        )
        return outcome, offsets


class _Restless:
    """Random preorders, many short runs."""

    def __init__(
        self,
        flat: Flat,
        highest: Integers,
        halt: Integers,
        techniques: PackingTechniques,
        seed: int,
    ) -> None:
        self._flat, self._highest, self._halt = flat, highest, halt
        self._rules = rules_of(techniques)
        self._weight = np.zeros(len(flat.size), np.int64)
        self._uses_weights = techniques.conflict_weights
        self._keys = _sort_keys(flat)
        self._random = np.random.default_rng(seed)
        self._lengths = _luby()
        self._left_of_run = 0
        self._preorders = self._random_preorders()

    def slice(self, nodes: int) -> tuple[int, Integers]:
        """Make runs of ``nodes`` together; return (outcome, offsets) of the last."""
        outcome, offsets = LIMIT, self._weight
        while nodes > 0 and not self._halt[0]:
            limit = min(_RUN_NODES * next(self._lengths), nodes)
            outcome, used, offsets = search(
                self._flat,
                self._highest,
                next(self._preorders),
                self._rules,
                limit,
                self._weight,
                self._halt,
            )
            nodes -= max(used, 1)
            if outcome != LIMIT:
                break
        return outcome, offsets

    def _random_preorders(self) -> Iterator[Integers]:
        keys = self._keys
        while True:
            for mode in range(5):
                noise = np.exp(
                    self._random.normal(0.0, self._random.choice(_NOISE), len(keys["area"]))
                )
                weight = self._weight + 1.0 if self._uses_weights else np.ones(len(noise))
                if mode == 0:
                    yield _rank([-keys["area"] * noise])
                elif mode == 1:
                    yield _rank([-weight * keys["width"] * noise])
                elif mode == 2:
                    yield _rank([-(keys["load"] ** 3) * keys["width"] * noise])
                elif mode == 3:
                    yield _rank([-keys["load"], -keys["neighbours"] * noise])
                else:
                    yield _rank([-keys["load"], -weight * keys["neighbours"] * noise])


def _sort_keys(flat: Flat) -> dict[str, NDArray[np.float64]]:
    load = np.zeros(flat.sections, np.int64)
    for first, last, size in zip(flat.first, flat.last, flat.size, strict=True):
        load[first:last] += size
    width = flat.last - flat.first
    return {
        "width": width.astype(np.float64),
        "area": (flat.size * width).astype(np.float64),
        "load": np.array(
            [load[a:b].max() for a, b in zip(flat.first, flat.last, strict=True)], np.float64
        ),
        "neighbours": np.diff(flat.start).astype(np.float64),
    }


def _rank(keys: Sequence[NDArray[np.float64]]) -> Integers:
    """Return each buffer's place in the order of ``keys``, the first of which counts most."""
    rank = np.empty(len(keys[0]), np.int64)
    rank[np.lexsort(tuple(reversed(keys)))] = np.arange(len(rank))
    return rank


def _luby() -> Iterator[int]:
    """Yield 1, 1, 2, 1, 1, 2, 4, 1, ...: the best restarts where nothing is known (Luby, 1993)."""
    u, v = 1, 1
    while True:
        yield v
        u, v = (u + 1, 1) if u & -u == v else (u, 2 * v)
