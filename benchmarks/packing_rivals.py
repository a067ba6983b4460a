"""Other packers: written anew from their published rules, or the real ones where they are there."""

from __future__ import annotations

import importlib
import random
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.packing_cases import Case
from memplan.ir.packing import PackedBuffer, PackingBuffer
from memplan.ir.units import align_up
from memplan.solver.packing import PackingTechniques, Problem, Rectangle, pack_within

__all__ = [
    "GREEDY",
    "Offsets",
    "cp_sat",
    "executorch_greedy",
    "largest_first_best_fit",
    "largest_first_lowest_gap",
    "longest_first",
    "minimalloc",
    "placed",
    "vela_hill_climb",
]

#: An offset per buffer, in bytes.
Offsets = list[int]


def executorch_greedy(case: Case) -> Offsets:
    """Place as ExecuTorch's ``greedy`` does (exir/memory_planning.py): by size, in shared objects.

    A buffer goes to the first object in which it overlaps nothing, at 0; else into the first one
    in which it ends within the object above those it overlaps; else it founds one of its size.
    """
    objects: list[tuple[int, list[int]]] = []
    inside = [0] * len(case.buffers)
    owner = [0] * len(case.buffers)
    sizes = _padded(case)
    # Of equal sizes it takes the last first: it sorts upward, and reverses.
    for i in sorted(range(len(sizes)), key=sizes.__getitem__)[::-1]:
        tops = [
            max(
                (inside[j] + sizes[j] for j in members if _meet(case.buffers[i], case.buffers[j])),
                default=0,
            )
            for _, members in objects
        ]
        free = [number for number, top in enumerate(tops) if top == 0]
        above = [n for n, top in enumerate(tops) if top and top + sizes[i] <= objects[n][0]]
        owner[i] = (free or above or [len(objects)])[0]
        if owner[i] == len(objects):
            objects.append((sizes[i], []))
        else:
            inside[i] = tops[owner[i]]
        objects[owner[i]][1].append(i)
    base = [sum(size for size, _ in objects[:number]) for number in range(len(objects))]
    return [base[owner[i]] + inside[i] for i in range(len(case.buffers))]


def largest_first_lowest_gap(case: Case) -> Offsets:
    """Place as TFLite Micro's ``GreedyMemoryPlanner``: by size, in the lowest gap."""
    return _in_gaps(case, _largest_first(case), lambda gaps: gaps[0])


def largest_first_best_fit(case: Case) -> Offsets:
    """Place as XLA's ``GlobalDecreasingSizeBestFitHeap``: by size, in the smallest such gap."""
    return _in_gaps(case, _largest_first(case), lambda gaps: min(gaps, key=lambda g: (g[1], g[0])))


def longest_first(case: Case) -> Offsets:
    """Place as TinyEngine and Melon: by lifetime, in the lowest gap that is enough."""
    buffers = case.buffers
    order = sorted(
        range(len(buffers)), key=lambda i: (buffers[i].lower - buffers[i].upper, -buffers[i].size)
    )
    return _in_gaps(case, order, lambda gaps: gaps[0])


#: Rivals that only place buffers one after the other.
GREEDY: dict[str, Callable[[Case], Offsets]] = {
    "ExecuTorch greedy": executorch_greedy,
    "TFLM greedy": largest_first_lowest_gap,
    "XLA best fit": largest_first_best_fit,
    "longest first": longest_first,
}


def vela_hill_climb(case: Case) -> Offsets | None:
    """Run Vela's ``HillClimbAllocator``, defaults and all; None where it is not installed."""
    try:
        allocation: Any = importlib.import_module("ethosu.vela.hillclimb_allocation")
    except ImportError:
        return None
    moments = sorted({t for b in case.buffers for t in (b.lower, b.upper)})
    place = {t: i for i, t in enumerate(moments)}
    sizes = _padded(case)
    # It draws from the global generator, which it seeds; its end times are inclusive.
    before = random.getstate()
    addresses = allocation.allocate_live_ranges(
        [
            SimpleNamespace(
                start_time=place[b.lower],
                end_time=place[b.upper] - 1,
                size=size,
                get_alignment=lambda: case.alignment,
            )
            for b, size in zip(case.buffers, sizes, strict=True)
        ],
        None,
        1 << 62,
    )
    random.setstate(before)
    return [int(address) for address in addresses]


def cp_sat(case: Case, capacity: int, seconds: float, workers: int) -> Offsets | None:
    """CP-SAT's no-overlap in two dimensions with a cumulative, and nothing else."""
    names = PackingTechniques.__slots__
    alone = PackingTechniques.without(*(name for name in names if name != "no_overlap"))
    problem = Problem(
        tuple(Rectangle(b.lower, b.upper, b.size) for b in case.buffers),
        tuple(b.alignment for b in case.buffers),
    )
    proof = pack_within(problem, capacity, seconds=seconds, workers=workers, techniques=alone)
    return None if proof.packing is None else list(proof.packing.offsets)


def minimalloc(binary: Path, case: Case, capacity: int, seconds: float) -> Offsets | None:
    """Run the program of google/minimalloc; None where it finds nothing in time."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.csv"), Path(folder, "out.csv")
        lines = [
            f"{i},{b.lower},{b.upper},{b.size},{b.alignment}" for i, b in enumerate(case.buffers)
        ]
        source.write_text("\n".join(["id,lower,upper,size,alignment", *lines]) + "\n")
        arguments = [f"--input={source}", f"--output={target}", f"--capacity={capacity}"]
        subprocess.run(
            [str(binary), *arguments, f"--timeout={seconds:g}s"], check=False, capture_output=True
        )
        if not target.is_file():
            return None
        header, *rows = (line.split(",") for line in target.read_text().split())
        number, offset = header.index("id"), header.index("offset")
        found = {int(re.sub(r"\D", "", row[number])): int(row[offset]) for row in rows}
    return [found[i] for i in range(len(case.buffers))] if len(found) == len(case.buffers) else None


def placed(buffers: Sequence[PackingBuffer], offsets: Offsets) -> list[PackedBuffer]:
    """Return offsets as the check takes them."""
    return [PackedBuffer(b.id, offset) for b, offset in zip(buffers, offsets, strict=True)]


def _padded(case: Case) -> list[int]:
    return [align_up(buffer.size, case.alignment) for buffer in case.buffers]


def _largest_first(case: Case) -> list[int]:
    return sorted(range(len(case.buffers)), key=lambda i: -case.buffers[i].size)


def _meet(a: PackingBuffer, b: PackingBuffer) -> bool:
    return a.lower < b.upper and b.lower < a.upper


def _in_gaps(
    case: Case,
    order: Sequence[int],
    choose: Callable[[list[tuple[int, int]]], tuple[int, int]],
) -> Offsets:
    """Place in ``order``, each in one of the gaps (offset, size) that are enough.

    The last gap has no end.
    """
    sizes = _padded(case)
    offsets = [-1] * len(sizes)
    for i in order:
        taken = sorted(
            (offsets[j], offsets[j] + sizes[j])
            for j in range(len(sizes))
            if offsets[j] >= 0 and _meet(case.buffers[i], case.buffers[j])
        )
        gaps = []
        low = 0
        for bottom, top in taken:
            if bottom - low >= sizes[i]:
                gaps.append((low, bottom - low))
            low = max(low, top)
        gaps.append((low, 1 << 62))
        offsets[i] = choose(gaps)[0]
    return offsets
