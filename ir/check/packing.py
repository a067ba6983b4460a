"""Is a packing right?  Knows the contract of packing, and shares no code with any search."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from memplan.ir.errors import PlanRejectedError
from memplan.ir.packing import PackedBuffer, PackingAnswer, PackingBuffer

__all__ = ["packing_faults", "require_packing"]


def packing_faults(
    buffers: Sequence[PackingBuffer], placed: Sequence[PackedBuffer], capacity: int
) -> list[str]:
    """Return what is wrong with a packing; nothing if it is right.

    Every buffer has one place, at 0 or above, at a multiple of its alignment, and ends within
    ``capacity``; no two that live at once share a byte.
    """
    if [buffer.id for buffer in buffers] != [place.id for place in placed]:
        return ["the placed buffers are not those of the problem, in their order"]
    faults = []
    events = []
    for number, (buffer, place) in enumerate(zip(buffers, placed, strict=True)):
        offset, end = place.offset, place.offset + buffer.size
        if offset < 0 or end > capacity:
            faults.append(f"{buffer.id} takes [{offset}, {end}) of a capacity of {capacity} bytes")
        if offset % buffer.alignment:
            faults.append(f"{buffer.id} begins at {offset}, no multiple of {buffer.alignment}")
        if buffer.size:
            events += [(buffer.upper, 0, number), (buffer.lower, 1, number)]
    # Sweep over time; what is live at once is kept in the order of offsets, where a new buffer
    # can only collide with the two beside it, as long as the live ones are apart.
    live: list[tuple[int, int, int]] = []  # (offset, end, number)
    for _, begins, number in sorted(events):
        offset = placed[number].offset
        entry = (offset, offset + buffers[number].size, number)
        if not begins:
            live.remove(entry)
            continue
        index = bisect_left(live, entry)
        for other in live[max(index - 1, 0) : index + 1]:
            if other[0] < entry[1] and entry[0] < other[1]:
                faults.append(
                    f"{buffers[other[2]].id} and {buffers[number].id} live at once and share "
                    f"bytes [{max(other[0], entry[0])}, {min(other[1], entry[1])})"
                )
                return faults
        insort(live, entry)
    return faults


def require_packing(buffers: Sequence[PackingBuffer], answer: PackingAnswer) -> None:
    """Return if an answer is consistent, and its packing right.

    Raises:
        PlanRejectedError: it is not.
    """
    has_packing = answer.status in ("optimal", "feasible")
    faults = packing_faults(buffers, answer.buffers, answer.capacity) if has_packing else []
    if has_packing:
        ends = [p.offset + b.size for b, p in zip(buffers, answer.buffers, strict=False) if b.size]
        if answer.height != max(ends, default=0):
            faults.append(f"the height is {max(ends, default=0)}, not {answer.height}")
        if answer.height is not None and answer.lower_bound > answer.height:
            faults.append(f"the bound {answer.lower_bound} is above the height {answer.height}")
    elif answer.buffers or answer.height is not None:
        faults.append(f"there are places, and the status is {answer.status}")
    if answer.status == "optimal" and answer.lower_bound != answer.capacity:
        faults.append(f"optimal at {answer.capacity}, and the bound is {answer.lower_bound}")
    if answer.status == "infeasible" and answer.lower_bound <= answer.capacity:
        faults.append(f"infeasible at {answer.capacity}, and the bound is {answer.lower_bound}")
    if answer.status == "undecided" and answer.lower_bound > answer.capacity:
        faults.append(f"undecided at {answer.capacity}, and the bound is {answer.lower_bound}")
    if faults:
        raise PlanRejectedError(f"packing rejected: {faults[0]}; this is a fault of the search")
