"""A step of an int8 graph by autograd: fake quantization with a straight-through estimator.

Nothing of the graph's integer kernels or of its backward takes part.  Values are real numbers in
float64, which holds every product of a scale and an integer exactly: each operation is computed
by torch's own differentiable function, the integers that it stands for are found by the rule of
``ir.fixed_point`` from those of its operands, and the result is moved onto their real values in a
way that autograd does not see.  The gradient passes where the integer lies strictly between the
limits.  The fp32 part (the head, the loss) is computed in float32, as in the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from memplan.clients.executors.torch.arguments import resolve_arguments
from memplan.clients.executors.torch.geometry import DTYPES
from memplan.clients.executors.torch.integer_inputs import integer_inputs
from memplan.clients.executors.torch.outside import whole_weights
from memplan.clients.executors.torch.reference import ForwardPass, Reference, update_window
from memplan.ir.errors import RequestError
from memplan.ir.fixed_point import MOST_BIAS, MOST_WEIGHT
from memplan.ir.graph import Operation, OpGraph, Tensor
from memplan.ir.request import LayerUpdate
from memplan.ir.sizes import updated_parameters

__all__ = ["IntegerForward", "integer_forward_outputs", "integer_step"]


def integer_step(
    graph: OpGraph,
    mask: Iterable[LayerUpdate],
    batch: int,
    weights: Mapping[str, torch.Tensor],
    inputs: Mapping[str, torch.Tensor],
    seed: int = 0,
) -> Reference:
    """Train one step of an int8 graph on one whole batch by autograd.

    Args:
        graph: a graph of mode train.
        mask: what is updated of each layer.
        batch: number of samples.
        weights: by tensor id, integers as the graph says.
        inputs: inputs and labels by tensor id.
        seed: of dropout.

    Raises:
        RequestError: the graph does not train.
        ModelError: a forward operation that autograd cannot run.
    """
    if graph.mode != "train" or graph.optimizer is None:
        raise RequestError("only a graph of mode train has gradients to compare with")
    updates = {update.layer: update for update in mask}
    chosen = sorted(updated_parameters(graph, updates))
    integers = whole_weights(graph, weights)
    values = _real_values(graph, integers)
    leaves = {name: values[name].clone().requires_grad_() for name in chosen}
    given = _real_values(graph, integer_inputs(graph, inputs))
    forward = IntegerForward(graph, batch, {**values, **leaves, **given}, seed)
    loss = forward.value(graph.outputs[0])
    found: Any = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    gradients, updated, rates = {}, {}, {}
    for (name, leaf), gradient in zip(leaves.items(), found, strict=True):
        tensor = graph.tensor[name]
        gradient = torch.zeros_like(leaf) if gradient is None else gradient
        gradient = gradient * update_window(graph, tensor, updates, leaf)
        gradients[name] = gradient.float()
        rates[name] = _rates(graph, tensor, integers)
        steps = gradient * rates[name]
        if tensor.quantization is None:
            updated[name] = (leaf.detach() - steps).to(DTYPES[tensor.dtype])
            del rates[name]
        else:
            most = MOST_WEIGHT if tensor.dtype == "int8" else MOST_BIAS
            moved = (integers[name].double() - steps.round()).clamp(-most, most)
            updated[name] = moved.to(DTYPES[tensor.dtype])
    return Reference(
        loss=float(loss.detach()),
        gradients=gradients,
        updated=updated,
        initial={name: integers[name].clone() for name in chosen},
        reliable={name: torch.ones_like(updated[name], dtype=torch.bool) for name in chosen},
        scales={name: float(g.abs().max()) if g.numel() else 0.0 for name, g in gradients.items()},
        states={},
        adaptive=False,
        integers=forward.integers,
        rates=rates,
    )


def integer_forward_outputs(
    graph: OpGraph,
    batch: int,
    weights: Mapping[str, torch.Tensor],
    inputs: Mapping[str, torch.Tensor],
    seed: int = 0,
) -> dict[str, torch.Tensor]:
    """Return the graph's outputs for a whole batch, by its forward operations alone."""
    with torch.no_grad():
        values = _real_values(graph, whole_weights(graph, weights))
        given = _real_values(graph, integer_inputs(graph, inputs))
        forward = IntegerForward(graph, batch, {**values, **given}, seed)
        return {name: forward.value(name) for name in graph.outputs}


