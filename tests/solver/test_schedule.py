from __future__ import annotations

import pytest

from memplan.solver.schedule import derive, live_peak, live_profile
from tests.solver.problems import line, skip, steps, table_of
from tests.support.hand_graphs import chain, diamond, statistics


def test_live_bytes_of_the_plain_schedule() -> None:
    table = table_of(skip())
    plain = steps(table, "f", "g", "h", "k", "join")
    assert live_profile(table, plain) == [72, 80, 176, 168, 80]
    assert live_peak(table, plain) == 176


def test_live_bytes_where_the_first_result_is_recomputed() -> None:
    table = table_of(skip())
    again = steps(table, "f", "g", "h", "k", "f", "join")
    assert live_profile(table, again) == [72, 88, 120, 112, 80, 80]


def test_a_read_takes_the_latest_computation() -> None:
    table = table_of(skip())
    lifetimes = derive(table, steps(table, "f", "g", "h", "k", "f", "join"))
    names = [item.tensor for item in table.instance.items]
    members = {
        (names[item], computation): (start, end)
        for block in lifetimes.blocks
        for item, computation, start, end in block.members
    }
    assert members == {
        ("x", 0): (0, 5),
        ("a", 0): (0, 2),
        ("b", 0): (1, 3),
        ("c", 0): (2, 4),
        ("d", 0): (3, 6),
        ("a", 1): (4, 6),
        ("out", 0): (5, 6),
    }
    block, computation = lifetimes.served[5][names.index("a")]
    assert computation == 1
    assert lifetimes.blocks[block].start == 4


def test_in_place_results_share_a_block() -> None:
    table = table_of(line(40, 40, 40, 16, in_place=True))
    plain = steps(table, "f0", "f1", "f2")
    # x, t0 and t1 are one block of 40 B; t2 has another size and cannot join it.
    assert live_profile(table, plain) == [40, 40, 56]
    blocks = derive(table, plain).blocks
    assert [(b.start, b.end, b.exact, len(b.members)) for b in blocks] == [
        (0, 3, 40, 3),
        (2, 3, 16, 1),
    ]


def test_no_sharing_with_an_operand_that_lives_on() -> None:
    table = table_of(diamond())
    names = [item.tensor for item in table.instance.items]
    lifetimes = derive(table, [(index, 0) for index in range(len(table.instance.works))])
    shared = [
        [names[item] for item, *_ in block.members]
        for block in lifetimes.blocks
        if len(block.members) > 1
    ]
    # ``add`` may write over p or q, but p is read once more by the weight gradient.
    assert shared == [["q", "sum"]]


def test_an_output_is_not_overwritten() -> None:
    graph = line(40, 40, 40, in_place=True).model_copy(update={"outputs": ("t0", "t1")})
    table = table_of(graph)
    assert live_profile(table, steps(table, "f0", "f1")) == [40, 80]


def test_workspace_is_a_block_of_its_step() -> None:
    table = table_of(statistics())
    order = [(index, 0) for index in range(len(table.instance.works))]
    lifetimes = derive(table, order)
    step = [table.instance.works[w].operation for w, _ in order].index("loss.back")
    block = lifetimes.blocks[lifetimes.workspace[step]]
    assert (block.start, block.end, block.exact, block.members) == (step, step + 1, 16, [])
    assert list(lifetimes.live) == live_profile(table, order)


def test_sizes_are_aligned_and_the_exact_ones_kept() -> None:
    table = table_of(line(5, 9, 3), alignment_bytes=8)
    plain = steps(table, "f0", "f1")
    assert live_profile(table, plain) == [24, 24]
    assert [block.exact for block in derive(table, plain).blocks] == [5, 9, 3]


@pytest.mark.parametrize(
    "names",
    [
        ("g", "f", "h", "k", "join"),  # an operand before its producer
        ("f", "g", "h", "k"),  # the output is missing
        ("f", "f", "f", "f", "g", "h", "k", "join"),  # more than three computations
        (),
    ],
)
def test_invalid_schedules(names: tuple[str, ...]) -> None:
    table = table_of(skip(), computations=3)
    schedule = steps(table, *names)
    assert live_profile(table, schedule) is None
    assert live_peak(table, schedule) is None
    with pytest.raises(ValueError, match="nothing before has computed"):
        derive(table, schedule)


def test_without_a_number_operations_run_as_often_as_they_like() -> None:
    table = table_of(skip())
    often = steps(table, *["f"] * 40, "g", "h", "k", "join")
    assert live_peak(table, often) == live_peak(table, often[39:])


def test_what_may_not_run_again_runs_once() -> None:
    table = table_of(skip(recomputable=False))
    assert live_profile(table, steps(table, "f", "g", "h", "k", "join")) is not None
    assert live_profile(table, steps(table, "f", "g", "h", "k", "f", "join")) is None


def test_a_weight_is_not_read_after_its_update() -> None:
    table = table_of(chain(1))
    head = ("f0", "head", "loss", "loss.back")
    gradients = ("head.weight_gradient", "head.input_gradient")
    tail = ("stem.bias_gradient", "update.b")
    fine = steps(table, *head, *gradients, "update.w", *tail)
    late = steps(table, *head, gradients[0], "update.w", gradients[1], *tail)
    assert live_profile(table, fine) is not None
    assert live_profile(table, late) is None


def test_plain_macs_count_what_is_needed_once() -> None:
    assert table_of(skip()).plain_macs == 50
    assert table_of(skip(), computations=3).most_computations == (3, 3, 3, 3, 3)
    assert table_of(skip(recomputable=False)).most_computations == (1, 1, 1, 1, 1)
