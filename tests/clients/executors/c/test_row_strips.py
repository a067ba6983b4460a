"""Row strips in C: bit by bit what the plain kernels give, and what the torch executor gives."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from memplan.clients.executors.torch.arguments import resolve_arguments
from memplan.clients.executors.torch.kernels.call import RUNNING as TORCH_RUNNING
from memplan.clients.export.c.call import RUNNING, UnsupportedError
from memplan.clients.export.c.calls.row_windows import WINDOWED
from memplan.clients.export.c.code import Code
from memplan.ir.fixed_point import fixed_point
from memplan.ir.graph import Alternative, LocalArgument, OpGraph
from memplan.ir.row_strips import StripEntry, read_program
from memplan.tracing.settings import TraceSettings
from tests.clients.executors.c.kernel_program import (
    Case,
    PartlyUpdated,
    Program,
    bind_case,
    build_program,
)
from tests.clients.executors.calls import close, execute
from tests.clients.executors.training import traced_module
from tests.support.int8_networks import Excited, Mixed, Residual, quantized
from tests.support.models import randomise
from tests.support.strip_networks import STRIP_NETWORKS

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

SAMPLES = 2


INTEGERS = {"Residual": (Residual, 32), "Mixed": (Mixed, 17), "Excited": (Excited, 16)}
#: Of these the weights are also read in two pieces.
CUT = ("inverted residual", "basic blocks", "Residual")


@dataclass(frozen=True)
class Chain:
    """A strip program, and its operations by themselves, each reading what those before wrote."""

    name: str
    #: As the torch executor takes them.
    arguments: Sequence[Any]
    entries: tuple[StripEntry, ...]
    #: The same with the result in different places.
    strips: tuple[Case, ...]
    plain: tuple[Case, ...]
    #: Of each entry; the operations by themselves read these.
    results: tuple[torch.Tensor, ...]


def traced_chain(
    name: str, graph: OpGraph, way: Alternative, weights: Mapping[str, Any], *, cut: bool
) -> Chain:
    """Return a program on random operands."""
    generator = torch.Generator().manual_seed(5)
    operands = [
        weights[operand.tensor]
        if operand.tensor in weights
        else random_operand(graph, operand.tensor, generator)
        for operand in way.reads
    ]
    parts = {}
    if cut:
        kernels = [
            w
            for w, operand in zip(operands, way.reads, strict=True)
            if w.dim() == 4 and graph.tensor[operand.tensor].role == "parameter"
        ]
        assert kernels
        parts = {id(w): partly_updated(w) for w in kernels}
    arguments = resolve_arguments(way, operands, SAMPLES)[0]
    used_up = None if way.uses_up is None else operands[way.uses_up]
    return chain(name, arguments, way.workspace_bytes.at(SAMPLES), parts, used_up)


def chain(
    name: str,
    arguments: Sequence[Any],
    workspace_bytes: int,
    parts: Mapping[int, PartlyUpdated],
    used_up: torch.Tensor | None = None,
) -> Chain:
    """Return a program as cases; ``parts`` are weights in two pieces, by their identity."""
    entries = read_program(arguments)
    results = tuple(torch.zeros(SAMPLES, *entry.shape, dtype=entry.dtype) for entry in entries)
    plain = tuple(
        Case(
            entry.target,
            for_c(whole(entry.arguments, results), parts),
            ((SAMPLES, *entry.shape),),
            keywords={key: for_c(whole(value, results), parts) for key, value in entry.keywords},
            dtype=entry.dtype,
        )
        for entry in entries
    )
    last = entries[-1]
    strips = Case(
        "memplan.row_strips", for_c(arguments, parts), ((SAMPLES, *last.shape),), dtype=last.dtype,
        workspace_bytes=workspace_bytes, used_up=used_up,
    )  # fmt: skip
    places: list[int | None] = [None]
    if used_up is not None:
        places += [0, used_up.nbytes - results[-1].nbytes, used_up.nbytes // 8 * 4 - 4]
        places = [p for p in places if p is None or p + results[-1].nbytes <= used_up.nbytes]
    ways = tuple(replace(strips, result_at=place) for place in places)
    return Chain(name, arguments, entries, ways, plain, results)


def hand_chain() -> Chain:
    """Return what no small network has: a program in a program, broadcasts, a quantization."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(SAMPLES, 4, 9, 7, generator=generator)
    factors = torch.randn(4, 1, 1, generator=generator)
    columns = torch.randn(7, generator=generator)
    program = [
        ("aten.mul.Tensor", (x, factors), {}),
        ("aten.add.Tensor", (TORCH_RUNNING, columns), {"alpha": 0.5}),
    ]
    window: tuple[Any, ...] = ([3, 3], [1, 1], [1, 1], [1, 1], False)
    shape, one, three = (4, 9, 7), (1, 1, 0, 1), (3, 1, 1, 1)
    entries = [
        ("memplan.elementwise", program, (), one, shape, torch.float32, (0, 3)),
        (
            "aten.max_pool2d.default", (LocalArgument(local=0), *window), (), three, shape,
            torch.float32, (336, 1),
        ),
        (
            "memplan.quantize", (LocalArgument(local=1), 0.03, 5, -100, 90), (), one, shape,
            torch.int8, (448, 3),
        ),
        (
            "aten.max_pool2d.default", (LocalArgument(local=2), *window), (), three, shape,
            torch.int8, None,
        ),
    ]  # fmt: skip
    return chain("by hand", entries, 532, {})