def _real_values(graph: OpGraph, values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return what integers stand for, in float64; other values as they are."""
    real = dict(values)
    for name, value in values.items():
        tensor = graph.tensor.get(name)
        if tensor is None or tensor.quantization is None:
            continue
        whole = value.double() - tensor.quantization.zero_point
        real[name] = whole * _units(graph, tensor, values)
    return real


def _units(graph: OpGraph, tensor: Tensor, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the real size of one step of a quantized tensor, broadcastable to it."""
    assert tensor.quantization is not None
    unit = torch.tensor(tensor.quantization.scale, dtype=torch.float64)
    if tensor.quantization.scales is None:
        return unit
    table = values[tensor.quantization.scales].double()
    return unit * table.view(-1, *[1] * (len(tensor.shape) - 1))


def _rates(graph: OpGraph, tensor: Tensor, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return what a gradient in real units is multiplied by to give the step of a parameter."""
    assert graph.optimizer is not None
    rate = torch.tensor(graph.optimizer.learning_rate, dtype=torch.float64)
    if tensor.quantization is None:
        return rate
    unit = _units(graph, tensor, values)
    # The integer's own gradient is unit * g; quantization-aware scaling multiplies by unit**-2.
    scaled = graph.quantization is not None and graph.quantization.quantization_aware_scaling
    return rate * unit * (unit**-2 if scaled else 1.0)


class IntegerForward(ForwardPass):
    """Real values of a graph's forward tensors, and the integers that some of them stand for."""

    def __init__(
        self, graph: OpGraph, batch: int, values: Mapping[str, torch.Tensor], seed: int
    ) -> None:
        #: int8 activations by tensor id.
        self.integers: dict[str, torch.Tensor] = {}
        super().__init__(graph, batch, values, seed)

    def _execute(self, operation: Operation) -> None:
        plain = operation.alternatives[0]
        result = self._graph.tensor[operation.writes[0]]
        rule = _RULES.get(plain.target)
        if plain.target != "memplan.dequantize" and result.quantization is None:
            super()._execute(operation)
            return
        operands = [self._operand(operand) for operand in plain.reads]
        arguments, _ = resolve_arguments(plain, operands, self._batch)
        if plain.target == "memplan.dequantize":
            self._values[result.id] = self._laid_out(result.id, operands[0].float())
        elif rule is None:
            self._keep(operation, plain.target, arguments)
        else:
            units = [self._unit(operand.tensor) for operand in plain.reads]
            self._put(result, *rule(arguments, units), *arguments[-2:])

    def _unit(self, name: str) -> torch.Tensor:
        tensor = self._graph.tensor[name]
        if tensor.quantization is None:
            return torch.ones(())
        return _units(self._graph, tensor, self._values)

    def _keep(self, operation: Operation, target: str, arguments: Any) -> None:
        """Execute what has the integers of its operand on the real values of them."""
        result = self._graph.tensor[operation.writes[0]]
        assert result.quantization is not None
        if target == "aten.constant_pad_nd.default":
            value = F.pad(arguments[0], arguments[1])
        elif target == "aten.max_pool2d.default":
            value = F.max_pool2d(*arguments)
        elif target == "aten.max_pool3d.default":
            value = F.max_pool3d(*arguments)
        else:
            value = arguments[0].clone()
        whole = (value.detach() / result.quantization.scale).round()
        self.integers[result.id] = (whole + result.quantization.zero_point).to(torch.int8)
        self._values[result.id] = self._laid_out(result.id, value)

    def _put(
        self, result: Tensor, real: torch.Tensor, steps: torch.Tensor, low: int, high: int
    ) -> None:
        """Move a real result onto its integers; the gradient passes strictly between limits."""
        assert result.quantization is not None
        zero_point, scale = result.quantization.zero_point, result.quantization.scale
        whole = (steps + zero_point).clamp(low, high)
        self.integers[result.id] = whole.to(torch.int8)
        exact = (whole - zero_point).double() * scale
        through = real + (exact - real).detach()
        inside = (whole > low) & (whole < high)
        self._values[result.id] = self._laid_out(result.id, torch.where(inside, through, exact))

    def _laid_out(self, name: str, value: torch.Tensor) -> torch.Tensor:
        tensor = self._graph.tensor.get(name)
        if tensor is None or tensor.quantization is None:
            return super()._laid_out(name, value)
        shape = [size.at(self._batch) for size in tensor.shape]
        strides = tuple(stride.at(self._batch) for stride in tensor.strides)
        if value.stride() == strides and value.storage_offset() == 0:
            return value
        return torch.empty_strided(shape, strides, dtype=value.dtype).copy_(value)


#: (arguments, real size of a step of each operand) -> (real result, its integers, zero point off)
_Rule = Callable[[Any, list[torch.Tensor]], tuple[torch.Tensor, torch.Tensor]]


def _convolution(arguments: Any, units: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    x, w, bias, stride, padding, dilation, groups, multipliers, shifts, *_ = arguments
    real = torch.convolution(
        x, w, bias, stride, padding, dilation, False, [0] * len(stride), groups
    )
    shape = (-1, *[1] * (x.dim() - 2))
    accumulator = _whole(real, units[0] * units[1].view(shape))
    return real, _divided(accumulator, multipliers.view(shape), shifts.view(shape))


def _sum(arguments: Any, units: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    a, b, _, _, first, second, shift, *_ = arguments
    # One operand twice has one unit.
    total = _whole(a, units[0]) * first + _whole(b, units[-1]) * second
    return a + b, _divided(total, 1, shift)


def _mean(arguments: Any, units: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    x, dims, keepdim, multiplier, shift, *_ = arguments
    real = x.mean(dims, keepdim=keepdim)
    return real, _divided(_whole(x.sum(dims, keepdim=keepdim), units[0]), multiplier, shift)


def _average_pool(arguments: Any, units: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    x, kernel, stride, padding, multiplier, shift, *_ = arguments
    real = F.avg_pool2d(x, kernel, stride, padding)
    count = kernel[0] * kernel[-1]
    return real, _divided(_whole(real * count, units[0]), multiplier, shift)


def _quantization(arguments: Any, units: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    x, scale, *_ = arguments
    return x.double(), (x.detach() / torch.tensor(scale, dtype=x.dtype)).round()


_RULES: Mapping[str, _Rule] = {
    "memplan.add_int8": _sum,
    "memplan.avg_pool_int8": _average_pool,
    "memplan.conv_int8": _convolution,
    "memplan.mean_int8": _mean,
    "memplan.quantize": _quantization,
}


def _whole(real: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
    """Return how many steps of a size a real number is."""
    return (real.detach() / unit.detach()).round().long()


def _divided(value: torch.Tensor, multiplier: Any, shift: Any) -> torch.Tensor:
    """Return ``value * multiplier / 2**shift`` rounded half up, as a division."""
    divisor = 2 ** torch.as_tensor(shift, dtype=torch.int64)
    numerator = value * torch.as_tensor(multiplier, dtype=torch.int64) + divisor // 2
    return torch.div(numerator, divisor, rounding_mode="floor")
