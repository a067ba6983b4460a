"""Moves from one schedule to another, each written into ``scratch.trial``.

A move reads the instances that ``measure`` left of the current schedule.  It returns the length
of the trial, 0 where it changes nothing.
"""

from __future__ import annotations

import numpy as np

from memplan.solver.local_search.compiled import compiled
from memplan.solver.local_search.flat import Flat, Numbers, Scratch

__all__ = ["change_option", "drop", "evict", "shift"]


@compiled
def _insert(
    flat: Flat, scratch: Scratch, steps: Numbers, length: int, place: int, number: int
) -> int:
    """Write ``steps`` with ``number`` options of ``scratch.inserted`` before step ``place``."""
    if length + number > flat.longest:
        return 0
    trial = scratch.trial
    trial[:place] = steps[:place]
    trial[place : place + number] = scratch.inserted[:number]
    trial[place + number : length + number] = steps[place:length]
    return length + number


@compiled
def _collect(
    flat: Flat, scratch: Scratch, steps: Numbers, place: int, chance: float, usual: Numbers
) -> int:
    """Complete ``scratch.pending`` (works to run before step ``place``) by producers.

    An operand that no instance has before ``place`` is always computed; one whose latest
    instance is dead there with probability ``chance``, else it is kept for longer.  Returns the
    number of options written to ``scratch.inserted``, in the order of works, or 0: impossible.
    """
    latest = scratch.latest
    latest[:] = -1
    for instance in range(scratch.measured[0]):
        if scratch.made_at[instance] < place:
            latest[scratch.item_of[instance]] = instance
    pending = scratch.pending
    number = 0
    # Producers come before their readers, so one pass downwards completes the set.
    for work in range(len(flat.most) - 1, -1, -1):
        if not pending[work]:
            continue
        option = usual[work]
        for at in range(flat.read_start[option], flat.read_start[option + 1]):
            item = flat.read_item[at]
            instance = latest[item]
            producer = flat.producer[item]
            if instance < 0:
                if producer < 0:
                    return 0
                pending[producer] = True
            elif (
                scratch.end[instance] <= place
                and producer >= 0
                and flat.recomputable[producer]
                and np.random.random() < chance
            ):
                pending[producer] = True
        number += 1
    position = number
    for work in range(len(flat.most) - 1, -1, -1):
        if pending[work]:
            position -= 1
            scratch.inserted[position] = usual[work]
    return number


@compiled
def evict(flat: Flat, scratch: Scratch, steps: Numbers, length: int, usual: Numbers) -> int:
    """Free a tensor across some step and compute it again before its next use.

    The step is one above the limit, where there is one; of the tensors that are there but idle,
    one is drawn by size.
    """
    place = -1
    seen = 0
    if np.random.random() < 0.9:
        for step in range(length):
            if scratch.profile[step] > flat.limit_bytes:
                seen += 1
                if np.random.random() * seen < 1.0:
                    place = step
    if place < 0:
        place = np.random.randint(length)
    option = steps[place]
    chosen = -1
    total = 0.0
    for instance in range(scratch.measured[0]):
        if scratch.start[instance] >= place or scratch.end[instance] <= place + 1:
            continue
        item = scratch.item_of[instance]
        producer = flat.producer[item]
        if producer < 0 or not flat.recomputable[producer] or flat.size[item] == 0:
            continue
        if scratch.runs[producer] >= flat.most[producer]:
            continue
        reads = False
        for at in range(flat.read_start[option], flat.read_start[option + 1]):
            reads = reads or flat.read_item[at] == item
        if reads:
            continue
        weight = float(flat.size[item])
        total += weight
        if np.random.random() * total < weight:
            chosen = instance
    if chosen < 0:
        return 0
    again = -1
    for step in range(place + 1, length):
        for at in range(scratch.served_start[step], scratch.served_start[step + 1]):
            if scratch.served[at] == chosen:
                again = step
                break
        if again >= 0:
            break
    if again < 0:
        again = length  # it is kept to the end
    scratch.pending[:] = False
    scratch.pending[flat.producer[scratch.item_of[chosen]]] = True
    chance = np.random.random() ** 0.5
    number = _collect(flat, scratch, steps, again, chance, usual)
    if number == 0:
        return 0
    return _insert(flat, scratch, steps, length, again, number)


