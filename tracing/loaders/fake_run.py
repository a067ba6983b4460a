"""Run a forward graph on fake tensors: shapes and dtypes for the price of no bytes.

Sizes that a graph computes are checked on the way: a file may multiply a number by itself until
it fills the memory, or ask for a tensor that no machine has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode

from memplan.ir.errors import ModelError
from memplan.ir.limits import MAX_BYTES
from memplan.tracing.loaded import InputSpec

__all__ = [
    "MAX_DIMENSION",
    "at_batch",
    "attribute",
    "check_recurrent",
    "checked_bytes",
    "fake_inputs",
    "fake_like",
    "run_fake",
]

#: Recurrent operations, and how many gates their weights hold.
RECURRENT = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}

#: Kernels count elements of a dimension in 32 bits.
MAX_DIMENSION = 2**31 - 1


def at_batch(specs: Sequence[InputSpec], old: int, new: int) -> tuple[InputSpec, ...]:
    """Return the inputs with ``new`` samples instead of ``old``."""
    return tuple(
        InputSpec(spec.name, (new, *spec.shape[1:]), spec.dtype)
        if spec.shape and spec.shape[0] == old
        else spec
        for spec in specs
    )


def attribute(module: torch.nn.Module, name: str) -> Any:
    """Return what a ``get_attr`` node of this target finds."""
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    return found


def fake_like(mode: FakeTensorMode, tensor: torch.Tensor) -> torch.Tensor:
    """Return a fake CPU tensor of the same geometry."""
    if not tensor.is_meta:
        return mode.from_tensor(tensor)
    with mode:
        return torch.empty_strided(
            tuple(tensor.shape), tuple(tensor.stride()), dtype=tensor.dtype, device="cpu"
        )


def fake_inputs(mode: FakeTensorMode, specs: Sequence[InputSpec]) -> list[torch.Tensor]:
    """Return one fake CPU tensor per input."""
    with mode:
        return [torch.empty(spec.shape, dtype=spec.dtype, device="cpu") for spec in specs]


def run_fake(
    forward: fx.GraphModule, specs: Sequence[InputSpec]
) -> tuple[tuple[torch.Tensor, ...], int]:
    """Run ``forward`` on fake tensors.

    Returns:
        Its fake outputs, and the bytes of all results together.

    Raises:
        ModelError: a size is absurd.
        Exception: whatever an operation raises that does not accept its operands.
    """
    mode = FakeTensorMode()
    total_bytes = 0

    class Runner(fx.Interpreter):
        def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
            return fake_like(mode, attribute(self.module, target))

        def run_node(self, n: fx.Node) -> Any:
            nonlocal total_bytes
            if n.op == "call_function":
                check_recurrent(n, self.fetch_args_kwargs_from_env(n)[0])
            result = super().run_node(n)
            if n.op == "call_function":
                total_bytes += checked_bytes(result, n)
            return result

    with mode, torch.no_grad():
        outputs = tuple(Runner(forward).run(*fake_inputs(mode, specs)))
    return outputs, total_bytes


def check_recurrent(node: fx.Node, arguments: Sequence[Any]) -> None:
    """Check the state that a recurrent operation begins with; its kernels do not.

    Raises:
        ModelError: the state's batch, layers or width are not those of input and weights.
    """
    name = getattr(node.target, "_opname", "")
    if name not in RECURRENT or len(arguments) < 9 or not isinstance(arguments[0], torch.Tensor):
        return
    x, state, weights = arguments[:3]
    layers, bidirectional, batch_first = arguments[4], arguments[7], arguments[8]
    states = list(state) if isinstance(state, (list, tuple)) else [state]
    gates = RECURRENT[name]
    directions = layers * (2 if bidirectional else 1)
    sound = (
        x.dim() == 3
        and 0 < layers <= len(weights)
        and len(states) == (2 if name == "lstm" else 1)
        and all(part.dim() == 3 and part.shape[0] == directions for part in states)
        and all(part.shape[1] == x.shape[0 if batch_first else 1] for part in states)
        and states[-1].shape[2] * gates == weights[0].shape[0]
        and weights[0].shape[-1] == x.shape[2]
        and weights[1].shape[-1] == states[0].shape[2]
    )
    if not sound:
        shapes = [list(part.shape) for part in (x, *states)]
        raise ModelError(f"{node.name}: the state of {name} does not fit its input ({shapes})")


def checked_bytes(result: Any, node: fx.Node) -> int:
    """Return the bytes of a node's tensors.

    Raises:
        ModelError: a size or a number is larger than any real model's.
    """
    if isinstance(result, (tuple, list)):
        return sum(checked_bytes(part, node) for part in result)
    if isinstance(result, torch.Tensor):
        size_bytes = result.numel() * result.itemsize
        if size_bytes > MAX_BYTES or any(size > MAX_DIMENSION for size in result.shape):
            raise ModelError(f"{node.name} would have the shape {list(result.shape)}")
        return size_bytes
    if isinstance(result, int) and result.bit_length() > 62:
        raise ModelError(f"{node.name} computes a size of {result.bit_length()} bits")
    return 0
