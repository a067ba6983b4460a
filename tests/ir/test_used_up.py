"""Operands that a program of rows uses up, and rows that the host gives: what graphs may claim."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from memplan.ir import row_strips
from memplan.ir.errors import GraphError
from memplan.ir.graph import LocalArgument, OpGraph
from memplan.ir.row_strips import (
    INPUT_ROWS,
    MAX_ROWS,
    RowWindow,
    StripEntry,
    read_program,
    row_order,
    rows_to_prove,
    spent_rows,
    takes_rows,
)
from tests.support.hand_graphs import chain

Json = dict[str, Any]


def entry(
    *sources: int,
    window: tuple[int, ...] = (1, 1, 0, 1),
    shape: tuple[int, int, int] = (2, 4, 5),
    place: Any = (0, 1),
    arguments: Any = None,
    target: str = "aten.relu.default",
) -> list[Any]:
    if arguments is None:
        arguments = [{"local": source} for source in sources] or [{"operand": 0}]
    return [target, arguments, [], list(window), list(shape), {"dtype": "int8"}, place]


def tensor(name: str, role: str, shape: Sequence[Any], **changes: Any) -> Json:
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * size)
    fixed = {"fixed": 0, "per_sample": 1}
    return {
        "id": name, "role": role, "dtype": "int8", "strides": strides,
        "shape": [fixed if shape[0] is None else shape[0], *shape[1:]],
        "size_bytes": {"fixed": 0, "per_sample": strides[0]} if shape[0] is None
        else strides[0] * shape[0], **changes,
    }  # fmt: skip


def graph_with(
    program: Any,
    workspace: int = 60,
    *,
    operand: Json | None = None,
    result: Json | None = None,
    reads: Sequence[Json] = ({"tensor": "h"}, {"tensor": "w"}),
    uses_up: int | None = 0,
    outputs: Sequence[str] = ("z",),
    copies: int = 1,
    phase: str = "forward",
    **changes: Any,
) -> OpGraph:
    """Return a graph in which operation ``c`` gives y of h by a program; int8, (samples, 2, 4, 5).

    ``h`` is made of the input ``x``, and the output ``z`` of ``y``.
    """
    loaded: Json = json.loads(chain().to_json())
    shape = (None, 2, 4, 5)
    parameter = {"source": {"kind": "copy", "names": ["w"]}}
    tensors = [
        tensor("x", "input", shape),
        tensor("w", "parameter", (2, 4, 5, 1), **parameter),
        operand or tensor("h", "activation", shape),
        result or tensor("y", "activation", shape),
        tensor("z", "activation", (None, 1, 1, 1)),
    ]
    rows = {
        "name": "rows_used_up", "target": "memplan.row_strips", "reads": list(reads),
        "arguments": program, "workspace_bytes": workspace, "uses_up": uses_up, **changes,
    }  # fmt: skip
    ways = [_plain("h"), *({**rows, "name": f"rows_used_up{i or ''}"} for i in range(copies))]
    operations: list[Json] = [
        {"id": "a", "phase": "forward", "writes": ["h"], "alternatives": [_plain("x")]},
        {"id": "c", "phase": phase, "writes": ["y"], "alternatives": ways},
        {"id": "d", "phase": "forward", "writes": ["z"], "alternatives": [_plain("y")]},
    ]
    loaded.update(
        mode="infer", loss=None, optimizer=None, tensors=tensors, layers=[],
        outputs=list(outputs), operations=operations,
    )  # fmt: skip
    return OpGraph.from_json(json.dumps(loaded))


def _plain(operand: str) -> Json:
    return {"name": "plain", "target": "aten.relu.default", "reads": [{"tensor": operand}]}


HALF = tensor("y", "activation", (None, 2, 2, 5))
DOUBLE = tensor("y", "activation", (None, 4, 4, 5))
NARROW = tensor("y", "activation", (None, 1, 4, 5))


@pytest.mark.parametrize(
    ("program", "result"),
    [
        ([entry()], None),
        # Behind row 0 two rows of the operand are spent, behind row 1 all four.
        ([entry(window=(3, 2, 0, 1), shape=(2, 2, 5))], HALF),
        ([entry(window=(3, 2, 0, 1), shape=(4, 2, 5))], tensor("y", "activation", (None, 4, 2, 5))),
        # Nothing reads it as rows: all of it is spent at once.
        ([entry(arguments=[{"operand": 1}])], None),
        ([entry(place=(0, 3)), entry(0, place=(30, 1))], None),
        ([entry(place=(0, 1)), entry(0, place=(0, 1))], None),
    ],
)  # fmt: skip
def test_sound_programs_are_accepted(program: Any, result: Json | None) -> None:
    graph = graph_with(program, result=result)
    assert graph.operation["c"].alternatives[1].uses_up == 0
    assert OpGraph.from_json(graph.to_json()) == graph


@pytest.mark.parametrize(
    ("program", "result", "problem"),
    [
        # Row 1 needs row 0 of the operand still.
        ([entry(window=(3, 1, 1, 1), shape=(1, 4, 5))], NARROW, "row 0 .* no room in 0 spent rows"),
        ([entry(window=(3, 1, 0, 1), shape=(2, 2, 5))], HALF, None),
        ([entry(window=(2, 1, 0, 1), shape=(4, 4, 5))], DOUBLE, "row 0 .* no room in 1 spent rows"),
        ([entry(shape=(4, 4, 5))], DOUBLE, "row 0 .* no room in 1 spent rows"),
        # A late reader of the first rows.
        (
            [
                entry(place=(0, 1)),
                entry(place=(10, 4), window=(3, 1, 2, 1)),
                entry(0, 1, place=(50, 1), arguments=[{"local": 0}, {"local": 1}]),
            ],
            None,
            "row 0 .* no room in 0 spent rows",
        ),
    ],
)
def test_there_must_be_room_in_spent_rows(
    program: Any, result: Json | None, problem: str | None
) -> None:
    if problem is None:
        graph_with(program, result=result)
        return
    with pytest.raises(GraphError, match=problem):
        graph_with(program, result=result)
    graph_with(  # without the claim it is a program like others
        [*program[:-1], [*program[-1][:6], None]], result=result, uses_up=None
    )


FIXED = tensor("h", "activation", (1, 2, 4, 5))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"uses_up": 2}, "uses up an operand that is not there"),
        ({"uses_up": -1}, "uses_up"),
        ({"uses_up": 1}, "w cannot be used up"),
        ({"uses_up": None}, "the last entry's place is the output"),
        ({"program": [entry(place=None)]}, "or a ring where an operand is used up"),
        ({"in_place": [{"read": 0, "write": 0}]}, "has no pair"),
        ({"outputs": ("z", "y")}, "is no output"),
        ({"operand": {**FIXED, "id": "h"}}, "other samples than the result"),
        ({"operand": tensor("h", "activation", (None, 8, 5))}, "no rows of fixed size"),
        (
            {"operand": {**tensor("h", "activation", (None, 2, 4, 5)), "strides": [40, 1, 10, 2]}},
            "not row-major",
        ),
        (
            {"reads": [{"tensor": "h", "shape": [{"fixed": 0, "per_sample": 1}, 4, 2, 5],
                        "strides": [40, 10, 5, 1]}, {"tensor": "w"}]},
            "not read as it lies",
        ),
        ({"reads": [{"tensor": "h"}, {"tensor": "h"}]}, "read in two ways"),
        ({"target": "aten.relu.default", "program": []}, "only a memplan.row_strips program uses"),
        ({"target": "memplan.fused", "program": []}, "only a memplan.row_strips program uses"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_up(changes: dict[str, Any], problem: str) -> None:
    graph_with([entry()])
    program = changes.pop("program", [entry()])
    with pytest.raises(GraphError, match=problem):
        graph_with(program, **changes)


def test_a_row_that_is_repeated_is_not_spent() -> None:
    column = tensor("h", "activation", (None, 40, 1, 5))
    program = [
        entry(shape=(40, 4, 5), place=(0, 4)),
        entry(0, window=(4, 4, 0, 1), shape=(1, 1, 5), place=(800, 1)),
    ]
    result = tensor("y", "activation", (None, 1, 1, 5))
    with pytest.raises(GraphError, match="not read row by row by aten"):
        graph_with(program, 900, operand=column, result=result)


@pytest.mark.parametrize("copies", [1, 13])
def test_too_many_rows_are_refused_before_anyone_looks_at_them(
    copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("rows are looked at")

    monkeypatch.setattr(row_strips, "row_order", never)
    height = MAX_ROWS // copies + 1
    image = (None, 1, height, 1)
    with pytest.raises(GraphError, match=f"more than {MAX_ROWS} rows in all"):
        graph_with(
            [entry(shape=(1, height, 1))],
            operand=tensor("h", "activation", image),
            result=tensor("y", "activation", image),
            copies=copies,
        )


def test_rows_count_once_for_each_entry_that_is_read() -> None:
    program = [_typed(one) for one in (entry(), entry(0, 0), entry(0, 1))]
    assert rows_to_prove(program) == 4 * 1 + 4 * 2 + 4 * 3


def random_program(random: Random) -> list[StripEntry]:
    entries = []
    for index in range(random.randint(1, 5)):
        kernel, stride = random.randint(1, 4), random.randint(1, 3)
        dilation = random.choice((1, 1, 2))
        padding = random.randint(0, 3)
        sources = random.sample(range(index), min(index, random.choice((1, 1, 2))))
        if index and random.random() < 0.3:
            sources = []
        arguments: list[Any] = [{"local": source} for source in sources]
        if not sources or random.random() < 0.3:
            arguments.append({"operand": 0})
        height = random.randint(1, 12)
        window = (kernel, stride, padding, dilation)
        entries.append(entry(window=window, shape=(1, height, 1), arguments=arguments))
    return [_typed(one) for one in entries]


def _typed(one: list[Any]) -> StripEntry:
    arguments = [LocalArgument(local=a["local"]) if "local" in a else a for a in one[1]]
    return StripEntry.of([one[0], arguments, *one[2:]])


def test_spent_rows_against_a_count() -> None:
    random, exact, later = Random(4), 0, 0
    for _ in range(400):
        entries, height = random_program(random), random.randint(1, 12)
        readers = [i for i, one in enumerate(entries) if {"operand": 0} in one.arguments]
        order = row_order(entries)
        counted = []
        for position, (index, _) in enumerate(order):
            if index != len(entries) - 1:
                continue
            needed = [
                row
                for reader, at in order[position + 1 :]
                if reader in readers
                for row in entries[reader].window.rows(at)
                if 0 <= row < height
            ]
            counted.append(min(needed, default=height))
        found = spent_rows(entries, lambda one: {"operand": 0} in one.arguments, height)
        assert len(found) == entries[-1].shape[1]
        assert found == sorted(found)
        assert all(a <= b for a, b in zip(found, counted, strict=True))
        windows = [entries[reader].window for reader in readers]
        if all(w.dilation == 1 and w.padding < w.kernel for w in windows):
            exact += 1
            later += 0 < found[0] < height
            assert found == counted
    assert min(exact, later) > 20


def source(**changes: Any) -> list[Any]:
    given = {"target": INPUT_ROWS, "arguments": ["x"], **changes}
    return entry(**given)


def streamed(first: list[Any], **changes: Any) -> OpGraph:
    return graph_with(
        [first, entry(0, place=None)], uses_up=None, reads=({"tensor": "w"},), **changes
    )


def test_rows_that_the_host_gives() -> None:
    graph = streamed(source())
    assert takes_rows(graph)
    assert not takes_rows(graph_with([entry()]))
    (first, _) = read_program(graph.operation["c"].alternatives[1].arguments)
    assert (first.arguments, first.window) == (("x",), RowWindow())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"arguments": ["q"]}, "'q' is no input of the shape of its rows"),
        ({"arguments": ["h"]}, "'h' is no input"),
        ({"arguments": ["w"]}, "'w' is no input"),
        ({"shape": (2, 3, 5)}, "'x' is no input of the shape"),
        ({"shape": (1, 4, 10)}, "'x' is no input of the shape"),
        ({"arguments": []}, "entry 0 takes rows of an input by its name"),
        ({"arguments": ["x", 1]}, "entry 0 takes rows of an input by its name"),
        ({"arguments": [{"operand": 0}]}, "entry 0 takes rows of an input by its name"),
        ({"window": (3, 1, 1, 1)}, "entry 0 takes rows of an input by its name"),
        ({"place": None}, "into a ring"),
    ],
)
def test_rows_of_the_host_that_are_none(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(GraphError, match=problem):
        streamed(source(**changes))


def test_rows_of_the_host_have_the_input_s_type_and_samples() -> None:
    typed = source()
    typed[5] = {"dtype": "uint8"}
    with pytest.raises(GraphError, match="'x' is no input of the shape"):
        streamed(typed)
    named = source()
    named[2] = [["alpha", 1]]
    with pytest.raises(GraphError, match="by nothing else"):
        streamed(named)
    with pytest.raises(GraphError, match="'x' is no input of the shape"):
        streamed(source(), result=tensor("y", "activation", (3, 2, 4, 5)))
