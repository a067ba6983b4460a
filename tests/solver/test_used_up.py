"""Operands that are used up: schedules and their bytes, bounds, where searches start."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import numpy as np
import pytest

from memplan.ir.graph import Alternative, OpGraph
from memplan.ir.request import PlanRequest
from memplan.ir.units import Affine
from memplan.solver.bounds import lower_bound
from memplan.solver.build_instance import build_instance
from memplan.solver.local_search import anneal
from memplan.solver.local_search.flat import flatten, scratch_for
from memplan.solver.local_search.measure import measure
from memplan.solver.micro_batches import allowed_micro_batches
from memplan.solver.schedule import Schedule, Table, derive, live_peak, live_profile
from memplan.solver.scheduling.found import Found
from memplan.solver.scheduling.greedy import evict_and_recompute, random_exponents
from memplan.solver.scheduling.lean import lean_schedule
from memplan.solver.scheduling.narrow import narrow_ways
from memplan.solver.scheduling.orders import starting_orders
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule
from tests.solver.problems import instance_of, request, steps, table_of
from tests.support.brute_force import masks, smallest_arena
from tests.support.graph_builder import GraphBuilder, alternative, used_up_alternative
from tests.support.hand_graphs import pictures
from tests.support.random_graphs import random_graph, random_request, with_used_up


def shrink(*rows: int, again: bool = False) -> OpGraph:
    """Return ``x -> f0 -> t0 -> f1 -> t1 ... -> out``, columns of so many bytes, x's first.

    Each of the ``f`` but the last, which gives the output, may use its operand up, with a byte of
    workspace.  ``again``: the last one reads ``t0`` as well.
    """
    build = GraphBuilder("shrink", mode="infer", symbolic=False, traced_batch=1)
    last = build.tensor("x", "input", rows[0], image=(1, rows[0], 1))
    for i, size in enumerate(rows[1:]):
        reads, last = [last], f"t{i}"
        ways = [alternative(reads, macs=10)]
        if i < len(rows) - 2:
            ways.append(used_up_alternative(reads, (1, size, 1), "up", macs=10))
        elif again:
            ways = [alternative([*reads, "t0"], macs=10)]
        build.tensor(last, "activation", size, image=(1, size, 1))
        build.operation(f"f{i}", "forward", ways, [last], recomputable=True)
    return build.build([last])


def test_live_bytes_of_what_is_written_last() -> None:
    table = table_of(shrink(40, 30, 20, 4))
    assert live_profile(table, steps(table, "f0", "f1", "f2")) == [70, 50, 24]
    # x beside a byte; then t0, which begins to live, beside a byte; then t1.
    assert live_profile(table, steps(table, "f0:up", "f1:up", "f2")) == [41, 31, 24]
    assert live_profile(table, steps(table, "f0:up", "f1", "f2")) == [41, 50, 24]
    assert live_profile(table, steps(table, "f0", "f1:up", "f2")) == [70, 31, 24]


def test_blocks_begin_a_step_later() -> None:
    table = table_of(shrink(40, 30, 20, 4))
    schedule = steps(table, "f0:up", "f1:up", "f2")
    lifetimes = derive(table, schedule)
    names = [item.tensor for item in table.instance.items]
    assert {
        names[item]: (start, end)
        for block in lifetimes.blocks
        for item, _, start, end in block.members
    } == {"x": (0, 1), "t0": (1, 2), "t1": (2, 3), "t2": (2, 3)}
    (written,) = lifetimes.written[0]
    assert lifetimes.blocks[written].start == 1
    assert list(lifetimes.live) == live_profile(table, schedule)


@pytest.mark.parametrize(
    "names",
    [
        ("f0", "f1:up", "f2"),  # t0 is read later
        ("f0:up", "f0", "f1", "f2"),  # x is gone
        ("f0", "f1:up", "f1", "f2"),  # t0 is used twice
        ("f0", "f1:up", "f0", "f2", "f1:up"),  # the last step has no one to write for
        ("f0", "f1", "f2", "f1:up"),
    ],
)
def test_invalid_schedules(names: tuple[str, ...]) -> None:
    table = table_of(shrink(40, 30, 20, 4, again=True))
    schedule = steps(table, *names)
    assert live_profile(table, schedule) is None
    assert measured(table, schedule) is None
    with pytest.raises(ValueError, match="nothing before has computed"):
        derive(table, schedule)


def test_what_is_computed_again_may_have_been_used_up() -> None:
    table = table_of(shrink(40, 30, 20, 4, again=True))
    schedule = steps(table, "f0", "f1:up", "f0", "f2")
    assert live_profile(table, schedule) == [70, 71, 90, 54] == measured(table, schedule)


def test_an_output_is_used_up_only_if_it_is_computed_again() -> None:
    with_outputs = shrink(40, 30, 20, 4).model_copy(update={"outputs": ("t0", "t2")})
    table = table_of(with_outputs)
    again = steps(table, "f0", "f1:up", "f2", "f0")
    assert live_profile(table, again) == measured(table, again)
    assert live_profile(table, again) is not None
    gone = steps(table, "f0", "f1:up", "f2")
    assert live_profile(table, gone) is None
    assert measured(table, gone) is None
    with pytest.raises(ValueError, match="nothing before has computed"):
        derive(table, gone)
    first, *others = with_outputs.operations
    once = with_outputs.model_copy(
        update={"operations": (first.model_copy(update={"recomputable": False}), *others)}
    )
    assert [way.name for way in table_of(once).instance.works[1].ways] == ["plain"]


def measured(table: Table, schedule: Schedule) -> list[int] | None:
    """Return live bytes per step by the compiled measure."""
    flat = flatten(table, 0)
    scratch = scratch_for(flat)
    first = flat.first_option
    options = np.array([first[work] + way for work, way in schedule], np.int64)
    overflow, _, _ = measure(flat, scratch, options, len(schedule))
    return None if overflow < 0 else scratch.profile[: len(schedule)].tolist()


def cheap(graph: OpGraph) -> OpGraph:
    """Return the graph with used-up ways that take no time, so that searches prefer them."""

    def changed(way: Alternative) -> Alternative:
        nothing = {"macs": Affine(0), "moved_bytes": Affine(0)}
        return way if way.uses_up is None else way.model_copy(update=nothing)

    operations = tuple(
        operation.model_copy(update={"alternatives": tuple(map(changed, operation.alternatives))})
        for operation in graph.operations
    )
    return graph.model_copy(update={"operations": operations})


def tables(seeds: range) -> Iterator[Table]:
    """Yield tables of random graphs in which operands may be used up."""
    for seed in seeds:
        plain = random_graph(seed)
        graph = with_used_up(plain, seed)
        if graph == plain:
            continue
        asked = random_request(seed, plain)
        if graph.mode == "train":
            asked = asked.model_copy(update={"update": masks(graph, asked)[-1]})
        for one in (graph, cheap(graph)):
            samples = allowed_micro_batches(one, asked)[0]
            yield Table.of(build_instance(one, asked, samples))


def random_schedule(table: Table, chance: random.Random) -> list[tuple[int, int]]:
    """Return a schedule that is valid now and then: ways at random, something again, swapped."""
    ways = {work: chance.choice(allowed) for work, allowed in enumerate(table.allowed) if allowed}
    schedule = needed_schedule(table, ways)
    for _ in range(chance.randrange(3)):
        kind, place = chance.randrange(3), chance.randrange(len(schedule))
        work = schedule[place][0]
        if kind == 0:
            again = (work, chance.choice(table.allowed[work]))
            schedule.insert(chance.randint(place, len(schedule)), again)
        elif kind == 1:
            schedule[place] = (work, chance.choice(table.allowed[work]))
        else:
            schedule.insert(chance.randrange(len(schedule)), schedule.pop(place))
    return schedule


def test_two_accounts_of_any_schedule_agree() -> None:
    chance = random.Random(7)
    valid = invalid = with_used_up_operands = 0
    for table in tables(range(80)):
        for _ in range(25):
            schedule = random_schedule(table, chance)
            profile = live_profile(table, schedule)
            assert measured(table, schedule) == profile
            if profile is None:
                invalid += 1
                continue
            valid += 1
            assert list(derive(table, schedule).live) == profile
            with_used_up_operands += any(table.uses_up[work][way] >= 0 for work, way in schedule)
    assert min(valid, invalid, with_used_up_operands) > 100


def test_bounds_are_below_the_least_arena() -> None:
    tight = 0
    for seed in range(90):
        plain = random_graph(seed, tiny=True)
        graph = with_used_up(plain, seed)
        asked = random_request(seed, plain, tiny=True)
        least = smallest_arena(graph, asked)
        assert least is not None
        bound = min(
            lower_bound(build_instance(graph, asked, samples)).bytes
            for samples in allowed_micro_batches(graph, asked)
        )
        assert bound <= least
        tight += bound == least and least != smallest_arena(plain, asked)
    assert tight >= 3


def test_bounds_by_hand() -> None:
    # f0: x and a byte, then t0; f1: t0 and a byte; f2 writes beside t1.
    assert lower_bound(instance_of(shrink(40, 30, 20, 4))).bytes == 41
    assert smallest_arena(shrink(40, 30, 20, 4), request(shrink(40, 30, 20, 4))) == 41
    assert lower_bound(instance_of(shrink(8, 8, 8, 30))).bytes == 38
    plain = without_used_up(shrink(40, 30, 20, 4))
    assert lower_bound(instance_of(plain)).bytes == 70


def without_used_up(graph: OpGraph) -> OpGraph:
    operations = tuple(
        operation.model_copy(
            update={"alternatives": tuple(w for w in operation.alternatives if w.uses_up is None)}
        )
        for operation in graph.operations
    )
    return graph.model_copy(update={"operations": operations})


def names_of(table: Table, schedule: Schedule) -> list[str]:
    works = table.instance.works
    return [f"{works[v].operation}:{works[v].ways[w].name}" for v, w in schedule]


def test_narrow_ways_keep_the_largest_working_set_small() -> None:
    """Two short chains, each of which uses up its start, against one long chain.

    The long one spares the tensor between, which ``lean_schedule`` counts; but while it runs
    both ends and its rings are there.
    """
    build = GraphBuilder("chains", mode="infer", symbolic=False, traced_batch=1)
    build.tensor("x", "input", 100, image=(1, 100, 1))
    build.tensor("middle", "activation", 90, image=(1, 90, 1))
    build.tensor("end", "activation", 80, image=(1, 80, 1))
    build.tensor("out", "activation", 4)
    short = [alternative(["x"]), used_up_alternative(["x"], (1, 90, 1), "rows_used_up")]
    build.operation("first", "forward", short, ["middle"], recomputable=True)
    ways = [
        alternative(["middle"]),
        used_up_alternative(["middle"], (1, 80, 1), "rows_used_up"),
        alternative(["x"], "rows_2", workspace=8),
    ]
    build.operation("second", "forward", ways, ["end"], recomputable=True)
    build.operation("last", "forward", alternative(["end"]), ["out"], recomputable=True)
    table = table_of(build.build(["out"]))
    narrow = needed_schedule(table, narrow_ways(table))
    assert names_of(table, narrow) == ["first:rows_used_up", "second:rows_used_up", "last:plain"]
    assert live_peak(table, narrow) == 101
    # 80 and 8 bytes come into being by the long one, 90, 1 and 1 by the short ones.
    lean = lean_schedule(table, fastest_ways(table))
    assert names_of(table, lean) == ["second:rows_2", "last:plain"]
    assert live_peak(table, lean) == 188
    assert min(live_peak(table, order) or 0 for order in starting_orders(table)) == 101


def test_narrow_ways_leave_what_is_read_later() -> None:
    table = table_of(shrink(40, 30, 20, 4, again=True))
    ways = narrow_ways(table)
    assert names_of(table, needed_schedule(table, ways)) == ["f0:up", "f1:plain", "f2:plain"]


def test_a_lean_schedule_uses_up_what_no_one_else_reads() -> None:
    for again in (False, True):
        table = table_of(shrink(40, 30, 20, 4, again=again))
        lean = lean_schedule(table, fastest_ways(table))
        last = "f1:plain" if again else "f1:up"
        assert names_of(table, lean) == ["f0:up", last, "f2:plain"]
        assert live_peak(table, lean) == (54 if again else 41)


def test_pictures_that_the_backward_reads_are_not_used_up() -> None:
    for update, names in (
        ("last-layer", {"f0:rows_used_up", "f1:rows_used_up"}),
        ("full", {"f0:rows_used_up", "f1:plain"}),
    ):
        table = table_of(pictures(), batch=2, update=update)
        for ways in (fastest_ways(table), narrow_ways(table)):
            assert names <= set(names_of(table, lean_schedule(table, ways)))


def test_searches_start_from_valid_schedules() -> None:
    count = 0
    for table in tables(range(120)):
        fast, narrow = fastest_ways(table), narrow_ways(table)
        for schedule in (
            needed_schedule(table, fast),
            needed_schedule(table, narrow),
            lean_schedule(table, fast),
            lean_schedule(table, narrow),
        ):
            assert live_peak(table, schedule) is not None
            count += any(table.uses_up[work][way] >= 0 for work, way in schedule)
    assert count > 200


def test_greedy_schedules_are_valid_or_known_not_to_be() -> None:
    chance = random.Random(3)
    found, used_up = Found(), 0
    for table in tables(range(40)):
        order = lean_schedule(table, narrow_ways(table))
        peak = live_peak(table, order)
        assert peak is not None
        for _ in range(6):
            limit = chance.randint(peak // 2, peak)
            schedule = evict_and_recompute(table, order, limit, random_exponents(chance), chance)
            if schedule is None or found.add(table, schedule, limit) is None:
                continue
            assert live_profile(table, schedule) == measured(table, schedule)
            used_up += any(table.uses_up[work][way] >= 0 for work, way in schedule)
    assert used_up > 50


def test_annealing_finds_what_only_used_up_operands_can_do() -> None:
    table = table_of(shrink(40, 30, 20, 4))
    plain = steps(table, "f0", "f1", "f2")
    best, overflow = anneal(
        table, plain, 41, time.monotonic() + 0.4, 0, lambda s, t: None, enough=True
    )
    assert overflow == 0
    assert names_of(table, best) == ["f0:up", "f1:up", "f2:plain"]


def test_a_resident_batch_is_not_used_up() -> None:
    for stream, names in ((False, ["plain"]), (True, ["plain", "rows_used_up"])):
        asked = PlanRequest(budget_bytes=2**20, batch=4, micro_batch=2, stream_inputs=stream)
        works = build_instance(pictures(), asked, 2).works
        (first,) = [work for work in works if work.operation == "f0"]
        assert [way.name for way in first.ways] == names
