"""Calls of kernels compared with the torch executor's, and what their cases are made of."""

from __future__ import annotations

from typing import Any

import torch

from memplan.clients.executors.torch.kernels.call import RUNNING as TORCH_RUNNING
from memplan.clients.export.c.call import RUNNING, Phantom
from memplan.ir.request import LayerUpdate
from memplan.ir.units import Affine
from tests.clients.executors.c.kernel_program import Case, PartlyUpdated, Program
from tests.clients.executors.calls import execute

__all__ = ["Cases", "cut", "equals_torch", "randn"]

_GENERATOR = torch.Generator().manual_seed(0)

Cases = dict[str, Case]


def randn(*shape: int) -> torch.Tensor:
    """Return normal random numbers, others at each call."""
    return torch.randn(list(shape), generator=_GENERATOR)


def cut(axis: Any, *channels: int) -> LayerUpdate:
    """Return a mask of some channels."""
    return LayerUpdate(layer="l", weight=axis, channels=channels)


def equals_torch(case: Case, program: Program, index: int) -> None:
    """Assert that case number ``index`` of a program gives what the torch executor gives.

    Integers are the same bits, floats agree to 5e-6 of the largest.
    """
    actual = program.run(index)
    mutates = tuple(tensor.clone() for tensor in case.mutates)
    given = {id(old): new for old, new in zip(case.mutates, mutates, strict=True)}
    outs = [torch.empty(shape, dtype=case.dtype) for shape in case.shapes]
    execute(
        case.target,
        [_for_torch(argument, given) for argument in case.arguments],
        outs=outs,
        keywords={key: _for_torch(value, given) for key, value in case.keywords.items()},
        mutates=mutates,
        covered=[[given[id(tensor)] for tensor in tensors] for tensors in case.covered],
        workspace_bytes=case.workspace_bytes,
        update=case.update,
        trips=case.trips,
        write_shapes=[[Affine(0, 1), *map(Affine, shape[1:])] for shape in case.shapes if shape],
    )
    for found, expected in zip(actual, (*outs, *mutates), strict=True):
        assert found.shape == expected.shape
        if expected.is_floating_point():
            scale = float(expected.abs().max())
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=5e-6 * scale)
        else:
            assert torch.equal(found, expected)


def _for_torch(argument: Any, given: dict[int, torch.Tensor]) -> Any:
    if isinstance(argument, torch.Tensor):
        return given.get(id(argument), argument)
    if isinstance(argument, PartlyUpdated):
        return argument.value
    if argument is RUNNING:
        return TORCH_RUNNING
    if isinstance(argument, Phantom):
        return torch.zeros(argument.shape)
    if isinstance(argument, list | tuple):
        return [_for_torch(part, given) for part in argument]
    return argument
