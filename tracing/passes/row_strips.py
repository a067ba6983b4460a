"""Compute the result of a chain of spatially local operations row by row.

In an inverted residual block (pointwise, depthwise, pointwise) a row of the narrow result needs a
few rows of the wide tensors inside, which then never exist whole: line buffers hold these rows, and
nothing is computed twice.  The last operation of a chain gets an alternative that reads the chain's
input and weights; the operations inside are then not needed, unless something else reads what they
write.

Chains run between *narrow* tensors: all that is computed later depends on the past by that one
tensor alone, and no step by single rows (element by element, or pointwise) comes before or behind
it that has a smaller one at its other end.  Up to ``MOST_SEGMENTS`` consecutive pieces between
narrow tensors make one chain, where that needs fewer bytes than the pieces by themselves.

A chain may use up what it begins with: finished rows of its result wait in spent rows of that
tensor, and only then go to bytes of their own.  And where that was asked for, the host gives the
network's input row by row, and it has no bytes at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf

from memplan.ir.row_strips import MAX_ENTRIES, MAX_ROWS, RowWindow, read_program, rows_to_prove
from memplan.tracing.draft import Draft, DraftOperation, Recipe
from memplan.tracing.row_local import row_local
from memplan.tracing.strip_program import (
    Link,
    streamed_recipe,
    strip_recipe,
    used_up_recipe,
)

__all__ = ["MOST_SEGMENTS", "offer_row_strips"]

#: Most pieces between narrow tensors in one chain, and so most alternatives per operation.
MOST_SEGMENTS = 4
#: These read a forward result for the backward: where one runs, so does what it reads.
_SAVING = ("memplan.range_bits", "memplan.gather_channels", "memplan.max_pool_positions")
_ONE_ROW = RowWindow()


def offer_row_strips(draft: Draft) -> None:
    """Add alternatives ``rows``, ``rows_2``, ... to the last operations of chains."""
    network = _Network(draft)
    #: Least bytes of going from one narrow tensor to another, both included: in any case, and where
    #: operands may be used up.
    sure: dict[tuple[str, str], float] = {}
    least: dict[tuple[str, str], float] = {}
    for result, link in network.links.items():
        if not network.is_narrow(result):
            continue
        between: list[str] = []
        for start, chain in network.chains(link):
            ends = (start, result)
            plain = network.plain_bytes(chain)
            sure[ends] = min(plain, _in_pieces(sure, *ends, between))
            least[ends] = min(plain, _in_pieces(least, *ends, between))
            segments = len(between) + 1
            name = "rows" if segments == 1 else f"rows_{segments}"
            for recipe in network.ways(start, chain, name):
                known = sure if recipe.uses_up is None else least
                strips = network.strip_bytes(start, result, recipe)
                if strips < known[ends]:
                    link.operation.alternatives.append(recipe)
                    known[ends] = strips
                    least[ends] = min(least[ends], strips)
            between.append(start)


def _in_pieces(
    known: Mapping[tuple[str, str], float], start: str, result: str, between: Sequence[str]
) -> float:
    """Return the least bytes of two chains one after the other."""
    return min(
        (max(known.get((start, cut), inf), known.get((cut, result), inf)) for cut in between),
        default=inf,
    )


class _Network:
    """The forward operations that go by rows, and who reads what."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.samples = 1 if draft.symbolic else draft.samples[0]
        #: By result, in traced order.
        self.links: dict[str, Link] = {}
        self.number: dict[str, int] = {}
        self.readers: dict[str, list[DraftOperation]] = {}
        #: That may still be proved to be spent.
        self.rows_left = MAX_ROWS
        for number, operation in enumerate(draft.operations):
            if operation.phase == "forward" and operation.target not in _SAVING:
                for name in dict.fromkeys(view.tensor for view in operation.reads()):
                    self.readers.setdefault(name, []).append(operation)
            rows = row_local(draft, operation)
            if rows is not None:
                self.links[operation.writes[0]] = Link(operation, rows)
                self.number[operation.writes[0]] = number
        for name in draft.outputs:  # the host reads them
            self.readers.setdefault(name, []).append(DraftOperation("", "forward", (), []))

    def size(self, name: str) -> int:
        return self.draft.tensors[name].size_bytes.at(self.samples)

    def is_narrow(self, name: str) -> bool:
        """Whether a chain may begin or end here."""
        following = self._only_reader(name)
        if following is not None and following.rows.elementwise:
            return False
        if (
            following is not None
            and following.rows.window == _ONE_ROW
            and self.size(self._end_of_stage(following).result) < self.size(name)
        ):
            return False
        if name not in self.links:
            return True
        maker = self._maker(self.links[name])
        if maker is None or maker.rows.window != _ONE_ROW:
            return True
        return self.size(maker.rows.views[0].tensor) > self.size(name)

    def _only_reader(self, name: str) -> Link | None:
        """Return the one forward operation that reads a tensor, if it goes by rows."""
        readers = self.readers.get(name, [])
        if len(readers) != 1 or not readers[0].writes:
            return None
        return self.links.get(readers[0].writes[0])

    def _end_of_stage(self, link: Link) -> Link:
        """Return the last of the element-wise operations that follow."""
        following = self._only_reader(link.result)
        while following is not None and following.rows.elementwise:
            link, following = following, self._only_reader(following.result)
        return link

    def _maker(self, link: Link) -> Link | None:
        """Return the windowed operation whose result these element-wise ones go on with."""
        while link.rows.elementwise:
            before = [
                self.links[view.tensor]
                for view in link.rows.views
                if view.tensor in self.links and len(self.readers[view.tensor]) == 1
            ]
            if not before:
                return None
            link = max(before, key=lambda one: self.number[one.result])
        return link

    def chains(self, last: Link) -> Iterator[tuple[str, list[Link]]]:
        """Yield (narrow tensor, chain from there to ``last``), shortest first."""
        chain = [last]
        members = {id(last.operation)}
        found = 0
        while len(chain) <= MAX_ENTRIES:
            inside = {link.result for link in chain}
            outside = {
                view.tensor
                for link in chain
                for view in link.rows.views
                if view.tensor not in inside
            }
            if len(outside) == 1:
                (start,) = outside
                if self.is_narrow(start):
                    yield start, list(chain)
                    found += 1
                    if found == MOST_SEGMENTS:
                        return
            # Of operands from outside, the one computed last: all its readers are known by now.
            name = max(outside, key=lambda name: self.number.get(name, -1))
            link = self.links.get(name)
            if link is None or any(id(one) not in members for one in self.readers[name]):
                return
            chain.insert(0, link)
            members.add(id(link.operation))

    def plain_bytes(self, chain: list[Link]) -> int:
        """Return the most bytes that live while the plain operations run, one after the other."""
        last_use = {
            view.tensor: index for index, link in enumerate(chain) for view in link.rows.views
        }
        most = 0
        for index, link in enumerate(chain):
            live = {name for name, use in last_use.items() if use >= index}
            live -= {later.result for later in chain[index:]}
            dying = [
                self.size(view.tensor)
                for view, _ in link.operation.plain.in_place
                if last_use[view.tensor] == index
            ]
            total = sum(map(self.size, live)) + self.size(link.result)
            most = max(most, total - max(dying, default=0))
        return most

    def ways(self, start: str, chain: list[Link], name: str) -> Iterator[Recipe]:
        """Yield the ways of computing a chain row by row, the plainest first."""
        yield strip_recipe(self.draft, chain, name)
        if chain[-1].result not in self.draft.outputs:
            recipe = used_up_recipe(self.draft, chain, start, f"{name}_used_up", self.samples)
            if recipe is not None:
                self.rows_left -= rows_to_prove(read_program(recipe.arguments))
                if self.rows_left >= 0:
                    yield recipe
        if self.draft.stream_input_rows and self.draft.tensors[start].role == "input":
            yield streamed_recipe(self.draft, chain, start, f"{name}_streamed")

    def strip_bytes(self, start: str, result: str, recipe: Recipe) -> int:
        """Return the bytes that live while a chain runs row by row."""
        workspace = recipe.workspace_bytes.at(self.samples)
        if recipe.uses_up is not None:
            return max(self.size(start) + workspace, self.size(result))
        reads_start = any(view.tensor == start for view in recipe.reads())
        ends = self.size(start) * reads_start + self.size(result)
        return ends - (self.size(result) if recipe.in_place else 0) + workspace
