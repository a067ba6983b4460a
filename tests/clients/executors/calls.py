"""Kernels called by hand: outputs start as NaN, so that nothing is right by luck."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from memplan.clients.executors.torch.kernels import Call, Covered, RunState, bind
from memplan.clients.executors.torch.scratch import measure
from memplan.ir.request import LayerUpdate
from memplan.ir.units import Affine

__all__ = ["close", "execute", "whole"]


def close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 2e-5) -> None:
    """Assert that a tensor is what is expected, to a part of its largest element."""
    assert actual.shape == expected.shape
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    assert scale > 0
    assert float((actual - expected).abs().max()) <= tolerance * scale


def execute(
    target: str,
    arguments: Sequence[Any],
    shapes: Sequence[Sequence[int]] = (),
    *,
    dtype: torch.dtype = torch.float32,
    outs: Sequence[torch.Tensor] | None = None,
    keywords: dict[str, Any] | None = None,
    mutates: Sequence[torch.Tensor] = (),
    covered: Sequence[Sequence[torch.Tensor]] = (),
    workspace_bytes: int = 0,
    update: LayerUpdate | None = None,
    write_shapes: Sequence[Sequence[Affine]] | None = None,
    trips: int = 1,
    state: RunState | None = None,
    scratch: list[int] | None = None,
) -> tuple[torch.Tensor, ...]:
    """Execute one operation and return what it wrote.

    ``scratch`` gets the bytes that a second execution allocates.
    """
    with torch.inference_mode():
        if outs is None:
            outs = [_spoiled(shape, dtype) for shape in shapes]
        call = Call(
            operation="test",
            target=target,
            arguments=tuple(arguments),
            keywords=keywords or {},
            writes=tuple(outs),
            mutates=tuple(mutates),
            covered=tuple(Covered("w", tuple(tensors)) for tensors in covered),
            workspace=_spoiled([workspace_bytes], torch.uint8) if workspace_bytes else None,
            update=update,
            parameter="w",
            write_shapes=tuple(
                tuple(shape)
                for shape in (write_shapes or [[Affine(n) for n in out.shape] for out in outs])
            ),
            trips=trips,
            state=state or RunState(),
        )
        addresses = [out.data_ptr() for out in outs]
        run = bind(call)
        if scratch is None:
            run()
        else:
            run()  # what is allocated once and kept does not count
            report = measure(lambda mark: _marked(mark, run))
            scratch.append(report.peak_bytes)
        assert [out.data_ptr() for out in outs] == addresses
    return tuple(outs)


def _marked(mark: Callable[[str, str], Any], run: Callable[[], object]) -> None:
    with mark("test", "test"):
        run()


def whole(bias: bool = False) -> LayerUpdate:
    """Return the mask that updates a whole weight."""
    return LayerUpdate(layer="l", weight="whole", bias=bias)


def _spoiled(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    count = max(1, int(torch.tensor(list(shape)).prod())) if len(shape) else 1
    block = torch.full((count * dtype.itemsize,), 0xFF, dtype=torch.uint8)
    return block.view(dtype)[:count].view(*shape) if len(shape) else block.view(dtype)[0]
