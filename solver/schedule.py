"""A schedule: which operations run, in which order and how; everything else follows.

With the sequence of (operation, alternative) given, a read takes the latest computation before
it, a buffer lives from its step to its last reader, and a declared in-place pair is used
whenever its operand dies there.  No other choice of lifetimes needs fewer bytes anywhere, so the
heuristics search sequences only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

from memplan.solver.instance import Instance

__all__ = [
    "Block",
    "Lifetimes",
    "Schedule",
    "Table",
    "derive",
    "live_bytes",
    "live_peak",
    "live_profile",
]

#: Computations of one operation, where the request limits them not.
NO_LIMIT = 1 << 30

#: One step: (index of the work, index of the way).
Schedule = Sequence[tuple[int, int]]
#: A rule by which each operation goes some way.
WaysOf = Callable[["Table"], dict[int, int]]


@dataclass(frozen=True)
class Table:
    """A fixed instance with everything that the inner loops look up, aligned to whole units."""

    instance: Instance
    size: tuple[int, ...]
    reads: tuple[tuple[tuple[int, ...], ...], ...]
    writes: tuple[tuple[int, ...], ...]
    pairs: tuple[tuple[tuple[tuple[int, int], ...], ...], ...]
    workspace: tuple[tuple[int, ...], ...]
    time_ns: tuple[tuple[int, ...], ...]
    macs: tuple[tuple[int, ...], ...]
    #: Parameters and states that a way reads and that some work mutates.
    stores: tuple[tuple[frozenset[str], ...], ...]
    mutates: tuple[tuple[frozenset[str], ...], ...]
    #: Works that a way does as well.
    covers: tuple[tuple[tuple[int, ...], ...], ...]
    #: Item that a way uses up, or -1.
    uses_up: tuple[tuple[int, ...], ...]
    #: Ways that the mask allows.
    allowed: tuple[tuple[int, ...], ...]
    given: tuple[int, ...]
    kept: frozenset[int]
    #: Works that must run, by themselves or covered by another.
    demanded: tuple[int, ...]
    producer: dict[int, int]
    _found: dict[WaysOf, dict[int, int]] = field(default_factory=dict, compare=False, repr=False)

    def once(self, find: WaysOf) -> dict[int, int]:
        """Return a copy of what ``find`` returns of this table, which is called but once."""
        if find not in self._found:
            self._found[find] = find(self)
        return dict(self._found[find])

    @cached_property
    def most_computations(self) -> tuple[int, ...]:
        """How often each work may run: the request's number, once if it is not recomputable."""
        asked = self.instance.request.computations
        most = NO_LIMIT if asked is None else asked
        return tuple(most if work.recomputable else 1 for work in self.instance.works)

    @cached_property
    def plain_macs(self) -> int:
        """MACs of one trip of the plain step: what is needed, once, by the first way allowed."""
        wanted = set(self.kept)
        macs = 0
        for index in range(len(self.writes) - 1, -1, -1):
            demanded = self.instance.works[index].demanded[0]
            if demanded or not wanted.isdisjoint(self.writes[index]):
                way = self.allowed[index][0]
                macs += self.macs[index][way]
                wanted.update(self.reads[index][way])
        return macs

    @cached_property
    def macs_limit(self) -> int | None:
        """MACs of one trip that the request's compute limit allows; None: no limit."""
        extra = self.instance.extra_macs_limit
        return None if extra is None else self.plain_macs + extra // self.instance.trips

    def within_compute(self, schedule: Schedule) -> bool:
        """Tell whether the extra MACs of a schedule stay within the request's compute limit."""
        limit = self.macs_limit
        return limit is None or sum(self.macs[work][way] for work, way in schedule) <= limit

    def trip_time_ns(self, schedule: Schedule) -> int:
        """Return what one trip takes."""
        return sum(self.time_ns[work][way] for work, way in schedule)

    @classmethod
    def of(cls, instance: Instance) -> Table:
        """Build the table of a fixed instance."""
        works = instance.works
        aligned = instance.aligned
        mutable = {name for work in works for name in work.mutates}
        return cls(
            instance=instance,
            size=tuple(aligned(item.size_bytes[0]) for item in instance.items),
            reads=tuple(tuple(way.reads for way in work.ways) for work in works),
            writes=tuple(work.writes for work in works),
            pairs=tuple(
                tuple(
                    tuple(
                        pair
                        for pair in way.in_place
                        if instance.items[pair[0]].size_bytes == instance.items[pair[1]].size_bytes
                    )
                    for way in work.ways
                )
                for work in works
            ),
            workspace=tuple(
                tuple(aligned(way.workspace_bytes[0]) for way in work.ways) for work in works
            ),
            time_ns=tuple(tuple(way.time_ns[0] or 0 for way in work.ways) for work in works),
            macs=tuple(tuple(way.macs[0] for way in work.ways) for work in works),
            stores=tuple(
                tuple(frozenset(mutable.intersection(way.stores)) for way in work.ways)
                for work in works
            ),
            mutates=tuple(tuple(frozenset(way.mutates) for way in work.ways) for work in works),
            covers=tuple(tuple(way.covers for way in work.ways) for work in works),
            uses_up=tuple(tuple(way.uses_up for way in work.ways) for work in works),
            allowed=tuple(
                tuple(i for i, way in enumerate(work.ways) if way.time_ns[0] is not None)
                for work in works
            ),
            given=tuple(i for i, item in enumerate(instance.items) if item.given),
            kept=frozenset(i for i, item in enumerate(instance.items) if item.kept),
            demanded=tuple(i for i, work in enumerate(works) if work.demanded[0]),
            producer=instance.producer,
        )


