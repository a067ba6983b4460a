from __future__ import annotations

import heapq
import time
from itertools import product
from typing import Any

import pytest

from memplan.ir.graph import OpGraph
from memplan.solver.bounds import lower_bound
from memplan.solver.build_instance import fix_mask
from memplan.solver.clock import WALL
from memplan.solver.local_search.leave_out import with_less_recomputed
from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.deep import deep_within, deepest
from memplan.solver.scheduling.orders import starting_orders
from memplan.solver.scheduling.pebble_board import Board
from memplan.solver.scheduling.pebbling import Pebbled, within
from tests.solver.problems import instance_of, line, skip, steps, table_of
from tests.support.hand_graphs import chain, diamond, statistics, two_layers
from tests.support.random_graphs import random_graph

FOREVER = float("inf")


def board_of(graph: OpGraph, **changes: Any) -> Board:
    table = table_of(graph, **changes)
    return Board.of(table, starting_orders(table)[0])


def least(board: Board, limit: int = 0) -> Pebbled:
    return within(board, limit, time.monotonic() + 60, WALL)


def least_by_playing_forward(board: Board) -> int:
    """Return the least peak over all ways to play, from the start and without any rule."""
    table = board.table
    size = table.size
    start = (frozenset(table.given), frozenset[int]())
    opened = [(sum(size[i] for i in start[0]), 0, start)]
    best = {start: opened[0][0]}
    number = 0
    while opened:
        peak, _, (there, ran) = heapq.heappop(opened)
        if best[there, ran] < peak:
            continue
        if all(work in ran for work in board.moves if board.once >> work & 1) and (
            table.kept <= there
        ):
            return peak
        following = [(peak, (there - {item}, ran)) for item in there]
        for work, move in board.moves.items():
            once = bool(board.once >> work & 1)
            reads, writes = frozenset(move.read_items), frozenset(move.written_items)
            if (once and work in ran) or not reads <= there:
                continue
            if any(move.changed_by >> other & 1 for other in ran):
                continue
            now = ran | {work} if once else ran
            if move.uses_up:
                spent = there - {i for i in there if move.uses_up >> i & 1}
                during = max(
                    sum(size[i] for i in there) + move.workspace,
                    sum(size[i] for i in spent | writes),
                )
                following.append((max(peak, during), (spent | writes, now)))
                continue
            whole = sum(size[i] for i in there | writes) + move.workspace
            fresh = [pair for pair in move.pairs if pair[1] not in there]
            for used in product((False, True), repeat=len(fresh)):
                pairs = [pair for pair, use in zip(fresh, used, strict=True) if use]
                given_up = [read for read, _ in pairs]
                if len(set(given_up)) < len(pairs) or len({w for _, w in pairs}) < len(pairs):
                    continue
                during = whole - sum(size[read] for read in given_up)
                following.append(
                    (max(peak, during), ((there - set(given_up)) | writes, now)),
                )
        for reached, state in following:
            if reached < best.get(state, 1 << 62):
                best[state] = reached
                number += 1
                heapq.heappush(opened, (reached, number, state))
    raise AssertionError("no way to the end")


GRAPHS = {
    "skip": skip(),
    "line": line(40, 40, 16, in_place=True),
    "chain": chain(2),
    "diamond": diamond(),
    "statistics": statistics(),
    "two layers": two_layers(),
} | {f"random {seed}": random_graph(seed, "train", tiny=True) for seed in range(8)}


@pytest.mark.parametrize("name", GRAPHS)
def test_least_peak_is_that_of_playing_forward_without_rules(name: str) -> None:
    board = board_of(GRAPHS[name])
    found = least(board)
    assert found.is_complete and found.steps is not None
    assert live_peak(board.table, found.steps) == found.bound_bytes
    assert found.bound_bytes == least_by_playing_forward(board)


def test_a_limit_is_kept_to_where_it_can_be() -> None:
    board = board_of(skip())
    peak = least(board).bound_bytes
    assert peak == 120
    at = least(board, peak)
    assert at.steps is not None and live_peak(board.table, at.steps) == peak
    above = least(board, 176)
    assert above.steps is not None and (live_peak(board.table, above.steps) or 0) <= 176
    below = least(board, peak - 1)
    assert below.bound_bytes == peak


def test_a_chain_is_recomputed_from_its_input_for_every_gradient() -> None:
    board = board_of(chain(9), update="last-layer", batch=1)
    deep = board_of(chain(9), batch=1)
    for each in (board, deep):
        found = least(each)
        assert found.steps is not None
        plain = live_peak(each.table, starting_orders(each.table)[0])
        assert plain is not None and found.bound_bytes <= plain
    times = [work for work, _ in least(deep).steps or ()]
    assert max(times.count(work) for work in times) > 3


def test_what_runs_once_is_not_computed_again() -> None:
    found = least(board_of(skip(recomputable=False)))
    assert found.steps is not None and len(found.steps) == 5


def test_states_and_time_end_the_search() -> None:
    board = board_of(chain(12), batch=1)
    assert not within(board, 0, WALL.now() - 1.0, WALL).is_complete
    short = within(board, 0, FOREVER, WALL, most_states=1)
    assert short.steps is None
    assert short.bound_bytes <= least(board).bound_bytes


@pytest.mark.parametrize("seed", range(12))
def test_the_bound_on_bytes_is_not_above_it(seed: int) -> None:
    graph = random_graph(seed, "train", tiny=True)
    instance = instance_of(graph)
    instance = fix_mask(instance, {choice.layer: o for choice in instance.choices
                                   if (o := choice.options[-1]) is not None})  # fmt: skip
    table = Table.of(instance)
    peaks = [least(Board.of(table, order)).bound_bytes for order in starting_orders(table)]
    bound = lower_bound(instance).bytes
    assert bound <= min(peaks) + instance.store_bytes


def test_deep_starts_fit_where_a_schedule_exists() -> None:
    table = table_of(chain(9), batch=1)
    orders = starting_orders(table)
    until = WALL.now() + 60
    peak = min(live_peak(table, steps) or 0 for steps in deepest(table, orders, 0, until, WALL))
    fitting = deep_within(table, orders, peak, until, WALL)
    assert min(live_peak(table, steps) or 0 for steps in fitting) <= peak
    assert all((live_peak(table, steps) or 0) >= peak
               for steps in deep_within(table, orders, peak - 1, until, WALL))  # fmt: skip


def test_what_a_limit_does_not_need_is_left_out() -> None:
    table = table_of(skip())
    again = steps(table, "f", "g", "h", "k", "f", "join")
    until = WALL.now() + 60
    assert with_less_recomputed(table, again, 176, until) == (*again[:4], again[5])
    assert with_less_recomputed(table, again, 120, until) == tuple(again)
    assert with_less_recomputed(table, again, 119, until) == tuple(again)
