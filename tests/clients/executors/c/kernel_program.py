"""One program of many calls of kernels, made by the exporter, under both sanitizers.

Each case is a call with tensors; the program runs one of them on bytes from its standard input.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import memplan.clients.executors.c as package
from memplan.clients.executors.c.host import find_compiler
from memplan.clients.export.c.call import Call
from memplan.clients.export.c.calls import statements
from memplan.clients.export.c.code import Code
from memplan.clients.export.c.views import C_TYPES, Geometry, Split, View
from memplan.ir.request import LayerUpdate
from memplan.ir.units import Affine

__all__ = ["Case", "PartlyUpdated", "Program", "bind_case", "build_program"]

_ALIGNMENT = 64
_DTYPES = {
    torch.float32: "float32", torch.int64: "int64", torch.int32: "int32", torch.int8: "int8",
    torch.uint8: "uint8", torch.bool: "bool",
}  # fmt: skip


@dataclass(frozen=True)
class PartlyUpdated:
    """A weight whose channels along ``dim`` are in the arena, the others outside.

    ``value`` may be a view of ``whole`` in which ``dim`` is the dimension that is cut.
    """

    value: torch.Tensor
    dim: int
    channels: tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A call: what it reads, and the shapes of what it writes.

    Operands are read when the program runs: they may be filled after it was built.
    """

    target: str
    arguments: tuple[Any, ...]
    shapes: tuple[tuple[int, ...], ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)
    #: Among the arguments.
    mutates: tuple[torch.Tensor, ...] = ()
    #: Of each update that the call performs as well, what it mutates.
    covered: tuple[tuple[torch.Tensor, ...], ...] = ()
    update: LayerUpdate | None = None
    trips: int = 1
    workspace_bytes: int = 0
    dtype: torch.dtype = torch.float32
    #: Of the result, where it is not row-major.
    strides: tuple[int, ...] | None = None
    #: Among the arguments: its bytes are free for the call's own use.
    used_up: torch.Tensor | None = None
    #: The result lies in the bytes of what is used up, from this one on; None: elsewhere.
    result_at: int | None = None


@dataclass(frozen=True, eq=False)
class _Block:
    offset: int
    size: int
    #: Bytes of a tensor, as they are when the program runs; None: nothing is there yet.
    content: torch.Tensor | None