@compiled
def drop(flat: Flat, scratch: Scratch, steps: Numbers, length: int) -> int:
    """Leave out one computation of a work that runs more than once."""
    chosen = -1
    seen = 0
    for step in range(length):
        if scratch.runs[flat.work_of[steps[step]]] > 1:
            seen += 1
            if np.random.random() * seen < 1.0:
                chosen = step
    if chosen < 0:
        return 0
    scratch.trial[:chosen] = steps[:chosen]
    scratch.trial[chosen : length - 1] = steps[chosen + 1 : length]
    return length - 1


@compiled
def shift(flat: Flat, scratch: Scratch, steps: Numbers, length: int) -> int:
    """Move a step: by some places, or to where its operands or readers stop it."""
    chosen = np.random.randint(length)
    kind = np.random.random()
    option = steps[chosen]
    work = flat.work_of[option]
    target = chosen
    if kind < 0.25:
        target = _before_first_reader(flat, steps, length, chosen)
    elif kind < 0.4:
        target = _after_last_operand(flat, steps, chosen)
    else:
        distance = 1 + int(np.random.exponential(6.0))
        target = chosen + (distance if np.random.random() < 0.5 else -distance)
    target = min(max(0, target), length - 1)
    if target == chosen or work < 0:
        return 0
    trial = scratch.trial
    trial[:length] = steps[:length]
    if target > chosen:
        trial[chosen:target] = steps[chosen + 1 : target + 1]
    else:
        trial[target + 1 : chosen + 1] = steps[target:chosen]
    trial[target] = option
    return length


@compiled
def _before_first_reader(flat: Flat, steps: Numbers, length: int, chosen: int) -> int:
    work = flat.work_of[steps[chosen]]
    for later in range(chosen + 1, length):
        option = steps[later]
        for at in range(flat.read_start[option], flat.read_start[option + 1]):
            if flat.producer[flat.read_item[at]] == work:
                return later - 1
    return chosen


@compiled
def _after_last_operand(flat: Flat, steps: Numbers, chosen: int) -> int:
    option = steps[chosen]
    for earlier in range(chosen - 1, -1, -1):
        work = flat.work_of[steps[earlier]]
        for at in range(flat.read_start[option], flat.read_start[option + 1]):
            if flat.producer[flat.read_item[at]] == work:
                return earlier + 1
    return chosen


@compiled
def change_option(flat: Flat, scratch: Scratch, steps: Numbers, length: int, usual: Numbers) -> int:
    """Let one step run by another option that the mask allows, with what that one needs."""
    place = -1
    seen = 0
    for step in range(length):
        work = flat.work_of[steps[step]]
        choices = 0
        for option in range(flat.first_option[work], flat.first_option[work + 1]):
            choices += flat.allowed[option]
            if flat.cover_start[option] < flat.cover_start[option + 1]:
                choices = -16  # which updates run depends on it: that is the starts' choice
        if choices > 1:
            seen += 1
            if np.random.random() * seen < 1.0:
                place = step
    if place < 0:
        return 0
    work = flat.work_of[steps[place]]
    other = -1
    seen = 0
    for option in range(flat.first_option[work], flat.first_option[work + 1]):
        if flat.allowed[option] and option != steps[place]:
            seen += 1
            if np.random.random() * seen < 1.0:
                other = option
    before = usual[work]
    usual[work] = other
    scratch.pending[:] = False
    scratch.pending[work] = True
    number = _collect(flat, scratch, steps, place, 0.0, usual)
    usual[work] = before
    if number == 0:
        return 0
    # The work itself is the last of what is inserted: it takes the place of the old step.
    reached = _insert(flat, scratch, steps, length, place, number)
    if reached == 0:
        return 0
    last = place + number
    scratch.trial[last : reached - 1] = scratch.trial[last + 1 : reached]
    return reached - 1
