"""An instance with some of the update options of each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from memplan.solver.instance import Instance, Work

__all__ = ["restrict"]

_Entry = TypeVar("_Entry")


def restrict(instance: Instance, kept: Sequence[Sequence[int]]) -> Instance:
    """Return the instance with the options ``kept`` alone, in this order.

    Args:
        kept: indices of options per layer; at least one of each.
    """

    def cut(entries: tuple[_Entry, ...], choice: int) -> tuple[_Entry, ...]:
        if choice < 0 or len(entries) == 1:
            return entries
        return tuple(entries[option] for option in kept[choice])

    def cut_work(work: Work) -> Work:
        if work.choice < 0:
            return work
        ways = tuple(
            replace(
                way,
                time_ns=cut(way.time_ns, work.choice),
                macs=cut(way.macs, work.choice),
                workspace_bytes=cut(way.workspace_bytes, work.choice),
            )
            for way in work.ways
        )
        return replace(work, ways=ways, demanded=cut(work.demanded, work.choice))

    return replace(
        instance,
        choices=tuple(
            replace(choice, options=cut(choice.options, at), units=cut(choice.units, at))
            for at, choice in enumerate(instance.choices)
        ),
        items=tuple(
            replace(item, size_bytes=cut(item.size_bytes, item.choice)) for item in instance.items
        ),
        stores=tuple(
            replace(store, size_bytes=cut(store.size_bytes, store.choice))
            for store in instance.stores
        ),
        works=tuple(cut_work(work) for work in instance.works),
        outside_time_ns=tuple((c, cut(times, c)) for c, times in instance.outside_time_ns),
        outside_macs=tuple((c, cut(macs, c)) for c, macs in instance.outside_macs),
        outside_workspace_bytes=tuple(
            (c, cut(sizes, c)) for c, sizes in instance.outside_workspace_bytes
        ),
    )