@dataclass(slots=True)
class Block:
    """Bytes at one offset over [start, end): a tensor instance, or several in place of another."""

    start: int
    end: int
    #: Aligned; ``exact`` is the tensor's own.
    size: int
    exact: int
    #: (item, computation, start, end) of each instance, or empty for workspace.
    members: list[tuple[int, int, int, int]]


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """What a schedule means in bytes."""

    blocks: tuple[Block, ...]
    #: Per step and distinct item read: the index of the block and the computation that serves it.
    served: tuple[dict[int, tuple[int, int]], ...]
    #: Per step: block of each written item, and of the workspace (-1: none).
    written: tuple[tuple[int, ...], ...]
    workspace: tuple[int, ...]
    live: tuple[int, ...]

    @property
    def peak(self) -> int:
        """Return the highest number of live bytes."""
        return max(self.live, default=0)


@dataclass(slots=True)
class _Instances:
    """The tensor instances of a schedule."""

    #: (item, computation, start)
    made: list[tuple[int, int, int]]
    end: list[int]
    #: Per step, the instance that serves each item that is read.
    serve: list[dict[int, int]]
    #: Outputs that stay to the end.
    staying: set[int]
    #: By step and item, the instance that is written.
    written: dict[tuple[int, int], int]


def _instances(table: Table, schedule: Schedule) -> _Instances | None:
    """Return the instances of a schedule, or None where it is invalid."""
    latest: dict[int, int] = {}
    made: list[tuple[int, int, int]] = []
    end: list[int] = []
    count: dict[int, int] = {}
    changed: set[str] = set()
    most = table.most_computations
    for item in table.given:
        latest[item] = len(made)
        made.append((item, 0, 0))
        end.append(0)
    serve: list[dict[int, int]] = []
    at_step: dict[tuple[int, int], int] = {}
    used_up: list[tuple[int, int]] = []
    for step, (work, way) in enumerate(schedule):
        serving = {}
        if changed and not changed.isdisjoint(table.stores[work][way]):
            return None  # a weight of this batch is read after its update
        changed |= table.mutates[work][way]
        for item in table.reads[work][way]:
            instance = latest.get(item)
            if instance is None:
                return None
            serving[item] = instance
            end[instance] = step + 1
        serve.append(serving)
        computation = count.get(work, 0)
        if computation >= most[work]:
            return None
        count[work] = computation + 1
        for other in table.covers[work][way]:
            if count.get(other):
                return None  # that update has run already
            count[other] = 1
        start = step
        if table.uses_up[work][way] >= 0:
            start += 1  # everything is read before anything is written
            used_up.append((step, serving[table.uses_up[work][way]]))
        for item in table.writes[work]:
            latest[item] = at_step[step, item] = len(made)
            made.append((item, computation, start))
            end.append(start + 1)
    if not all(count.get(work) for work in table.demanded):
        return None  # an update is left out
    staying = set()
    for item in table.kept:
        instance = latest.get(item)
        if instance is None:
            return None
        end[instance] = len(schedule)
        staying.add(instance)
    for step, instance in used_up:
        if end[instance] != step + 1 or instance in staying or step + 1 == len(schedule):
            return None  # someone needs it still, or no one needs the result
    return _Instances(made, end, serve, staying, at_step)


