"""Training steps of torch models as problems, with the joint graph that torch's partitioner gets.

The joint graph of forward and backward is AOTAutograd's, at ATen level.  Views are their base; each
output of an operation that has several is an operation of its own, with its part of the cost, as it
has readers of its own.  Parameters, the batch and what is given are outside; so is the optimizer.
Cost: multiply-accumulates (torch's FLOPs, halved) and four for each element read or written,
which is a time in cycles of a processor that moves a byte while it multiplies once.
"""

from __future__ import annotations

import copy
import operator
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._functorch.aot_autograd import aot_function
from torch._functorch.compile_utils import fx_graph_cse
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.planners.networks import NETWORKS
from benchmarks.planners.problem import Problem
from examples.mlperf_tiny import ds_cnn, mobilenet_v1, resnet8

__all__ = ["MODELS", "Traced", "copied", "trace", "traced"]

_COST_OF_MOVED_ELEMENT = 4


@dataclass(frozen=True)
class Traced:
    """A joint graph, and the problem that it stands for.

    Attributes:
        joint: after the partitioner's own dead code elimination and common subexpressions.
        forward_outputs: how many of its outputs are the forward's.
        operations: of the problem, by name of the node.
    """

    problem: Problem
    joint: fx.GraphModule
    forward_outputs: int
    operations: Mapping[str, int]


def copied(joint: fx.GraphModule) -> fx.GraphModule:
    """Return a copy of a joint graph, which the partitioner changes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, in copying its pytrees
        return copy.deepcopy(joint)


class _CapturedError(Exception):
    """The joint graph is there: neither compiling nor running it is wanted."""


class _WithLoss(nn.Module):
    """The mean square of all outputs, so that every output has a gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Tensor:
        result: Tensor = self.model(*inputs)
        return result.square().mean()


def _conv_bn_relu(layers: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    channels = [3, *([32] * layers)]
    modules: list[nn.Module] = []
    for inner, outer in pairwise(channels):
        modules += [nn.Conv2d(inner, outer, 3, padding=1), nn.BatchNorm2d(outer), nn.ReLU()]
    return nn.Sequential(*modules), (torch.zeros(8, 3, 32, 32),)


MODELS: Mapping[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]] = MappingProxyType(
    {
        "conv-bn-relu-7": partial(_conv_bn_relu, 7),
        "ds-cnn": ds_cnn,
        "resnet8": resnet8,
        "mobilenet-v1-0.25": mobilenet_v1,
        **NETWORKS,
    }
)


@lru_cache
def traced(name: str) -> Traced:
    """Return the model of this name.

    Raises:
        KeyError: there is none.
    """
    model, inputs = MODELS[name]()
    return trace(name, model.train(), inputs)


def trace(name: str, model: nn.Module, inputs: tuple[Tensor, ...]) -> Traced:
    """Trace a training step; the loss is the mean square of the output.  Nothing is computed."""
    captured: list[tuple[fx.GraphModule, int]] = []

    def capture(joint: fx.GraphModule, _: Any, *, num_fwd_outputs: int, **rest: Any) -> Any:
        captured.append((joint, num_fwd_outputs))
        raise _CapturedError

    def untouched(gm: fx.GraphModule, example_inputs: object) -> fx.GraphModule:  # names: torch's
        return gm

    module = _WithLoss(model)
    # Once each: tied ones are one.
    weights = {**dict(module.named_parameters()), **dict(module.named_buffers())}

    def functional(weights: dict[str, Tensor], *inputs: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(module, weights, inputs)
        return result

    step = aot_function(
        functional,
        fw_compiler=untouched,
        bw_compiler=untouched,
        partition_fn=capture,
        num_params_buffers=len(weights),
    )
    with suppress(_CapturedError):
        step(weights, *inputs)
    ((joint, forward_outputs),) = captured
    joint.graph.eliminate_dead_code()
    joint.graph = fx_graph_cse(joint.graph)
    joint.recompile()
    problem, operations = _problem(name, joint.graph)
    return Traced(problem, joint, forward_outputs, MappingProxyType(operations))


def _problem(name: str, graph: fx.Graph) -> tuple[Problem, dict[str, int]]:
    operations: dict[str, int] = {}
    #: Operations whose results a node's value lies in, and whether it follows from the gradient.
    bases: dict[fx.Node, tuple[int, ...]] = {}
    backward: dict[fx.Node, bool] = {}
    costs: list[int] = []
    macs: list[int] = []
    sizes: list[int] = []
    forward: list[bool] = []
    inputs: list[tuple[int, ...]] = []
    for node in graph.nodes:
        backward[node] = "tangents" in node.name or any(
            backward[source] for source in node.all_input_nodes
        )
        if node.op != "call_function":
            bases[node] = ()
            continue
        reads = sorted({base for source in node.all_input_nodes for base in bases[source]})
        several = [user for user in node.users if user.target is operator.getitem]
        if several:
            bases[node] = tuple(reads)  # its outputs are operations that read the same
            continue
        if _is_view(node):
            bases[node] = tuple(reads)
            continue
        whole = node.args[0] if node.target is operator.getitem else node
        assert isinstance(whole, fx.Node)
        parts = max(1, len([u for u in whole.users if u.target is operator.getitem]))
        operations[node.name] = len(costs)
        bases[node] = (len(costs),)
        multiplied = _macs(whole)
        macs.append(multiplied // parts)
        costs.append(max(1, (multiplied + _COST_OF_MOVED_ELEMENT * _moved(whole)) // parts))
        sizes.append(_elements_and_bytes(node.meta["val"])[1])
        forward.append(not backward[node])
        inputs.append(tuple(reads))
    problem = Problem(name, tuple(costs), tuple(sizes), tuple(forward), tuple(inputs), tuple(macs))
    return problem, operations


def _is_view(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(
        result.alias_info is not None and not result.alias_info.is_write
        for result in schema.returns
    )


def _elements_and_bytes(value: object) -> tuple[int, int]:
    tensors = value if isinstance(value, tuple | list) else (value,)
    elements = size_bytes = 0
    for tensor in tensors:
        if isinstance(tensor, Tensor):
            elements += tensor.numel()
            size_bytes += tensor.numel() * tensor.element_size()
    return elements, size_bytes


def _moved(node: fx.Node) -> int:
    """Return the elements that a node reads and writes."""
    touched = (node, *node.all_input_nodes)
    return sum(_elements_and_bytes(each.meta["val"])[0] for each in touched)


def _macs(node: fx.Node) -> int:
    arguments, keywords = fx.map_arg((node.args, dict(node.kwargs)), lambda n: n.meta["val"])
    with FlopCounterMode(display=False) as counter:
        assert callable(node.target)
        node.target(*arguments, **keywords)
    flops: int = counter.get_total_flops()
    return flops // 2
