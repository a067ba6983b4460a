from __future__ import annotations

import pytest

from benchmarks.planners.instances import layered
from benchmarks.planners.ours import as_graph, as_request
from memplan.solver.build_instance import build_instance
from memplan.solver.clock import WorkClock
from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.priorities import climb
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule
from tests.solver.problems import skip, table_of
from tests.support.hand_graphs import chain

Steps = tuple[tuple[int, int], ...]


def climbed(
    table: Table, limit_bytes: int, seconds: float, *, workers: int = 1, kinds: bool = True
) -> dict[Steps, tuple[int, int]]:
    order = tuple(needed_schedule(table, fastest_ways(table)))
    clock = WorkClock()
    return climb(
        table, [order], limit_bytes, seconds, 0, lambda _: None, clock,
        workers=workers, kinds=kinds,
    )  # fmt: skip


def time_of(table: Table, steps: Steps) -> int:
    return sum(table.time_ns[work][way] for work, way in steps)


@pytest.mark.parametrize("kinds", [True, False])
def test_what_it_returns_is_valid_and_said_truly(kinds: bool) -> None:
    table = table_of(chain(12))
    for limit in (1200, 1000, 800):
        found = climbed(table, limit, 0.05, workers=2, kinds=kinds)
        assert found
        for steps, (overflow, time_ns) in found.items():
            peak = live_peak(table, steps)
            assert peak is not None
            assert time_ns == time_of(table, steps)
            assert (overflow == 0) == (peak <= limit)
            assert table.within_compute(steps)


def test_it_finds_the_one_recomputation() -> None:
    table = table_of(skip())
    found = climbed(table, 120, 0.05)
    assert min(found.values())[0] == 0


def test_the_same_seed_and_work_give_the_same() -> None:
    table = table_of(chain(12))
    assert climbed(table, 900, 0.1, workers=2) == climbed(table, 900, 0.1, workers=2)


def test_weights_are_worth_their_time() -> None:
    problem = layered(120, 3)
    limit = int(0.6 * problem.plain_peak_bytes)
    table = Table.of(build_instance(as_graph(problem), as_request(limit, 1.0), 1))
    with_weights = climbed(table, limit, 1.0)
    at_random = climbed(table, limit, 1.0, kinds=False)
    assert min(with_weights.values()) <= min(at_random.values())
    assert min(with_weights.values())[0] == 0


def test_better_ones_are_told() -> None:
    table = table_of(chain(12))
    order = tuple(needed_schedule(table, fastest_ways(table)))
    told: list[Steps] = []
    found = climb(table, [order], 900, 0.1, 0, told.append, WorkClock())
    assert told[-1] in found
    assert climb(table, [], 900, 0.1, 0, told.append, WorkClock()) == {}
