"""The arena: one block of bytes per region, and each buffer's place in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from memplan.clients.executors.torch.geometry import View
from memplan.ir.errors import PlanRejectedError
from memplan.ir.plan import Buffer, Plan

__all__ = ["ADDRESS_ALIGNMENT", "POISON", "Arena", "dead_ranges"]

#: Of the first byte of each block; torch's own allocator promises it.
ADDRESS_ALIGNMENT = 64
#: Written over dead bytes: NaN in every float format, -1 in every integer.
POISON = 0xFF


class Arena:
    """The memory that a plan lays its buffers out in."""

    def __init__(self, plan: Plan) -> None:
        ends: dict[str, int] = {}
        for buffer in plan.buffers:
            end = buffer.offset + buffer.size_bytes
            ends[buffer.region] = max(end, ends.get(buffer.region, 0))
        self.buffers: Mapping[int, Buffer] = {buffer.id: buffer for buffer in plan.buffers}
        self.blocks: Mapping[str, torch.Tensor] = {
            region: torch.empty(end, dtype=torch.uint8) for region, end in ends.items()
        }
        self._bytes: dict[int, torch.Tensor] = {}
        self.size_bytes = sum(ends.values())
        for block in self.blocks.values():
            if block.data_ptr() % ADDRESS_ALIGNMENT:
                raise AssertionError("torch gave a block that is not aligned to 64 bytes")

    def view(self, number: int, view: View) -> torch.Tensor:
        """Return a strided view on a buffer.

        Raises:
            PlanRejectedError: there is no such buffer, or the view does not fit into it.
        """
        buffer = self._buffer(number)
        if view.end_bytes > buffer.size_bytes:
            raise PlanRejectedError(
                f"buffer {number} of tensor {buffer.tensor} has {buffer.size_bytes} bytes, "
                f"an operand needs {view.end_bytes}; plan verify names the fault"
            )
        return view.of(self.bytes_of(number))

    def bytes_of(self, number: int) -> torch.Tensor:
        """Return all bytes of a buffer.

        The tensor has a storage of its own that is exactly these bytes and cannot be resized, so
        no operation writes beyond them: some of ATen's grow their output while they compute.
        """
        if number not in self._bytes:
            buffer = self._buffer(number)
            block = self.blocks[buffer.region]
            if buffer.size_bytes:
                memory = block.numpy()
                self._bytes[number] = torch.frombuffer(
                    memory, dtype=torch.uint8, count=buffer.size_bytes, offset=buffer.offset
                )
            else:
                self._bytes[number] = block.narrow(0, buffer.offset, 0)
        return self._bytes[number]

    def poison_all(self) -> None:
        """Fill the arena with values that spoil every result they reach."""
        for block in self.blocks.values():
            block.fill_(POISON)

    def poison(self, region: str, start: int, stop: int) -> None:
        """Fill some bytes with poison."""
        self.blocks[region].narrow(0, start, stop - start).fill_(POISON)

    def snapshot(self) -> dict[str, torch.Tensor]:
        """Return a copy of every byte."""
        return {region: block.clone() for region, block in self.blocks.items()}

    def restore(self, snapshot: Mapping[str, torch.Tensor]) -> None:
        """Put a snapshot back."""
        for region, block in self.blocks.items():
            block.copy_(snapshot[region])

    def _buffer(self, number: int) -> Buffer:
        if number not in self.buffers:
            raise PlanRejectedError(f"a step names buffer {number}, which the plan does not have")
        return self.buffers[number]


def dead_ranges(dying: Sequence[Buffer], alive: Sequence[Buffer]) -> list[tuple[str, int, int]]:
    """Return (region, start, stop) of the bytes of ``dying`` that none of ``alive`` owns."""
    dead = []
    for buffer in dying:
        pieces = [(buffer.offset, buffer.offset + buffer.size_bytes)]
        for other in alive:
            if other.region == buffer.region:
                start, stop = other.offset, other.offset + other.size_bytes
                pieces = [
                    piece
                    for low, high in pieces
                    for piece in ((low, min(high, start)), (max(low, stop), high))
                    if piece[0] < piece[1]
                ]
        dead += [(buffer.region, low, high) for low, high in pieces]
    return dead
