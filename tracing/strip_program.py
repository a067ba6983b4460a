"""From a chain of operations to its program of rows: line buffers, workspace, in-place pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from memplan.ir.dtypes import BITS
from memplan.ir.graph import DtypeArgument, LocalArgument
from memplan.ir.row_strips import (
    INPUT_ROWS,
    ROW_STRIPS,
    Place,
    RowWindow,
    StripEntry,
    row_order,
    spent_rows,
)
from memplan.ir.units import Affine
from memplan.tracing.draft import Draft, DraftOperation, Recipe, View, views_in
from memplan.tracing.passes.in_place import fits_in_place, overwritable
from memplan.tracing.row_local import RowLocal

__all__ = ["Link", "streamed_recipe", "strip_recipe", "used_up_recipe"]

#: Of each ring, so that kernels may load words.
_ALIGNMENT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Link:
    """An operation of a chain, and how it goes by rows."""

    operation: DraftOperation
    rows: RowLocal

    @property
    def result(self) -> str:
        return str(self.operation.writes[0])


def strip_recipe(draft: Draft, chain: Sequence[Link], name: str) -> Recipe:
    """Return the way of computing the last result of a chain, in traced order, row by row."""
    plan = _Rows.of(draft, chain)
    recipe = plan.recipe(name)
    last = chain[-1].operation
    recipe.in_place = tuple(
        (view, 0)
        for view in recipe.reads()
        if fits_in_place(draft, last, recipe, view) and plan.may_overwrite(view)
    )
    return recipe


def streamed_recipe(draft: Draft, chain: Sequence[Link], start: str, name: str) -> Recipe:
    """Return the same with the rows of the chain's input ``start`` taken from the host."""
    source = DraftOperation("", "forward", (start,), [Recipe("plain", INPUT_ROWS, (start,))])
    link = Link(source, RowLocal(RowWindow(), (), elementwise=False))
    return _Rows.of(draft, [link, *chain]).recipe(name)


def used_up_recipe(
    draft: Draft, chain: Sequence[Link], start: str, name: str, samples: int
) -> Recipe | None:
    """Return the same with the result kept in spent rows of ``start``; None: there is no room."""
    plan = _Rows.of(draft, chain, keeps_rows=True)
    recipe = plan.recipe(name)
    operand, result = draft.tensors[start], draft.tensors[chain[-1].result]
    views = [view for view in recipe.reads() if view.tensor == start]
    if views != [operand.whole()] or operand.shape[0] != result.shape[0]:
        return None
    height = operand.shape[2].fixed
    spent = spent_rows(plan.entries, lambda entry: views[0] in views_in(entry.arguments), height)
    count = operand.shape[0].at(samples)
    operand_row = operand.size_bytes.at(samples) // count // height
    result_row = result.size_bytes.at(samples) // count // result.shape[2].fixed
    if any((row + 1) * result_row > rows * operand_row for row, rows in enumerate(spent)):
        return None
    recipe.uses_up = views[0]
    return recipe


def _entry(draft: Draft, link: Link, position: dict[str, int]) -> StripEntry:
    def local(argument: Any) -> Any:
        if isinstance(argument, View) and argument.tensor in position:
            return LocalArgument(local=position[argument.tensor])
        if isinstance(argument, tuple):
            return tuple(local(part) for part in argument)
        return argument

    result = draft.tensors[link.result]
    channels, height, width = (size.fixed for size in result.shape[1:])
    plain = link.operation.plain
    return StripEntry(
        plain.target,
        local(plain.arguments),
        tuple((key, local(value)) for key, value in plain.keywords.items()),
        link.rows.window,
        (channels, height, width),
        DtypeArgument(dtype=result.dtype),
        None,
    )


