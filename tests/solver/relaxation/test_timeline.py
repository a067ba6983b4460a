from __future__ import annotations

import random

from benchmarks.planners.instances import chain, layered
from benchmarks.planners.ours import as_graph, as_request
from memplan.ir.device import Device, Rates, Region
from memplan.ir.graph import OpGraph
from memplan.solver.build_instance import build_instance
from memplan.solver.clock import WALL
from memplan.solver.relaxation.recomputation import RecomputationBound
from memplan.solver.relaxation.timeline import Timeline, timeline_of
from memplan.solver.restrictions import ALONG_LINE, FIRST_WAYS
from memplan.solver.schedule import Table, live_peak
from tests.solver.problems import steps, table_of
from tests.solver.relaxation.test_retention import line_of
from tests.support.graph_builder import GraphBuilder, alternative, used_up_alternative


def bound_of(line: Timeline, limit_bytes: int) -> int:
    bound = RecomputationBound(line, limit_bytes)
    bound.sharpen(10**12, 10.0, WALL)
    return bound.trip_time_ns


def random_graph(chance: random.Random, forward: int = 4) -> OpGraph:
    """Return a forward pass whose operations go several ways, and a backward that reads it.

    Another way reads something earlier instead, or uses its operand up.
    """
    build = GraphBuilder("random", mode="infer", symbolic=False, traced_batch=1)
    sizes = [chance.randint(4, 20) for _ in range(forward + 1)]
    names = [f"t{i}" for i in range(forward + 1)]
    build.tensor(names[0], "input", sizes[0], image=(1, sizes[0], 1))
    for i, name in enumerate(names[1:], start=1):
        build.tensor(name, "activation", sizes[i], image=(1, sizes[i], 1))
        reads = [names[i - 1], *chance.sample(names[: i - 1], min(i - 1, chance.choice((0, 0, 1))))]
        ways = [
            alternative(reads, macs=10 * chance.randint(1, 30), workspace=chance.choice((0, 3)))
        ]
        if i > 1 and chance.random() < 0.5:
            earlier = chance.choice(names[: i - 1])
            ways.append(alternative([earlier], "rows", macs=10 * chance.randint(1, 30)))
        if i < forward and sizes[i] <= sizes[i - 1] and chance.random() < 0.8:
            image = (1, sizes[i], 1)
            ways.append(used_up_alternative(reads, image, "up", macs=10 * chance.randint(1, 30)))
        build.operation(f"f{i}", "forward", ways, [name], recomputable=True)
    last = names[-1]
    for i in range(forward, 0, -1):
        reads = [last, *chance.sample(names[1 : i + 1], min(i, chance.choice((1, 1, 2))))]
        last = build.tensor(f"g{i}", "gradient", chance.randint(4, 12))
        build.operation(f"b{i}", "backward", alternative(list(dict.fromkeys(reads))), [last])
    return build.build([last])


def schedules_of_a_line(
    table: Table, chance: random.Random, count: int
) -> tuple[Timeline, list[list[tuple[int, int]]]]:
    """Return a line, and valid schedules along it in which a few operations run again."""
    works = table.instance.works
    first = [(work, chance.choice(table.allowed[work])) for work in range(len(works))]
    forward = sum(one.recomputable for one in works)
    again = [
        (work, way)
        for work, own in first[:forward]
        for way in table.allowed[work]
        if way == own or chance.random() < 0.6
    ]
    line = timeline_of(table, [*first, *again])
    assert line is not None
    schedules = []
    for _ in range(count):
        schedule = first[:forward]
        for step in first[forward:]:
            if chance.random() < 0.6:
                schedule += sorted(chance.sample(again, chance.choice((1, 1, 2, 3))))
            schedule.append(step)
        if live_peak(table, schedule) is not None:
            schedules.append(schedule)
    return line, schedules


def test_no_bound_is_above_a_schedule_of_its_line_and_limit() -> None:
    chance = random.Random(3)
    several_ways = used_up = raised = met = 0
    for _ in range(200):
        table = table_of(random_graph(chance))
        line, schedules = schedules_of_a_line(table, chance, 300)
        if line.is_exact or not schedules:
            continue
        worths = [(live_peak(table, one) or 0, time_of(table, one)) for one in schedules]
        for limit in sorted({peak for peak, _ in worths})[:3]:
            least = min(taken for peak, taken in worths if peak <= limit)
            bound = bound_of(line, limit)
            assert bound <= least
            several_ways += FIRST_WAYS in line.restrictions
            used_up += any(table.uses_up[w][way] >= 0 for w, way in schedules[0])
            raised += bound > sum(line.time_ns)
            met += bound == least > sum(line.time_ns)
    assert min(several_ways, used_up) > 40
    assert raised > 40
    assert met > 5