def _partners(table: Table, schedule: Schedule, found: _Instances) -> list[tuple[int, int, int]]:
    """Return in-place pairs in use: (step, instance read, item written)."""
    used = []
    for step, (work, way) in enumerate(schedule):
        taken = set(found.staying)
        for item, written in table.pairs[work][way]:
            instance = found.serve[step][item]
            if found.end[instance] == step + 1 and instance not in taken and ~written not in taken:
                taken.update((instance, ~written))
                used.append((step, instance, written))
    return used


def live_profile(table: Table, schedule: Schedule) -> list[int] | None:
    """Return live (aligned) bytes per step, or None for an invalid schedule.

    Invalid: an operand or an update is missing, a parameter is read after its update, an operand is
    read after it was used up, or an operation runs more often than it may.
    """
    found = _instances(table, schedule)
    if found is None:
        return None
    size = table.size
    change = [0] * (len(schedule) + 1)
    for (item, _, start), stop in zip(found.made, found.end, strict=True):
        change[start] += size[item]
        change[stop] -= size[item]
    profile = []
    live = 0
    for step, (work, way) in enumerate(schedule):
        live += change[step]
        profile.append(live + table.workspace[work][way])
    for step, instance, _ in _partners(table, schedule, found):
        profile[step] -= size[found.made[instance][0]]
    return profile


def live_peak(table: Table, schedule: Schedule) -> int | None:
    """Return the peak of live (aligned) bytes, or None for an invalid schedule."""
    profile = live_profile(table, schedule)
    return None if profile is None else max(profile, default=0)


def derive(table: Table, schedule: Schedule) -> Lifetimes:
    """Return blocks and lifetimes of a schedule whose operands are all there.

    Raises:
        ValueError: an operand is read before anything computes it.
    """
    found = _instances(table, schedule)
    if found is None:
        raise ValueError("the schedule reads a tensor that nothing before has computed")
    made, end, serve = found.made, found.end, found.serve
    before = {
        found.written[step, written]: instance
        for step, instance, written in _partners(table, schedule, found)
    }
    blocks: list[Block] = []
    block_of: list[int] = []
    for number, (item, computation, start) in enumerate(made):
        member = (item, computation, start, end[number])
        if number in before:
            index = block_of[before[number]]
            blocks[index].members.append(member)
            blocks[index].end = end[number]
        elif end[number] == 0:
            index = -1  # given, and nobody reads it
        else:
            index = len(blocks)
            exact = table.instance.items[item].size_bytes[0]
            blocks.append(Block(start, end[number], table.size[item], exact, [member]))
        block_of.append(index)
    workspace = []
    for step, (work, way) in enumerate(schedule):
        scratch = table.workspace[work][way]
        workspace.append(len(blocks) if scratch else -1)
        if scratch:
            exact = table.instance.works[work].ways[way].workspace_bytes[0]
            blocks.append(Block(step, step + 1, scratch, exact, []))
    return Lifetimes(
        blocks=tuple(blocks),
        served=tuple(
            {item: (block_of[number], made[number][1]) for item, number in serving.items()}
            for serving in serve
        ),
        written=tuple(
            tuple(block_of[found.written[step, item]] for item in table.writes[work])
            for step, (work, _) in enumerate(schedule)
        ),
        workspace=tuple(workspace),
        live=live_bytes(blocks, len(schedule)),
    )


def live_bytes(blocks: Sequence[Block], steps: int) -> tuple[int, ...]:
    """Return (aligned) bytes of the blocks that live at each of ``steps`` steps."""
    change = [0] * (steps + 1)
    for block in blocks:
        change[block.start] += block.size
        change[block.end] -= block.size
    return tuple(accumulate(change[:steps]))
