"""Choose what is computed in int8, and mark the places where values become int8.

A mark is one operator of tracing's own with the scale and the limits of an int8 tensor: autograd
passes the gradient where the value was not clamped.  The pass over the draft
(``passes.int8_forward``) joins marks with the operations before them.

In int8: convolutions but the head (the last layer) with their clamping activation; sums of two
int8 tensors; means and average pools of one.  Max-pools, zero padding and views keep what they
get.  Everything else stays in float32.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

from memplan.ir.errors import ModelError
from memplan.ir.fixed_point import INT8_HIGH, INT8_LOW, MOST_ACCUMULATED, MOST_BIAS, MOST_WEIGHT
from memplan.tracing.calibration import Ranges
from memplan.tracing.capture_arguments import arguments_by_name, is_call
from memplan.tracing.capture_forward import Forward
from memplan.tracing.capture_operators import operators
from memplan.tracing.quantized_weights import channel_scales

__all__ = ["mark_int8", "parameters_of_range"]

_CONVOLUTIONS = (
    "conv1d.default", "conv2d.default", "conv3d.default",
    "conv1d.padding", "conv2d.padding", "conv3d.padding", "convolution.default",
)  # fmt: skip
_PRODUCTS = (
    "linear.default", "addmm.default", "mm.default", "bmm.default", "baddbmm.default",
    "matmul.default",
)  # fmt: skip
_AVERAGES = ("mean.dim", "avg_pool2d.default", "adaptive_avg_pool2d.default")
#: Their result has the integers of their operand, or zeros.
_KEEPING = (
    "constant_pad_nd.default", "pad.default", "max_pool2d.default", "max_pool3d.default",
    "view.default", "reshape.default", "flatten.using_ints", "unflatten.int", "unsqueeze.default",
    "squeeze.default", "squeeze.dim", "squeeze.dims", "contiguous.default", "alias.default",
)  # fmt: skip
_ENDLESS = (-math.inf, math.inf)
#: Largest ratio of scales that fixed point takes, with room to spare.
_MOST_FACTOR = 2.0**18


def mark_int8(forward: Forward, ranges: Ranges) -> None:
    """Put marks behind everything that is computed in int8, and before its float32 operands.

    Raises:
        ModelError: the range of a tensor is not finite.
    """
    _Marking(forward, ranges).run()


def parameters_of_range(
    low: float, high: float, limits: tuple[float, float] = _ENDLESS, *, masked: bool = True
) -> tuple[float, int, int, int]:
    """Return (scale, zero point, lowest, highest integer) of an int8 tensor.

    Zero is a whole number of steps.  Where an activation has no limit, one level is left free
    beyond the range seen: what lies on the lowest or highest integer counts as clamped, and no
    value seen shall.

    Args:
        low, high: the range that was seen.
        limits: of the activation.
        masked: whether a gradient will ask what was clamped.
    """
    begin = limits[0] if math.isfinite(limits[0]) else min(low, 0.0)
    end = limits[1] if math.isfinite(limits[1]) else max(high, 0.0)
    bottom = INT8_LOW + (masked and not math.isfinite(limits[0]))
    top = INT8_HIGH - (masked and not math.isfinite(limits[1]))
    scale = _float32((end - begin) / (top - bottom)) or _float32(1 / MOST_WEIGHT)
    zero_point = min(max(round(bottom - begin / scale), INT8_LOW), INT8_HIGH)
    lowest, highest = INT8_LOW, INT8_HIGH
    if math.isfinite(limits[0]):
        lowest = max(lowest, zero_point + round(limits[0] / scale))
    if math.isfinite(limits[1]):
        highest = min(highest, zero_point + round(limits[1] / scale))
    return scale, zero_point, lowest, highest


def _float32(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float32))


class _Marking:
    def __init__(self, forward: Forward, ranges: Ranges) -> None:
        self.forward = forward
        self.graph = forward.graph
        self.ranges = ranges
        #: Nodes whose result is int8, with its scale.
        self.scales: dict[fx.Node, float] = {}
        #: Marks of float32 results, by what they mark.
        self.marks: dict[fx.Node, fx.Node] = {}

    def run(self) -> None:
        layers = [n for n in self.graph.nodes if is_call(n, *_CONVOLUTIONS, *_PRODUCTS)]
        head = layers[-1] if layers else None
        for node in list(self.graph.nodes):
            if node.op != "call_function" or node in self.scales:
                continue
            if node is not head and self._is_convolution(node):
                self._convolution(node)
            elif self._is_sum(node) or self._is_average(node):
                self._mark_behind(node)
            elif self._keeps(node) and node.args[0] in self.scales:
                self.scales[node] = self.scales[node.args[0]]

    # What can be int8

    def _is_convolution(self, node: fx.Node) -> bool:
        if not is_call(node, *_CONVOLUTIONS):
            return False
        named = arguments_by_name(node)
        if named.get("transposed"):
            return False
        weight, bias = (self.forward.attribute_behind(named[key]) for key in ("weight", "bias"))
        if weight is None or (bias is None) != (named["bias"] is None):
            return False
        names = [name for name in (weight, bias) if name is not None]
        known = self.forward.parameters | self.forward.trainable | set(self.forward.sources)
        if any(
            len(self.forward.readers_of(name)) != 1
            or name not in known
            or self.forward.attributes[name].dtype != torch.float32
            for name in names
        ):
            return False
        taps = self.forward.attributes[weight][0].numel()
        return taps * (INT8_HIGH - INT8_LOW) * MOST_WEIGHT < MOST_ACCUMULATED

    def _is_sum(self, node: fx.Node) -> bool:
        if not is_call(node, "add.Tensor"):
            return False
        named = arguments_by_name(node)
        operands = (named["self"], named["other"])
        shapes = {self.forward.shapes.get(getattr(x, "name", "")) for x in operands}
        if named["alpha"] != 1 or len(shapes) != 1 or not all(x in self.scales for x in operands):
            return False
        largest = max(self.scales[x] for x in operands)
        return largest / self._output_scale(node) < _MOST_FACTOR

    def _is_average(self, node: fx.Node) -> bool:
        if not is_call(node, *_AVERAGES):
            return False
        named = arguments_by_name(node)
        x: Any = node.args[0]
        if x not in self.scales or self.scales[x] / self._output_scale(node) >= _MOST_FACTOR:
            return False
        if is_call(node, "adaptive_avg_pool2d.default"):
            sizes = named["output_size"]
            return all(size == 1 for size in sizes)
        if is_call(node, "mean.dim"):
            return named["dtype"] is None and bool(named["dim"]) and 0 not in named["dim"]
        padded = any(named["padding"])
        whole = named["divisor_override"] is None and not named["ceil_mode"]
        return whole and (named["count_include_pad"] or not padded)

    def _keeps(self, node: Any) -> bool:
        if not is_call(node, *_KEEPING):
            return False
        if is_call(node, "pad.default"):
            named = arguments_by_name(node)
            return named["mode"] == "constant" and not named["value"]
        if is_call(node, "constant_pad_nd.default"):
            return not arguments_by_name(node)["value"]
        return True

    # Marks

    def _convolution(self, node: fx.Node) -> None:
        x = self._as_int8(node.args[0])
        if x is None or not self._fits(node, self.scales[x]):
            return
        node.update_arg(0, x)
        self._mark_behind(node)

    def _fits(self, node: fx.Node, input_scale: float) -> bool:
        """Whether biases and factors stay within 32 bits."""
        named = arguments_by_name(node)
        values = self.ranges.attributes
        weight = values[self.forward.attribute_behind(named["weight"]) or ""]
        if not bool(weight.isfinite().all()):
            raise ModelError(f"{self.forward.model.name}: a weight is not finite; int8 cannot be")
        units = channel_scales(weight).double() * input_scale
        if float(units.max()) / self._output_scale(node) >= _MOST_FACTOR:
            return False
        bias = self.forward.attribute_behind(named["bias"])
        return bias is None or bool((values[bias].double().abs() < units * MOST_BIAS).all())

    def _as_int8(self, x: Any) -> fx.Node | None:
        """Return an int8 form of an operand, marked now where there is none yet."""
        if not isinstance(x, fx.Node) or self.forward.dtypes.get(x.name) != torch.float32:
            return None
        if x in self.scales:
            return x
        if x in self.marks:
            return self.marks[x]
        if self._keeps(x):
            source = self._as_int8(x.args[0])
            if source is None:
                return None
            x.update_arg(0, source)
            self.scales[x] = self.scales[source]
            return x
        if x.op == "placeholder":
            last = [node for node in self.graph.nodes if node.op == "placeholder"][-1]
            mark = self._mark(x, last, self._parameters(x, _ENDLESS, masked=False))
        else:
            mark = self._mark(x, x, self._parameters(x, _ENDLESS))
        self.marks[x] = mark
        return mark

    def _mark_behind(self, node: fx.Node) -> None:
        """Mark a result of integers, in place of the activation behind it if that clamps."""
        activation, limits = _activation(node)
        if activation is None:
            mark = self._mark(node, node, self._parameters(node, limits))
            node.replace_all_uses_with(mark, delete_user_cb=lambda user: user is not mark)
            return
        mark = self._mark(node, activation, self._parameters(activation, limits))
        activation.replace_all_uses_with(mark)
        self.graph.erase_node(activation)

    def _output_scale(self, node: fx.Node) -> float:
        activation, limits = _activation(node)
        return self._parameters(activation or node, limits)[0]

    def _parameters(
        self, seen: fx.Node, limits: tuple[float, float], *, masked: bool = True
    ) -> tuple[float, int, int, int]:
        low, high = self.ranges.limits[seen.name]
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ModelError(
                f"{self.forward.model.name}: values at {seen.name} are not finite on the samples, "
                "so they have no int8 form; check weights and samples"
            )
        return parameters_of_range(low, high, limits, masked=masked)

    def _mark(self, x: fx.Node, after: fx.Node, parameters: tuple[float, int, int, int]) -> fx.Node:
        with self.graph.inserting_after(after):
            mark = self.graph.call_function(operators.requantize.default, (x, *parameters))
        mark.meta = dict(x.meta) if x.op != "placeholder" else {}
        self.forward.shapes[mark.name] = self.forward.shapes[x.name]
        self.forward.dtypes[mark.name] = torch.float32
        self.scales[mark] = parameters[0]
        return mark


def _activation(node: fx.Node) -> tuple[fx.Node | None, tuple[float, float]]:
    """Return the clamping activation that alone reads a node, and its limits."""
    users = list(node.users)
    limits = _limits(users[0]) if len(users) == 1 else None
    return (None, _ENDLESS) if limits is None else (users[0], limits)


def _limits(node: fx.Node) -> tuple[float, float] | None:
    """Return between what an activation clamps; None if it does something else."""
    if is_call(node, "relu.default"):
        return 0.0, math.inf
    if is_call(node, "relu6.default"):
        return 0.0, 6.0
    if is_call(node, "hardtanh.default"):
        named = arguments_by_name(node)
        low, high = float(named["min_val"]), float(named["max_val"])
    elif is_call(node, "clamp.default"):
        named = arguments_by_name(node)
        low = -math.inf if named["min"] is None else float(named["min"])
        high = math.inf if named["max"] is None else float(named["max"])
    else:
        return None
    return (low, high) if low <= 0.0 <= high and low < high else None
