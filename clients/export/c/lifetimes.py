"""Which bytes of the arena nobody needs any more, step by step."""

from __future__ import annotations

from collections import defaultdict

from memplan.ir.plan import Buffer, Plan

__all__ = ["dying_ranges", "unshared_offsets"]

#: Between buffers of a layout in which nothing is shared, so that overruns hit nobody.
_GAP_BYTES = 64


def dying_ranges(plan: Plan) -> dict[int, list[tuple[int, int]]]:
    """Return for each step the (offset, size) of bytes whose last owner dies with it.

    What the loop owns dies in its last trip only, so within a body of several trips it is not
    listed.
    """
    first, after = len(plan.prologue), len(plan.prologue) + len(plan.body)
    ending: dict[int, list[Buffer]] = defaultdict(list)
    for buffer in plan.buffers:
        last = buffer.end_step - 1
        if buffer.scope == "persistent":
            continue
        if buffer.scope == "batch" and plan.trips > 1 and first <= last < after:
            continue
        ending[last].append(buffer)
    return {step: _dead(plan, step, dying) for step, dying in ending.items()}


def unshared_offsets(plan: Plan) -> tuple[dict[int, int], int]:
    """Return an offset for each buffer such that none shares a byte, and the bytes of all."""
    offsets, place = {}, _GAP_BYTES
    for buffer in plan.buffers:
        offsets[buffer.id] = place
        place += -(-buffer.size_bytes // _GAP_BYTES) * _GAP_BYTES + _GAP_BYTES
    return offsets, place


def _dead(plan: Plan, step: int, dying: list[Buffer]) -> list[tuple[int, int]]:
    gone = {buffer.id for buffer in dying}
    alive = [
        buffer
        for buffer in plan.buffers
        if buffer.id not in gone
        and (
            buffer.scope == "persistent"
            or (buffer.scope == "batch" and plan.trips > 1)
            or buffer.start_step <= step < buffer.end_step - 1
            # What is written last lies on what dies, and lives from the next step on.
            or buffer.id in plan.steps[step].writes
        )
    ]
    dead: set[tuple[int, int]] = set()
    for buffer in dying:
        pieces = [(buffer.offset, buffer.offset + buffer.size_bytes)]
        for other in alive:
            start, stop = other.offset, other.offset + other.size_bytes
            pieces = [
                piece
                for low, high in pieces
                for piece in ((low, min(high, start)), (max(low, stop), high))
                if piece[0] < piece[1]
            ]
        dead.update((low, high - low) for low, high in pieces)
    return sorted(dead)
