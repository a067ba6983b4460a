"""From a graph's arguments, which are data, to values that operations can be called with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from memplan.clients.executors.torch.geometry import DTYPES
from memplan.clients.executors.torch.kernels.call import RUNNING
from memplan.ir.graph import (
    Alternative,
    DtypeArgument,
    FloatArgument,
    OperandArgument,
    PhantomArgument,
    RunningArgument,
    SizeArgument,
)

__all__ = ["resolve_arguments"]


def resolve_arguments(
    alternative: Alternative, operands: Sequence[torch.Tensor], samples: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword arguments at a micro-batch of ``samples``."""
    return (
        tuple(_resolve(argument, operands, samples) for argument in alternative.arguments),
        {
            name: _resolve(argument, operands, samples)
            for name, argument in alternative.keywords.items()
        },
    )


def _resolve(argument: Any, operands: Sequence[torch.Tensor], samples: int) -> Any:
    match argument:
        case tuple():
            return [_resolve(part, operands, samples) for part in argument]
        case OperandArgument():
            return operands[argument.operand]
        case SizeArgument():
            return argument.size.at(samples)
        case DtypeArgument():
            return DTYPES[argument.dtype]
        case FloatArgument():
            return float(argument.value)
        case RunningArgument():
            return RUNNING
        case PhantomArgument():
            shape = [dimension.at(samples) for dimension in argument.phantom]
            return torch.zeros((), dtype=DTYPES[argument.dtype]).expand(shape)
        case _:
            return argument
