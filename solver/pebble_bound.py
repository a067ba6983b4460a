"""The least bytes of all orders, where the pebble game can tell: it then is the bound on bytes.

``scheduling/pebbling.py`` finds the least peak over all orders and any number of computations, by
one way for each operation.  Where no plan can do otherwise, no plan has fewer live bytes, and so no
smaller arena: the mask is given, every operation has one way, shares no bytes with an operand and
uses none up, and what must run once cannot run again.
"""

from __future__ import annotations

from dataclasses import replace

from memplan.solver.bounds import ByteBound, lower_bound
from memplan.solver.clock import WALL, Clock
from memplan.solver.instance import Instance
from memplan.solver.schedule import Schedule, Table, live_profile
from memplan.solver.scheduling.pebble_board import Board, is_the_game
from memplan.solver.scheduling.pebbling import within
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule
from memplan.solver.techniques import Techniques

__all__ = ["least_bytes", "pebbled"]

#: Of the time for a bound, what the game gets.
_SHARE = 0.3


def least_bytes(
    instance: Instance, seconds: float, techniques: Techniques, clock: Clock = WALL
) -> ByteBound:
    """Return a bound on the arena of every plan for ``instance``, by all that may be used."""
    bound = lower_bound(instance, seconds, clock, look_back=techniques.looking_back)
    return pebbled(instance, bound, _SHARE * seconds, clock) if techniques.pebbling else bound


def pebbled(instance: Instance, bound: ByteBound, seconds: float, clock: Clock = WALL) -> ByteBound:
    """Return a bound on bytes raised to what the pebble game proves within some time, if anything.

    Args:
        bound: of the same instance.
    """
    if not instance.fixed or bound.unread or seconds <= 0:
        return bound
    table = Table.of(instance)
    steps = needed_schedule(table, fastest_ways(table))
    if not is_the_game(table, steps):
        return bound
    stores = instance.store_bytes
    floor = max(0, bound.bytes - stores)
    found = within(Board.of(table, steps), floor, clock.now() + seconds, clock)
    # Whatever is on top need not be padded.
    least = stores + found.bound_bytes - (instance.alignment_bytes - 1)
    if least <= bound.bytes or (found.is_complete and found.steps is None):
        return bound
    raised = replace(bound, bytes=least)
    return raised if found.steps is None else _at_its_peak(table, found.steps, raised)


def _at_its_peak(table: Table, steps: Schedule, bound: ByteBound) -> ByteBound:
    """Return the bound with what is there at the peak of a schedule that has no more bytes."""
    profile = live_profile(table, steps)
    if profile is None:  # it computes something more often than the request allows
        return bound
    at = max(range(len(profile)), key=profile.__getitem__)
    work, way = steps[at]
    live = set(table.writes[work])
    # An item is there if it is read from now on before it is written again, or stays.
    missing = set(table.kept)
    for later, later_way in reversed(steps[at + 1 :]):
        missing.difference_update(table.writes[later])
        missing.update(table.reads[later][later_way])
    live |= missing | set(table.reads[work][way])
    items = table.instance.items
    tensors = sorted(((items[i].tensor, items[i].size_bytes[0]) for i in live), key=lambda t: -t[1])
    return replace(bound, operation=table.instance.works[work].operation, tensors=tuple(tensors))
