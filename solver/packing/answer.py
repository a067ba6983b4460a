"""From buffers to a packing answer: a pure function, checked before it returns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from memplan.ir.check.packing import require_packing
from memplan.ir.packing import PackedBuffer, PackingAnswer, PackingBuffer, check_buffers
from memplan.solver.clock import Clock, never
from memplan.solver.packing._pack import Packing, Proof, least_packing, pack_within
from memplan.solver.packing.problem import Problem
from memplan.solver.packing.rectangle import Rectangle
from memplan.solver.packing.techniques import PackingTechniques

__all__ = ["answer"]


def answer(
    buffers: Sequence[PackingBuffer],
    capacity: int | None,
    *,
    seconds: float = 30.0,
    seed: int = 0,
    workers: int = 2,
    stop: Callable[[], bool] = never,
    techniques: PackingTechniques | None = None,
) -> PackingAnswer:
    """Pack ``buffers`` within ``capacity`` bytes (None: within as few as possible).

    ``stop`` is polled; once it is true the best that was found is the answer.

    Raises:
        DataError: the buffers are no packing problem.
        PlanRejectedError: the independent check refuses the result, which is a fault of ours.
    """
    check_buffers(buffers)
    began = time.monotonic()
    # What takes no byte collides with nothing, and stands at 0.
    solid = [i for i, buffer in enumerate(buffers) if buffer.size]
    if solid:
        problem = Problem(
            tuple(Rectangle(buffers[i].lower, buffers[i].upper, buffers[i].size) for i in solid),
            tuple(buffers[i].alignment for i in solid),
        )
        proof = _prove(problem, capacity, seconds, seed, workers, Clock(stop), techniques)
    else:
        proof = Proof("optimal" if capacity is None else "feasible", Packing((), 0), 0)
    places: tuple[PackedBuffer, ...] = ()
    if proof.packing is not None:
        offset = dict(zip(solid, proof.packing.offsets, strict=True))
        places = tuple(PackedBuffer(b.id, offset.get(i, 0)) for i, b in enumerate(buffers))
        capacity = proof.packing.height if capacity is None else capacity
    assert capacity is not None
    result = PackingAnswer(
        status=proof.status,
        capacity=capacity,
        lower_bound=proof.lower_bound,
        height=None if proof.packing is None else proof.packing.height,
        buffers=places,
        solve_seconds=time.monotonic() - began,
    )
    require_packing(buffers, result)
    return result


def _prove(
    problem: Problem,
    capacity: int | None,
    seconds: float,
    seed: int,
    workers: int,
    clock: Clock,
    techniques: PackingTechniques | None,
) -> Proof:
    if capacity is None:
        return least_packing(
            problem, seconds=seconds, seed=seed, workers=workers, clock=clock, techniques=techniques
        )
    return pack_within(
        problem,
        capacity,
        seconds=seconds,
        seed=seed,
        workers=workers,
        clock=clock,
        techniques=techniques,
    )