class _Rows:
    """Which rows of a chain are there at which moment."""

    def __init__(
        self,
        chain: Sequence[Link],
        entries: list[StripEntry],
        position: dict[str, int],
        keeps_rows: bool,
    ) -> None:
        self.chain, self.entries, self.position = chain, entries, position
        #: Whether rows of the result have a ring, too.
        self.keeps_rows = keeps_rows
        self.last = len(entries) - 1
        self.order = row_order(entries)
        self.total = [0] * len(entries)
        for index, row in self.order:
            self.total[index] = row + 1
        self.readers: list[list[int]] = [[] for _ in entries]
        for index, entry in enumerate(entries):
            for source in entry.locals():
                self.readers[source].append(index)
        self.keeper = self._keepers()

    @classmethod
    def of(cls, draft: Draft, chain: Sequence[Link], *, keeps_rows: bool = False) -> _Rows:
        """Look at a chain in traced order."""
        position = {link.result: index for index, link in enumerate(chain)}
        entries = [_entry(draft, link, position) for link in chain]
        return cls(chain, entries, position, keeps_rows)

    def recipe(self, name: str) -> Recipe:
        """Return the program with its rings."""
        entries, workspace_bytes = self.placed()
        return Recipe(
            name,
            ROW_STRIPS,
            tuple(entry.as_argument() for entry in entries),
            workspace_bytes=Affine(workspace_bytes),
        )

    def _keepers(self) -> list[int]:
        """Return for each entry the one in whose rows it lies: the last of those in place."""
        above: dict[int, int] = {}
        for index, (link, entry) in enumerate(zip(self.chain, self.entries, strict=True)):
            if not link.rows.elementwise:
                continue
            outside = any(view.tensor not in self.position for view in link.rows.views)
            if index == self.last and outside:
                continue  # the output may take the bytes of an operand that is read here still
            for view in overwritable(link.operation.plain):
                source = self.position.get(view.tensor)
                if (
                    source is not None
                    and self.readers[source] == [index]
                    and self.entries[source].shape == entry.shape
                    and self.entries[source].dtype == entry.dtype
                ):
                    above[source] = index
                    break
        keeper = list(range(len(self.entries)))
        for index in reversed(keeper):
            keeper[index] = keeper[above[index]] if index in above else index
        return keeper

    def placed(self) -> tuple[list[StripEntry], int]:
        """Return the entries with their rings, each as short as the order allows, and its end."""
        rows = [1] * len(self.entries)
        done = [0] * len(self.entries)
        for index, row in self.order:
            keeper = self.keeper[index]
            needed = [
                self._first_needed(reader, done[reader])
                for reader in self.readers[keeper]
                if done[reader] < self.total[reader]
            ]
            rows[keeper] = max([rows[keeper], *(row - first + 1 for first in needed)])
            done[index] = row + 1
        places: dict[int, Place] = {}
        end = 0
        in_output = set() if self.keeps_rows else {self.last}
        for index in sorted(set(self.keeper) - in_output):
            entry = self.entries[index]
            item_bytes = BITS[entry.dtype.dtype] // 8
            alignment = max(_ALIGNMENT_BYTES, item_bytes)
            start = -(-end // alignment) * alignment
            places[index] = Place(start, rows[index])
            end = start + rows[index] * entry.shape[0] * entry.shape[2] * item_bytes
        entries = [
            replace(entry, place=places.get(keeper))
            for entry, keeper in zip(self.entries, self.keeper, strict=True)
        ]
        return entries, end

    def _first_needed(self, reader: int, row: int) -> int:
        return max(0, self.entries[reader].window.rows(row)[0])

    def may_overwrite(self, view: View) -> bool:
        """Whether row r of the output is written when nothing needs row r of the operand."""
        readers = [index for index, link in enumerate(self.chain) if view in link.rows.views]
        done = [0] * len(self.entries)
        for index, row in self.order:
            if self.keeper[index] == self.last:
                for reader in readers:
                    following = done[reader]
                    if reader == index and view in overwritable(self.chain[index].operation.plain):
                        following = row + 1  # it reads an element just before it writes there
                    if (
                        following < self.total[reader]
                        and self._first_needed(reader, following) <= row
                    ):
                        return False
            done[index] = row + 1
        return True
