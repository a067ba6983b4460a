"""What a program of rows costs: the rows that it computes, each once.

Line buffers are memory as any: what the plain operations move, the entries move too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from memplan.ir.dtypes import storage_bytes
from memplan.ir.graph import LocalArgument, SizeArgument
from memplan.ir.row_strips import StripEntry, read_program, row_order
from memplan.ir.units import Affine
from memplan.tracing.draft import Draft, DraftOperation, Recipe, View, sizes_at, views_in

__all__ = ["strip_macs", "strip_moved_bytes"]

Sizes = tuple[int, ...]
Rule = Callable[[tuple[Any, ...], Sizes, Callable[[Any], Sizes]], int]


def strip_macs(
    draft: Draft, operation: DraftOperation, recipe: Recipe, rules: Mapping[str, Rule]
) -> Affine:
    """Return the multiply-accumulates of a program, by the rules of its entries."""
    entries = read_program(recipe.arguments)
    rows = _rows(entries)

    def at(count: int) -> int:
        samples = draft.tensors[operation.writes[0]].shape[0].at(count)

        def shape_of(argument: Any) -> Sizes:
            if isinstance(argument, View):
                return sizes_at(argument.shape, count)
            if isinstance(argument, LocalArgument):
                return (samples, *entries[argument.local].shape)
            return tuple(
                size.size.at(count) if isinstance(size, SizeArgument) else int(size)
                for size in argument
            )

        total = 0
        for entry, computed in zip(entries, rows, strict=True):
            rule = rules.get(entry.target)
            if rule is not None:
                channels, _, width = entry.shape
                total += rule(entry.arguments, (samples, channels, computed, width), shape_of)
        return total

    return draft.affine(at)


def strip_moved_bytes(
    draft: Draft,
    operation: DraftOperation,
    recipe: Recipe,
    view_bytes: Callable[[View, int], int],
) -> Affine:
    """Return the bytes that the entries read and write, rows in line buffers included."""
    entries = read_program(recipe.arguments)
    rows = _rows(entries)

    def row_bytes(index: int, samples: int) -> int:
        entry = entries[index]
        channels, _, width = entry.shape
        return storage_bytes(samples * channels * rows[index] * width, entry.dtype.dtype)

    def at(count: int) -> int:
        samples = draft.tensors[operation.writes[0]].shape[0].at(count)
        total = 0
        for index, entry in enumerate(entries):
            arguments = (entry.arguments, tuple(value for _, value in entry.keywords))
            total += sum(view_bytes(view, count) for view in dict.fromkeys(views_in(arguments)))
            total += sum(row_bytes(source, samples) for source in entry.locals())
            total += row_bytes(index, samples)
        return total

    return draft.affine(at)


def _rows(entries: tuple[StripEntry, ...]) -> list[int]:
    """Return how many rows of each entry are computed."""
    rows = [0] * len(entries)
    for index, row in row_order(entries):
        rows[index] = row + 1
    return rows
