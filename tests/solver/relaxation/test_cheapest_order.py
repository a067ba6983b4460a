"""The search over all orders against playing the priced game forward, without any rule."""

from __future__ import annotations

import heapq

import pytest

from benchmarks.planners.instances import chain, layered
from benchmarks.planners.ours import as_graph
from memplan.ir.graph import OpGraph
from memplan.solver.clock import WALL, WorkClock
from memplan.solver.relaxation import cheapest_order
from memplan.solver.relaxation.cheapest_order import CheapestOrder, flat_game
from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.pebble_board import Board, is_the_game
from memplan.solver.scheduling.pebbling import within
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule
from tests.solver.problems import table_of
from tests.support.random_graphs import random_graph

FOREVER = 1e6


def board_of(graph: OpGraph) -> Board | None:
    """Return the board of a graph's whole update, if it is all that plans can do."""
    return board_on(table_of(graph, computations=None))


def board_on(table: Table) -> Board | None:
    steps = needed_schedule(table, fastest_ways(table))
    return Board.of(table, steps) if is_the_game(table, steps) else None


def board_of_layers(operations: int, seed: int) -> Board:
    board = board_of(as_graph(layered(operations, seed)))
    assert board is not None
    return board


def search(board: Board, limit_bytes: int) -> CheapestOrder:
    game = flat_game(board)
    assert game is not None
    return CheapestOrder(board, game, limit_bytes)


def least_peak(board: Board) -> int:
    return within(board, 0, FOREVER + WALL.now()).bound_bytes


def plain_peak(board: Board) -> int:
    peak = live_peak(board.table, [(work, move.way) for work, move in board.moves.items()])
    assert peak is not None
    return peak


def least_by_playing_forward(board: Board, limit_bytes: int) -> int | None:
    """Return the least time over all ways to play within a limit, from the start."""
    table = board.table
    once = frozenset(work for work in board.moves if board.once >> work & 1)
    start = (frozenset(table.given), frozenset[int]())
    best, opened, number = {start: 0}, [(0, 0, start)], 0
    while opened:
        time_ns, _, (there, ran) = heapq.heappop(opened)
        if best[there, ran] < time_ns:
            continue
        if once <= ran and table.kept <= there:
            return time_ns
        following = [(time_ns, (there - {item}, ran)) for item in there]
        for work, move in board.moves.items():
            if work in ran or not there.issuperset(move.read_items):
                continue
            if any(move.changed_by >> other & 1 for other in ran):
                continue
            after = there.union(move.written_items)
            if sum(table.size[item] for item in after) + move.workspace <= limit_bytes:
                now = ran | {work} if work in once else ran
                following.append((time_ns + table.time_ns[work][move.way], (after, now)))
        for reached, state in following:
            if reached < best.get(state, 1 << 62):
                best[state] = reached
                number += 1
                heapq.heappush(opened, (reached, number, state))
    return None


GRAPHS = {
    "chain": as_graph(chain(8, 1)),
    **{f"layered {seed}": as_graph(layered(9, seed)) for seed in range(8)},
    **{f"train {seed}": random_graph(seed, "train", tiny=True) for seed in range(40)},
    **{f"infer {seed}": random_graph(seed, "infer", tiny=True) for seed in range(40)},
}
BOARDS = {name: board for name, graph in GRAPHS.items() if (board := board_of(graph)) is not None}


def test_there_is_enough_to_try() -> None:
    boards = BOARDS.values()
    assert len(boards) >= 20
    assert any(move.changed_by for board in boards for move in board.moves.values())
    assert any(move.workspace for board in boards for move in board.moves.values())
    assert any(board.kept for board in boards)


@pytest.mark.parametrize("name", BOARDS)
def test_the_least_time_is_that_of_playing_forward_without_rules(name: str) -> None:
    board = BOARDS[name]
    lowest, plain = least_peak(board), plain_peak(board)
    for limit in sorted({lowest, (2 * lowest + plain) // 3, (lowest + 2 * plain) // 3, plain}):
        found = search(board, limit)
        found.advance(None, FOREVER, WALL)
        assert found.is_over and found.schedule is not None
        peak = live_peak(board.table, found.schedule)
        assert peak is not None and peak <= limit
        assert found.trip_ns(found.schedule) == found.least_ns
        assert found.least_ns == least_by_playing_forward(board, limit)


def test_below_the_least_peak_there_is_nothing() -> None:
    board = board_of_layers(9, 2)
    found = search(board, least_peak(board) - 1)
    found.advance(None, FOREVER, WALL)
    assert found.is_over and found.schedule is None
    assert found.least_ns > 1 << 59


def test_it_goes_on_from_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    board = board_of_layers(40, 100)
    limit = plain_peak(board) // 2
    whole = search(board, limit)
    whole.advance(None, FOREVER, WALL)
    monkeypatch.setattr(cheapest_order, "_TURNS", 100)
    found, clock, least, times = search(board, limit), WorkClock(), 0, 0
    while not found.is_over:
        found.advance(None, 1e-3, clock)
        assert least <= found.least_ns <= whole.least_ns
        least, times = found.least_ns, times + 1
    assert times > 3
    assert found.schedule == whole.schedule and found.least_ns == whole.least_ns


def test_what_is_not_faster_is_of_no_interest() -> None:
    board = board_of_layers(20, 107)
    limit = int(0.7 * plain_peak(board))
    free = search(board, limit)
    free.advance(None, FOREVER, WALL)
    bounded = search(board, limit)
    bounded.advance(free.least_ns, FOREVER, WALL)
    assert bounded.is_over and bounded.schedule is None
    assert bounded.least_ns == free.least_ns
    above = search(board, limit)
    above.advance(free.least_ns + 1, FOREVER, WALL)
    assert above.schedule is not None and above.least_ns == free.least_ns


def test_full_memory_ends_it_with_a_bound() -> None:
    board = board_of_layers(40, 100)
    limit = plain_peak(board) // 2
    whole = search(board, limit)
    whole.advance(None, FOREVER, WALL)
    found = search(board, limit)
    found.most_states = 5000
    found.advance(None, FOREVER, WALL)
    assert found.is_over and found.schedule is None
    plain_ns = sum(board.table.time_ns[work][move.way] for work, move in board.moves.items())
    assert plain_ns < found.least_ns < whole.least_ns


def test_without_time_nothing_is_said() -> None:
    board = board_of_layers(20, 107)
    found = search(board, plain_peak(board))
    found.advance(None, 0.0, WALL)
    assert not found.is_over and found.schedule is None
    assert found.least_ns < found.trip_ns([(w, move.way) for w, move in board.moves.items()])


def test_large_boards_are_left_out() -> None:
    assert flat_game(board_of_layers(120, 0)) is not None
    assert flat_game(board_of_layers(130, 0)) is None