def random_operand(graph: OpGraph, name: str, generator: torch.Generator) -> torch.Tensor:
    tensor = graph.tensor[name]
    shape = [size.at(SAMPLES) for size in tensor.shape]
    if tensor.dtype == "int8":
        return torch.randint(-128, 128, shape, generator=generator).to(torch.int8)
    return torch.randn(shape, generator=generator)


def partly_updated(w: torch.Tensor) -> PartlyUpdated:
    """Return a weight of which every third output channel, or input channel, is updated."""
    dim = 1 if w.shape[1] > w.shape[0] else 0
    return PartlyUpdated(w, dim, tuple(range(1, w.shape[dim], 3)))


def whole(argument: Any, results: tuple[torch.Tensor, ...]) -> Any:
    """Return an argument tree with whole results in place of earlier entries."""
    if isinstance(argument, LocalArgument):
        return results[argument.local]
    if isinstance(argument, list | tuple):
        return tuple(whole(part, results) for part in argument)
    return argument


def for_c(argument: Any, parts: Mapping[int, PartlyUpdated]) -> Any:
    if isinstance(argument, list | tuple):
        return tuple(for_c(part, parts) for part in argument)
    return RUNNING if argument is TORCH_RUNNING else parts.get(id(argument), argument)


def in_place_chains() -> Iterator[Chain]:
    """Yield depthwise convolutions with a ring, into other bytes and into their operand's."""
    generator = torch.Generator().manual_seed(9)
    for kernel, padding, dilation in (
        ((3, 3), (1, 1), (1, 1)),
        ((5, 3), (4, 2), (2, 2)),
        ((7, 7), (3, 3), (1, 1)),
        ((1, 3), (0, 1), (1, 1)),
        ((3, 5), (7, 2), (7, 1)),
    ):
        x = torch.randn(SAMPLES, 6, 7, 9, generator=generator)
        w = torch.randn(6, 1, *kernel, generator=generator)
        bias = torch.randn(6, generator=generator)
        movement = ([1, 1], list(padding), list(dilation))
        around = (*movement, False, [0, 0], 6)
        yield in_place_chain("aten.convolution.default", (x, w, bias, *around), padding[0])
        split = PartlyUpdated(w, 0, (1, 4))
        yield in_place_chain("aten.convolution.default", (x, split, None, *around), padding[0])
        x8 = torch.randint(-128, 128, x.shape, generator=generator).to(torch.int8)
        w8 = torch.randint(-127, 128, w.shape, generator=generator).to(torch.int8)
        bias32 = torch.randint(-9000, 9000, (6,), generator=generator).to(torch.int32)
        factors = [fixed_point(0.003 * (i + 1)) for i in range(6)]
        multipliers = torch.tensor([factor[0] for factor in factors], dtype=torch.int32)
        shifts = torch.tensor([factor[1] for factor in factors], dtype=torch.int8)
        rest = (*movement, 6, multipliers, shifts, -7, 5, -100, 110)
        yield in_place_chain("memplan.conv_int8", (x8, w8, bias32, *rest), padding[0])
        split = PartlyUpdated(w8, 0, (0, 5))
        yield in_place_chain("memplan.conv_int8", (x8, split, None, *rest), padding[0])