def deep(per_way: bool = False) -> OpGraph:
    """``x 8 -> f -> t0 40 -> g -> t1 40 -> h -> t2 4``, and back: ``b`` of t2 and t0, ``c`` of t1.

    ``g`` may use up t0.  ``per_way``: instead it may be computed of x, which takes longer.
    """
    build = GraphBuilder("deep", mode="infer", symbolic=False, traced_batch=1)
    build.tensor("x", "input", 8, image=(1, 8, 1))
    sizes = {"t0": 40, "t1": 40, "t2": 4, "b": 20, "out": 4}
    for name, size in sizes.items():
        build.tensor(name, "activation", size, image=(1, size, 1))
    build.operation("f", "forward", alternative(["x"], macs=100), ["t0"], recomputable=True)
    ways = [alternative(["t0"], macs=20)]
    if per_way:
        ways.append(alternative(["x"], "rows", macs=300))
    else:
        ways.append(used_up_alternative(["t0"], (1, 40, 1), "up", macs=20))
    build.operation("g", "forward", ways, ["t1"], recomputable=True)
    build.operation("h", "forward", alternative(["t1"], macs=10), ["t2"], recomputable=True)
    build.operation("back", "backward", alternative(["t2", "t0"], macs=10), ["b"])
    build.operation("last", "backward", alternative(["b", "t1"], macs=10), ["out"])
    return build.build(["out"])


def test_what_is_used_up_must_be_computed_again() -> None:
    table = table_of(deep())
    schedule = steps(table, "f", "g:up", "h", "f", "back", "g:up", "last")
    peak, line = live_peak(table, schedule), timeline_of(table, schedule)
    assert peak is not None
    assert line is not None
    assert not line.is_exact
    assert line.restrictions[1:] == ()
    g = schedule[1][0]
    # t1 begins to live behind it, in t0's place.
    assert line.beside_bytes[1] == table.workspace[g][1] - 40
    # One of t0 and t1 fits beside what is small.
    assert sum(line.time_ns) < bound_of(line, peak) <= time_of(table, schedule)


def test_another_way_counts_as_the_cheapest_and_reads_what_all_read() -> None:
    table = table_of(deep(per_way=True))
    schedule = steps(table, "f", "g", "h", "back", "g:rows", "last")
    line = timeline_of(table, schedule)
    assert line is not None
    assert line.restrictions == (line.restrictions[0], FIRST_WAYS)
    g = schedule[1][0]
    assert line.again_time_ns[1] == table.time_ns[g][0] < table.time_ns[g][1]
    assert line.again_reads[1] == ()
    assert line.reads[1] == table.reads[g][0]
    # Beside t0 there is no room for t1 at ``back`` and later, so it runs again, and not of t0.
    peak = live_peak(table, schedule)
    assert peak == 92
    assert bound_of(line, peak) == sum(line.time_ns) + line.again_time_ns[1]
    other = timeline_of(table, steps(table, "f", "g:rows", "h", "back", "g:rows", "last"))
    assert other is not None
    assert other.is_exact
    assert other.time_ns[1] == other.again_time_ns[1] == table.time_ns[g][1]
    assert ALONG_LINE not in other.restrictions


def test_a_chain_has_one_line_only() -> None:
    graph, regions = as_graph(chain(12, 0)), [Region(name="a", kind="ram", size_bytes=4096)]
    for several in (False, True):
        rates = Rates(macs_per_second=10**9, moved_bytes_per_second=10**9)
        device = Device(name="board", regions=tuple(regions), rates=rates)
        asked = as_request(400, 1.0).model_copy(update={"device": device})
        table = Table.of(build_instance(graph, asked, 1))
        line = timeline_of(table, [(work, 0) for work in range(12)])
        assert line is not None
        assert line.is_only is not several
        assert (line.restrictions == ()) is not several
        regions.append(Region(name="b", kind="ram", size_bytes=4096))


def test_a_graph_with_other_orders_or_ways_has_more() -> None:
    wide = line_of(layered(16, 0), 10**6)
    table = table_of(deep(per_way=True))
    other_way = timeline_of(table, steps(table, "f", "g", "h", "back", "last"))
    assert other_way is not None
    assert not wide.is_only
    assert not other_way.is_only


def time_of(table: Table, schedule: list[tuple[int, int]]) -> int:
    return sum(table.time_ns[work][way] for work, way in schedule)