class _Layout:
    """Places of the tensors of one case."""

    def __init__(self) -> None:
        self.blocks: list[_Block] = []
        self._known: dict[int, int] = {}

    def add(self, size: int, content: torch.Tensor | None = None) -> int:
        place = sum(-(-b.size // _ALIGNMENT) * _ALIGNMENT + _ALIGNMENT for b in self.blocks)
        self.blocks.append(_Block(place, size, content))
        return place

    def view(self, tensor: torch.Tensor) -> View:
        storage = tensor.untyped_storage()
        key = storage.data_ptr()
        if key not in self._known:
            whole = torch.empty(0, dtype=torch.uint8).set_(storage)
            self._known[key] = self.add(whole.numel(), whole)
        dtype = _DTYPES[tensor.dtype]
        geometry = Geometry(tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()))
        return View(f"AT({C_TYPES[dtype]}, {self._known[key]})", dtype, geometry)

    def split(self, weight: PartlyUpdated) -> View:
        """Put a weight into two blocks; its updated channels are spoiled in the frozen one."""
        chosen = torch.tensor(weight.channels)
        frozen = weight.value.clone(memory_format=torch.preserve_format)
        spoiled = float("nan") if frozen.is_floating_point() else -128
        frozen.index_fill_(weight.dim, chosen, spoiled)
        part = weight.value.index_select(weight.dim, chosen)
        # The slice is dense in the order of the weight's own dimensions.
        strides = frozen.stride()
        order = sorted(range(part.dim()), key=lambda d: -strides[d])
        dense = part.permute(order).contiguous()
        back = [order.index(d) for d in range(part.dim())]
        sliced = dense.permute(back)
        inner = self.view(sliced)
        view = self.view(frozen)
        return View(
            view.base, view.dtype, view.geometry,
            Split(inner.base, inner.geometry, weight.dim, weight.channels,
                  weight.value.shape[weight.dim]),
        )  # fmt: skip


@dataclass(frozen=True)
class _Bound:
    layout: _Layout
    writes: tuple[View, ...]
    mutates: tuple[View, ...]
    lines: tuple[str, ...]


class Program:
    """A built program."""

    def __init__(self, path: Path, cases: Sequence[Case], bound: Sequence[_Bound]) -> None:
        self._path = path
        self._cases = cases
        self._bound = bound

    def run(self, index: int) -> tuple[torch.Tensor, ...]:
        """Return what case number ``index`` writes, then what it mutates."""
        bound, case = self._bound[index], self._cases[index]
        blocks = bound.layout.blocks
        size = max(block.offset + block.size for block in blocks)
        arena = bytearray(b"\xff" * size)
        given = {
            block: block.content.numpy().tobytes() for block in blocks if block.content is not None
        }
        for block, content in given.items():
            arena[block.offset : block.offset + block.size] = content
        done = subprocess.run(
            [str(self._path), str(index)], input=bytes(arena), capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()[:2000]
        assert len(done.stdout) == size
        after = bytearray(done.stdout)
        spoiled = bound.mutates or case.used_up is not None
        for block, content in given.items():
            if not spoiled:
                same = after[block.offset : block.offset + block.size] == content
                assert same, f"case {index} ({case.target}) wrote to an operand"
        return tuple(_tensor(after, view) for view in (*bound.writes, *bound.mutates))


def build_program(folder: Path, cases: Sequence[Case]) -> Program:
    """Compile all cases into one program."""
    code = Code()
    bound = [bind_case(case, index, code) for index, case in enumerate(cases)]
    sources = Path(package.__file__).parent
    (folder / "cases.c").write_text(_source(bound, code))
    command = [
        find_compiler(), "-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror",
        "-ffp-contract=off", "-fno-math-errno", "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all", f"-I{sources / 'runtime'}", f"-I{sources}",
        "cases.c", str(sources / "runtime" / "runtime.c"),
        str(sources / "runtime" / "guard_host.c"),
        *map(str, sorted((sources / "kernels").glob("*.c"))), "-o", "cases",
    ]  # fmt: skip
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[:3000]
    return Program(folder / "cases", cases, bound)


def bind_case(case: Case, index: int, code: Code) -> _Bound:
    """Return the C code of a case, and where its tensors lie."""
    layout = _Layout()
    arguments = _resolve(case.arguments, layout)
    keywords = {name: _resolve(value, layout) for name, value in case.keywords.items()}
    mutates = tuple(layout.view(tensor) for tensor in case.mutates)
    used_up = None if case.used_up is None else layout.view(case.used_up)
    writes = []
    for shape in case.shapes:
        out = torch.empty(shape, dtype=case.dtype)
        strides = case.strides or out.stride()
        dtype = _DTYPES[case.dtype]
        if case.result_at is None:
            place = layout.add(out.numel() * out.itemsize)
        else:
            assert used_up is not None
            place = _place(used_up) + case.result_at
        geometry = Geometry(tuple(shape), tuple(strides))
        writes.append(View(f"AT({C_TYPES[dtype]}, {place})", dtype, geometry))
    workspace = None
    if case.workspace_bytes:
        place = layout.add(case.workspace_bytes)
        workspace = View(f"AT(uint8_t, {place})", "uint8", Geometry((case.workspace_bytes,), (1,)))
    call = Call(
        operation=f"case{index}",
        target=case.target,
        arguments=arguments,
        keywords=keywords,
        writes=tuple(writes),
        mutates=mutates,
        covered=tuple(tuple(map(layout.view, tensors)) for tensors in case.covered),
        workspace=workspace,
        update=case.update,
        write_shapes=tuple(
            tuple(Affine(size) if dim else Affine(0, 1) for dim, size in enumerate(shape))
            for shape in case.shapes
        ),
        trips=case.trips,
        used_up=used_up,
    )
    return _Bound(layout, tuple(writes), mutates, tuple(statements(call, code)))


def _resolve(argument: Any, layout: _Layout) -> Any:
    if isinstance(argument, torch.Tensor):
        return layout.view(argument)
    if isinstance(argument, PartlyUpdated):
        return layout.split(argument)
    if isinstance(argument, list | tuple):
        return tuple(_resolve(part, layout) for part in argument)
    if isinstance(argument, torch.dtype):
        return _DTYPES[argument]
    return argument


def _source(bound: Sequence[_Bound], code: Code) -> str:
    bodies, rows = [], []
    for index, each in enumerate(bound):
        ranges = ", ".join(f"{{{b.offset}u, {b.size}u}}" for b in each.layout.blocks)
        bodies += [
            f"static void case{index}(void) {{",
            *("    " + line for line in each.lines),
            "}",
            f"static const struct memplan_range ranges{index}[] = {{{ranges}}};",
        ]
        rows.append(
            f'    {{case{index}, "", ranges{index}, ranges{index}, {len(each.layout.blocks)}, 0, '
            "NULL, 0},"
        )
    largest = max(b.offset + b.size for each in bound for b in each.layout.blocks)
    return "\n".join(
        [
            "#include <stdio.h>",
            "#include <stdlib.h>",
            '#include "memplan.h"',
            '#include "guard_host.h"',
            *(f'#include "kernels/{kernel}.h"' for kernel in sorted(code.kernels)),
            "#define AT(type, offset) ((type *)(void *)(memplan_arena + (offset)))",
            *code.definitions,
            *bodies,
            "static const struct memplan_step cases[] = {",
            *rows,
            "};",
            "const struct memplan_section memplan_prologue, memplan_epilogue;",
            f"const struct memplan_section memplan_body = {{cases, {len(bound)}}};",
            "const uint32_t memplan_trips = 1;",
            f"const uint32_t memplan_arena_bytes = {largest}u;",
            'const struct memplan_tensor memplan_parameters[] = {{"", {0, 0}, NULL}};',
            "const uint32_t memplan_parameter_count = 0;",
            f"static uint8_t arena[{largest}] __attribute__((aligned(64)));",
            "int main(int count, char **arguments) {",
            "    const struct memplan_step *step = &cases[count > 1 ? atoi(arguments[1]) : 0];",
            "    memplan_arena = arena;",
            "    const size_t size = fread(arena, 1, sizeof arena, stdin);",
            "    guard_before(step);",
            "    step->run();",
            "    guard_after(step);",
            "    return fwrite(arena, 1, size, stdout) != size;",
            "}",
            "",
        ]
    )


def _tensor(arena: bytearray, view: View) -> torch.Tensor:
    dtype = next(torch_type for torch_type, name in _DTYPES.items() if name == view.dtype)
    count = view.geometry.end
    flat = torch.frombuffer(arena, dtype=dtype, count=count, offset=_place(view)).clone()
    return flat.as_strided(view.shape, view.strides, view.geometry.offset)


def _place(view: View) -> int:
    """Return the first byte of a view's block."""
    return int(view.base.split(", ")[1].rstrip(")"))