def in_place_chain(target: str, arguments: tuple[Any, ...], padding: int) -> Chain:
    x = arguments[0]
    plain = Case(target, arguments, (tuple(x.shape),), dtype=x.dtype)
    rows = min(padding + 1, x.shape[2])
    apart = replace(plain, workspace_bytes=rows * x.shape[3] * x.itemsize, used_up=x)
    ways = (apart, replace(apart, result_at=0))
    return Chain("in place", arguments, (), ways, (plain,), (torch.zeros_like(x),))


def all_chains() -> Iterator[Chain]:
    for name, (build, x) in STRIP_NETWORKS.items():
        traced = traced_module(randomise(build()).eval(), {"x": x}, TraceSettings(mode="infer"))
        yield from chains(name, traced.graph, traced.weights)
    for name, (network, size) in INTEGERS.items():
        case = quantized(network, size=size, mode="infer")
        yield from chains(name, case.graph, case.weights)
    yield hand_chain()
    yield from in_place_chains()


def chains(name: str, graph: OpGraph, weights: Mapping[str, Any]) -> Iterator[Chain]:
    for operation in graph.operations:
        for way in operation.alternatives:
            if way.target == "memplan.row_strips":
                yield traced_chain(name, graph, way, weights, cut=False)
                if name in CUT:
                    yield traced_chain(name, graph, way, weights, cut=True)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Chain], Program]:
    found = list(all_chains())
    cases = [case for one in found for case in (*one.strips, *one.plain)]
    return found, build_program(tmp_path_factory.mktemp("strips"), cases)


@pytest.mark.parametrize("name", [*STRIP_NETWORKS, *INTEGERS, "by hand", "in place"])
def test_strips_give_the_bits_of_the_operations_by_themselves(
    name: str, built: tuple[list[Chain], Program]
) -> None:
    number, tested = 0, 0
    for one in built[0]:
        first, number = number, number + len(one.strips) + len(one.plain)
        if one.name != name:
            continue
        for index, result in enumerate(one.results):
            result.copy_(built[1].run(first + len(one.strips) + index)[0])
        for index, case in enumerate(one.strips):
            (found,) = built[1].run(first + index)
            assert torch.equal(found, one.results[-1])
            tested += 1
            if one.entries:
                (expected,) = execute(
                    case.target, one.arguments, case.shapes, dtype=case.dtype,
                    workspace_bytes=case.workspace_bytes,
                )  # fmt: skip
                if found.is_floating_point():
                    close(found, expected, 1e-5)
                else:
                    assert torch.equal(found, expected)
    assert tested


def test_every_operation_that_goes_by_rows_is_tested(built: tuple[list[Chain], Program]) -> None:
    tested = {entry.target for one in built[0] for entry in one.entries}
    elementwise = ("add_int8", "dequantize", "elementwise", "quantize")
    assert {*WINDOWED, *(f"memplan.{name}" for name in elementwise)} <= tested
    assert any(case.result_at is not None for one in built[0] for case in one.strips)


def test_what_has_no_form_in_c_is_refused() -> None:
    one = hand_chain()
    (strips,) = one.strips
    short = [*strips.arguments]
    short[0] = (*short[0][:6], (0, 2))
    with pytest.raises(UnsupportedError, match="needs row 0 of entry 0, which is gone"):
        bind_case(replace(strips, arguments=tuple(short)), 0, Code())
    with pytest.raises(UnsupportedError, match="line buffers of 532 bytes"):
        bind_case(replace(strips, workspace_bytes=528), 0, Code())
    kept = [*strips.arguments]
    kept[3] = (*kept[3][:6], (532, 1))
    with pytest.raises(UnsupportedError, match="no operand is used up"):
        bind_case(replace(strips, arguments=tuple(kept), workspace_bytes=560), 0, Code())
    named = [*strips.arguments]
    named[0] = ("memplan.input_rows", ("x",), *named[0][2:])
    with pytest.raises(UnsupportedError, match="rows of x, which the main program does not give"):
        bind_case(replace(strips, arguments=tuple(named)), 0, Code())
