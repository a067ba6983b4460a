"""Depth-first search for offsets within a capacity: complete, compiled.

Push every buffer of a packing down as far as it goes: each then stands at 0 or on one that it
meets.  So it is enough to try *canonical* placements: buffers in the order of their offsets, at
equal offsets in a fixed *preorder*, each at ``lowest[i]``, the aligned top of what it meets among
those placed before.  A node of the search has placed some buffers; its candidates are the others,
by (lowest, preorder), not below the last one.  What prunes (each a switch of
``PackingTechniques``):

* *Section inference.*  In a section the buffers to come stack upon each other; if that ends above
  the capacity, turn back.  With *release offsets* each counts from its own earliest offset.
* *Raising.*  A buffer that could stand below the last offset was passed over; it must rest on one
  that it meets and that is still to come, so that its earliest offset is the lowest end of these.
* *Dominance.*  If a buffer to come fits wholly below a candidate, it may as well go first.
* *Hatless.*  A buffer that meets nothing that is to come can be placed at once and never hinders:
  if that fails, so does every alternative.
* *Decomposition.*  Buffers to come that share no time, not even over others, are independent
  *parts*; each is searched by itself, and one without a packing fails all at once.

The techniques are those of minimalloc (Moffitt, ASPLOS 2023) but for release offsets and raising,
which are stronger than its floors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from memplan.solver.local_search.compiled import compiled
from memplan.solver.packing.flat import Flat, Integers
from memplan.solver.packing.techniques import PackingTechniques

__all__ = ["EXHAUSTED", "FOUND", "LIMIT", "Rules", "rules_of", "search"]

#: What ``search`` returns: a packing; proof that there is none; too many nodes, or halted.
FOUND, EXHAUSTED, LIMIT = 1, 0, 2

_FAR = 1 << 60
_HALT_EVERY = 256


class Rules(NamedTuple):
    """The switches that the compiled code sees."""

    section_inference: bool
    release_offsets: bool
    raising: bool
    dominance: bool
    hatless: bool
    decomposition: bool


def rules_of(techniques: PackingTechniques) -> Rules:
    """Return the part of the switches that concerns one search."""
    return Rules(*(bool(getattr(techniques, name)) for name in Rules._fields))


class _State(NamedTuple):
    offset: Integers  # per buffer; -1: to come
    lowest: Integers  # per buffer: top of what it meets among the placed, aligned
    load: Integers  # per section: sum of sizes to come
    crossing: Integers  # per section: buffers to come that also live in the section before
    order: Integers  # buffers; each part owns a stretch of it
    changed: Integers  # the trail: buffers whose lowest was raised ...
    before: Integers  # ... and from what
    earliest: Integers  # scratch, per place in a stretch
    by_earliest: Integers
    end: Integers  # scratch, per section


class _Part(NamedTuple):
    """Buffers order[begin:stop] in sections [left, right), above the key (offset, rank)."""

    begin: Integers
    stop: Integers
    left: Integers
    right: Integers
    offset: Integers
    rank: Integers
    following: Integers  # the part to search once this one is packed; -1: none
    owner: Integers  # the frame whose placement made it


class _Frame(NamedTuple):
    """One part, and the candidate that is placed of it."""

    begin: Integers
    stop: Integers
    left: Integers
    right: Integers
    offset: Integers  # key of the last candidate
    rank: Integers
    roof: Integers  # no candidate above
    chosen: Integers
    trail: Integers
    parent: Integers
    following: Integers
    parts: Integers  # how many parts there were


def search(
    flat: Flat,
    highest: Integers,
    rank: Integers,
    rules: Rules,
    node_limit: int,
    weight: Integers,
    halt: Integers,
) -> tuple[int, int, Integers]:
    """Look for offsets, none above ``highest``.

    Args:
        flat: the buffers, at least one.
        highest: per buffer, in units.
        rank: the preorder: a permutation.
        rules: the switches.
        node_limit: most placements that are tried.
        weight: per buffer; counts up where it takes part in a conflict.
        halt: one element; made true, by another thread, it ends the search.

    Returns:
        (FOUND, EXHAUSTED or LIMIT; placements tried; offsets in units if FOUND).  EXHAUSTED is a
        proof that there is no packing.
    """
    count = len(rank)
    state = _State(
        offset=np.full(count, -1, np.int64),
        lowest=np.zeros(count, np.int64),
        load=np.zeros(flat.sections, np.int64),
        crossing=np.zeros(flat.sections, np.int64),
        order=np.arange(count, dtype=np.int64),
        changed=np.empty(len(flat.neighbour), np.int64),
        before=np.empty(len(flat.neighbour), np.int64),
        earliest=np.empty(count, np.int64),
        by_earliest=np.empty(count, np.int64),
        end=np.empty(flat.sections, np.int64),
    )
    part = _Part(*(np.empty(2 * count + 2, np.int64) for _ in _Part._fields))
    frame = _Frame(*(np.empty(count + 1, np.int64) for _ in _Frame._fields))
    capacity = int(np.max(highest + flat.size))
    outcome, nodes = _search(
        flat, highest, capacity, rank, rules, node_limit, weight, halt, state, part, frame
    )
    return outcome, nodes, state.offset


@compiled
def _search(
    flat: Flat,
    highest: Integers,
    capacity: int,
    rank: Integers,
    rules: Rules,
    node_limit: int,
    weight: Integers,
    halt: Integers,
    state: _State,
    part: _Part,
    frame: _Frame,
) -> tuple[int, int]:
    count = len(rank)
    for i in range(count):
        if highest[i] < 0:
            return EXHAUSTED, 0
        for section in range(flat.first[i], flat.last[i]):
            state.load[section] += flat.size[i]
            state.crossing[section] += section > flat.first[i]
    for section in range(flat.sections):
        if state.load[section] > capacity:
            return EXHAUSTED, 0
    nodes = 0
    trail = 0
    part.begin[0], part.stop[0], part.left[0], part.right[0] = 0, count, 0, flat.sections
    part.offset[0], part.rank[0], part.following[0], part.owner[0] = 0, -1, -1, -1
    parts = 1
    following = 0
    if rules.decomposition:
        following, parts = _split(flat, state, part, 0, parts)
    depth = -1
    while True:
        if following >= 0:
            depth += 1
            _open(flat, capacity, rules, state, part, frame, depth, following, parts)
            following = -1
        place = _next_candidate(rank, state, frame, depth)
        if place < 0:
            parent = frame.parent[depth]
            if parent < 0:
                return EXHAUSTED, nodes
            # Parts that were packed beside this one are undone too: they cannot help it.
            while depth > parent:
                depth -= 1
                _undo(flat, state, frame, depth, trail)
                trail = frame.trail[depth]
            parts = frame.parts[depth]
            if rules.hatless and _is_hatless(flat, state, frame.chosen[depth]):
                frame.roof[depth] = -1
            continue
        if nodes >= node_limit or (nodes % _HALT_EVERY == 0 and halt[0]):
            return LIMIT, nodes
        nodes += 1
        frame.trail[depth] = trail
        trail, fits = _put(flat, highest, rank, state, frame, depth, place, trail, weight)
        if fits:
            fits = _may_fit(flat, highest, capacity, rank, rules, state, frame, depth, weight)
        if not fits:
            _undo(flat, state, frame, depth, trail)
            trail = frame.trail[depth]
            if rules.hatless and _is_hatless(flat, state, frame.chosen[depth]):
                frame.roof[depth] = -1
            continue
        following = frame.following[depth]
        if frame.begin[depth] < frame.stop[depth] - 1:
            following = parts
            part.begin[following] = frame.begin[depth]
            part.stop[following] = frame.stop[depth] - 1
            part.left[following], part.right[following] = frame.left[depth], frame.right[depth]
            part.offset[following], part.rank[following] = frame.offset[depth], frame.rank[depth]
            part.following[following] = frame.following[depth]
            part.owner[following] = depth
            parts += 1
            if rules.decomposition and _cuts(flat, state, frame.chosen[depth]):
                following, parts = _split(flat, state, part, following, parts)
        elif following < 0:
            return FOUND, nodes


@compiled
def _open(
    flat: Flat,
    capacity: int,
    rules: Rules,
    state: _State,
    part: _Part,
    frame: _Frame,
    depth: int,
    which: int,
    parts: int,
) -> None:
    """Begin with a part: no candidate of it is placed."""
    frame.begin[depth], frame.stop[depth] = part.begin[which], part.stop[which]
    frame.left[depth], frame.right[depth] = part.left[which], part.right[which]
    frame.offset[depth], frame.rank[depth] = part.offset[which], part.rank[which]
    frame.parent[depth], frame.following[depth] = part.owner[which], part.following[which]
    frame.parts[depth] = parts
    roof = _FAR
    if rules.dominance:
        for place in range(frame.begin[depth], frame.stop[depth]):
            i = state.order[place]
            roof = min(roof, state.lowest[i] + flat.size[i] - 1)
    if rules.section_inference:
        load = 0
        for section in range(frame.left[depth], frame.right[depth]):
            load = max(load, state.load[section])
        roof = min(roof, capacity - load)
    frame.roof[depth] = roof


@compiled
def _next_candidate(rank: Integers, state: _State, frame: _Frame, depth: int) -> int:
    """Return the place of the buffer whose key comes next after the last one; -1: none."""
    found = -1
    best_offset = best_rank = _FAR
    roof, last, last_rank = frame.roof[depth], frame.offset[depth], frame.rank[depth]
    for place in range(frame.begin[depth], frame.stop[depth]):
        i = state.order[place]
        offset = state.lowest[i]
        if offset > roof or offset < last or (offset == last and rank[i] <= last_rank):
            continue
        if offset < best_offset or (offset == best_offset and rank[i] < best_rank):
            found, best_offset, best_rank = place, offset, rank[i]
    return found


@compiled
def _put(
    flat: Flat,
    highest: Integers,
    rank: Integers,
    state: _State,
    frame: _Frame,
    depth: int,
    place: int,
    trail: int,
    weight: Integers,
) -> tuple[int, bool]:
    """Place a candidate; return (length of the trail, whether all others still have room)."""
    end = frame.stop[depth] - 1
    chosen = state.order[place]
    state.order[place], state.order[end] = state.order[end], chosen
    offset = state.lowest[chosen]
    frame.chosen[depth], frame.offset[depth], frame.rank[depth] = chosen, offset, rank[chosen]
    state.offset[chosen] = offset
    top = offset + flat.size[chosen]
    fits = offset <= highest[chosen]
    weight[chosen] += not fits
    for k in range(flat.start[chosen], flat.start[chosen + 1]):
        j = flat.neighbour[k]
        if state.offset[j] < 0 and state.lowest[j] < top:
            state.changed[trail], state.before[trail] = j, state.lowest[j]
            trail += 1
            alignment = flat.alignment[j]
            state.lowest[j] = -(-top // alignment) * alignment
            if state.lowest[j] > highest[j]:
                fits = False
                weight[j] += 1
    first = flat.first[chosen]
    for section in range(first, flat.last[chosen]):
        state.load[section] -= flat.size[chosen]
        state.crossing[section] -= section > first
    return trail, fits


@compiled
def _undo(flat: Flat, state: _State, frame: _Frame, depth: int, trail: int) -> None:
    chosen = frame.chosen[depth]
    first = flat.first[chosen]
    for section in range(first, flat.last[chosen]):
        state.load[section] += flat.size[chosen]
        state.crossing[section] += section > first
    for k in range(trail - 1, frame.trail[depth] - 1, -1):
        state.lowest[state.changed[k]] = state.before[k]
    state.offset[chosen] = -1


@compiled
def _is_hatless(flat: Flat, state: _State, chosen: int) -> bool:
    for k in range(flat.start[chosen], flat.start[chosen + 1]):
        if state.offset[flat.neighbour[k]] < 0:
            return False
    return True


@compiled
def _may_fit(
    flat: Flat,
    highest: Integers,
    capacity: int,
    rank: Integers,
    rules: Rules,
    state: _State,
    frame: _Frame,
    depth: int,
    weight: Integers,
) -> bool:
    """Tell whether the rest of the part may still fit, by earliest offsets and by sections."""
    begin = frame.begin[depth]
    count = frame.stop[depth] - 1 - begin
    floor, floor_rank = frame.offset[depth], frame.rank[depth]
    for place in range(count):
        i = state.order[begin + place]
        earliest = state.lowest[i]
        if earliest < floor or (earliest == floor and rank[i] < floor_rank):
            earliest = floor
            if rules.raising:
                earliest = _FAR
                for k in range(flat.start[i], flat.start[i + 1]):
                    j = flat.neighbour[k]
                    if state.offset[j] < 0:
                        end = max(state.lowest[j], floor) + flat.size[j]
                        earliest = min(earliest, end)
                if earliest > highest[i]:
                    weight[i] += 1
                    return False
        state.earliest[place], state.by_earliest[place] = earliest, i
    if not rules.section_inference:
        return True
    left, right = frame.left[depth], frame.right[depth]
    if rules.release_offsets:
        _sort(state.earliest, state.by_earliest, count)
        for section in range(left, right):
            state.end[section] = 0
        for place in range(count):
            i, earliest = state.by_earliest[place], state.earliest[place]
            state.order[begin + place] = i  # so that the next node finds it nearly sorted
            for section in range(flat.first[i], flat.last[i]):
                state.end[section] = max(state.end[section], earliest) + flat.size[i]
    else:
        for section in range(left, right):
            state.end[section] = _FAR
        for place in range(count):
            i, earliest = state.by_earliest[place], state.earliest[place]
            for section in range(flat.first[i], flat.last[i]):
                state.end[section] = min(state.end[section], earliest)
        for section in range(left, right):
            load = state.load[section]
            state.end[section] = state.end[section] + load if load else 0
    for section in range(left, right):
        if state.end[section] > capacity:
            for place in range(count):
                i = state.by_earliest[place]
                weight[i] += flat.first[i] <= section < flat.last[i]
            return False
    return True


@compiled
def _sort(keys: Integers, values: Integers, count: int) -> None:
    """Sort the first ``count`` by key; they are few, and nearly sorted."""
    for place in range(1, count):
        key, value = keys[place], values[place]
        below = place - 1
        while below >= 0 and keys[below] > key:
            keys[below + 1], values[below + 1] = keys[below], values[below]
            below -= 1
        keys[below + 1], values[below + 1] = key, value


@compiled
def _cuts(flat: Flat, state: _State, chosen: int) -> bool:
    """Tell whether, with ``chosen`` placed, some section shares no buffer with the one before."""
    for section in range(flat.first[chosen] + 1, flat.last[chosen]):
        if state.crossing[section] == 0:
            return True
    return False


@compiled
def _split(flat: Flat, state: _State, part: _Part, whole: int, parts: int) -> tuple[int, int]:
    """Replace a part by those it falls into; return (the first of them, number of all parts)."""
    following = part.following[whole]
    begin, stop = part.begin[whole], part.stop[whole]
    left, right = part.left[whole], part.right[whole]
    while stop > begin:
        section = right - 1
        while section > left and state.crossing[section] > 0:
            section -= 1
        # Buffers of the sections from ``section`` on move to the end of the stretch.
        place, middle = begin, stop
        while place < middle:
            i = state.order[place]
            if flat.first[i] >= section:
                middle -= 1
                state.order[place], state.order[middle] = state.order[middle], i
            else:
                place += 1
        if middle < stop:
            part.begin[parts], part.stop[parts] = middle, stop
            part.left[parts], part.right[parts] = section, right
            part.offset[parts], part.rank[parts] = part.offset[whole], part.rank[whole]
            part.following[parts], part.owner[parts] = following, part.owner[whole]
            following = parts
            parts += 1
        stop, right = middle, section
    return following, parts
