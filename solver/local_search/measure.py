"""The bytes, time and MACs of a schedule: ``schedule.live_profile`` again, in compiled form.

Tests hold the two equal.
"""

from __future__ import annotations

from memplan.solver.local_search.compiled import compiled
from memplan.solver.local_search.flat import Flat, Numbers, Scratch

__all__ = ["measure", "without_unread"]


@compiled
def measure(flat: Flat, scratch: Scratch, steps: Numbers, length: int) -> tuple[int, int, int]:
    """Return (overflow in byte-steps, time_ns, MACs) of a schedule; overflow -1: it is invalid.

    Leaves instances, who serves each read, and live bytes per step in ``scratch``.
    """
    latest, runs, changed = scratch.latest, scratch.runs, scratch.changed
    item_of, start, end = scratch.item_of, scratch.start, scratch.end
    served, served_start, profile = scratch.served, scratch.served_start, scratch.profile
    used_up_at = scratch.used_up_at
    latest[:] = -1
    runs[:] = 0
    changed[:] = False
    instances = 0
    for item in flat.given:
        latest[item] = instances
        item_of[instances] = item
        scratch.made_at[instances] = -1
        start[instances] = 0
        end[instances] = 0
        used_up_at[instances] = -1
        instances += 1
    reads = 0
    any_changed = False
    time_ns = 0
    macs = 0
    for step in range(length):
        option = steps[step]
        work = flat.work_of[option]
        time_ns += flat.time_ns[option]
        macs += flat.macs[option]
        if any_changed:
            for at in range(flat.store_start[option], flat.store_start[option + 1]):
                if changed[flat.store_name[at]]:
                    return -1, 0, 0
        for at in range(flat.mutate_start[option], flat.mutate_start[option + 1]):
            changed[flat.mutate_name[at]] = True
            any_changed = True
        served_start[step] = reads
        for at in range(flat.read_start[option], flat.read_start[option + 1]):
            instance = latest[flat.read_item[at]]
            if instance < 0:
                return -1, 0, 0
            if used_up_at[instance] >= 0:
                return -1, 0, 0
            served[reads] = instance
            reads += 1
            end[instance] = step + 1
        if runs[work] >= flat.most[work]:
            return -1, 0, 0
        runs[work] += 1
        for at in range(flat.cover_start[option], flat.cover_start[option + 1]):
            if runs[flat.cover_work[at]] > 0:
                return -1, 0, 0
            runs[flat.cover_work[at]] += 1
        first = step
        if flat.uses_up[option] >= 0:
            first += 1
            used_up_at[latest[flat.uses_up[option]]] = step
            if first == length:
                return -1, 0, 0
        for at in range(flat.write_start[work], flat.write_start[work + 1]):
            item = flat.write_item[at]
            latest[item] = instances
            item_of[instances] = item
            scratch.made_at[instances] = step
            start[instances] = first
            end[instances] = first + 1
            used_up_at[instances] = -1
            instances += 1
    served_start[length] = reads
    taken = scratch.taken
    taken[:instances] = False
    for item in range(len(flat.size)):
        if flat.kept[item]:
            instance = latest[item]
            if instance < 0 or used_up_at[instance] >= 0:
                return -1, 0, 0
            end[instance] = length
            taken[instance] = True
    scratch.measured[0] = instances
    scratch.measured[1] = length
    profile[: length + 1] = 0
    for instance in range(instances):
        size = flat.size[item_of[instance]]
        profile[start[instance]] += size
        profile[end[instance]] -= size
    written_at = scratch.written_at
    written_at[:] = -1
    overflow = 0
    live = 0
    for step in range(length):
        option = steps[step]
        live += profile[step]
        here = live + flat.workspace[option]
        for at in range(flat.pair_start[option], flat.pair_start[option + 1]):
            item = flat.pair_read[at]
            instance = -1
            first = flat.read_start[option]
            for slot in range(first, flat.read_start[option + 1]):
                if flat.read_item[slot] == item:
                    instance = served[served_start[step] + slot - first]
                    break
            written = flat.pair_written[at]
            if end[instance] == step + 1 and not taken[instance] and written_at[written] != step:
                taken[instance] = True
                written_at[written] = step
                here -= flat.size[item]
        profile[step] = here
        if here > flat.limit_bytes:
            overflow += here - flat.limit_bytes
    return overflow, time_ns, macs


@compiled
def without_unread(flat: Flat, scratch: Scratch, steps: Numbers, length: int) -> int:
    """Drop computations whose results nobody reads, in place; return the new length."""
    wanted = scratch.wanted
    wanted[:] = flat.kept
    target = length
    for step in range(length - 1, -1, -1):
        option = steps[step]
        work = flat.work_of[option]
        needed = flat.demanded[work] or flat.cover_start[option] < flat.cover_start[option + 1]
        for at in range(flat.write_start[work], flat.write_start[work + 1]):
            if wanted[flat.write_item[at]]:
                needed = True
        if needed:
            target -= 1
            steps[target] = option
            for at in range(flat.write_start[work], flat.write_start[work + 1]):
                wanted[flat.write_item[at]] = False
            for at in range(flat.read_start[option], flat.read_start[option + 1]):
                wanted[flat.read_item[at]] = True
    kept = length - target
    for step in range(kept):
        steps[step] = steps[target + step]
    return kept
