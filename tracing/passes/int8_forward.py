"""Integers in place of marked values: operations, weights and tables of an int8 graph.

The capture computed in float32, with a mark (``memplan.requantize``) where a value becomes int8.
A mark and the operation before it become one operation on integers; a mark on anything else is
``memplan.quantize``; and what reads an int8 tensor without knowing integers reads a dequantized
copy.  The backward keeps its float32 gradients (``passes.int8_backward``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from memplan.ir.dtypes import Dtype
from memplan.ir.fixed_point import fixed_point, fixed_point_sum
from memplan.ir.graph import QuantizedStep, TensorQuantization, WeightSource
from memplan.tracing.draft import (
    Draft,
    DraftOperation,
    DraftTensor,
    Recipe,
    View,
    elements,
    replace_views,
)
from memplan.tracing.passes.int8_backward import backward_form

__all__ = ["to_int8"]

MARK = "memplan.requantize"
#: Targets that read int8 as they read floats (the first argument; results that are not int8).
_READING = ("memplan.max_pool_positions",)
#: Targets whose result has the integers of the first argument.
_KEEPING = (
    "aten.max_pool2d.default",
    "aten.max_pool3d.default",
    "aten.constant_pad_nd.default",
    "aten.clone.default",
)


def to_int8(draft: Draft) -> None:
    """Rewrite a draft whose forward graph has marks."""
    _Rewriting(draft).run()


class _Rewriting:
    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.readers = draft.readers()
        self.producers = draft.producers()
        self.operations: list[DraftOperation] = []
        #: What reads a mark of an input reads the input.
        self.renamed: dict[str, str] = {}
        self.dequantized: dict[str, tuple[DraftTensor, DraftOperation]] = {}
        #: Scales of int8 weights.
        self.scales: dict[str, View] = {}

    def run(self) -> None:
        draft = self.draft
        for operation in draft.operations:
            self._rename(operation)
            if operation.target == MARK:
                self._mark(operation)
            elif operation.phase == "forward" and self._keeps(operation):
                self.operations.append(operation)
            else:
                if operation.phase == "backward":
                    backward_form(draft, operation, self.scales)
                self.operations.append(operation)
        for operation in self.operations:
            self._read_floats(operation)
        draft.operations = self._with_dequantized()

    def _rename(self, operation: DraftOperation) -> None:
        replace_views(
            operation, lambda view: replace(view, tensor=self.renamed.get(view.tensor, view.tensor))
        )

    # Marks

    def _mark(self, mark: DraftOperation) -> None:
        x, scale, zero_point, low, high = mark.arguments
        result = self.draft.tensors[mark.writes[0]]
        source = self.draft.tensors[x.tensor]
        quantization = TensorQuantization(scale=scale, zero_point=zero_point)
        if source.role == "input" and source.is_whole(x) and x.strides == result.strides:
            self._retype(source, "int8", quantization)
            self.renamed[result.id] = source.id
            del self.draft.tensors[result.id]
            return
        before = self.producers.get(x.tensor)
        form = None
        if (
            before is not None
            and before.phase == "forward"
            and before.writes == (x.tensor,)
            and source.is_whole(x)
            and len(self.readers[x.tensor]) == 1
        ):
            form = _FORMS.get(before.target, _no_form)(self, before, quantization, low, high)
        self._retype(result, "int8", quantization)
        if form is None or before is None:
            recipe = Recipe("plain", "memplan.quantize", (x, scale, zero_point, low, high))
            mark.alternatives = [recipe]
            mark.recomputable = True
            self.operations.append(mark)
            return
        before.alternatives = [form]
        before.writes = mark.writes
        del self.draft.tensors[source.id]

    def _retype(self, tensor: DraftTensor, dtype: Dtype, quantization: TensorQuantization) -> None:
        tensor.dtype, tensor.quantization = dtype, quantization
        tensor.size_bytes = self.draft.extent_bytes(tensor.shape, tensor.strides, dtype)

    def _integers(self, view: Any) -> TensorQuantization | None:
        """Return what an operand's integers stand for; None where it has none."""
        if not isinstance(view, View):
            return None
        tensor = self.draft.tensors[view.tensor]
        return tensor.quantization if tensor.dtype == "int8" else None

    # Forms of operations on integers

    def _convolution(
        self, before: DraftOperation, y: TensorQuantization, low: int, high: int
    ) -> Recipe | None:
        x, w, bias, stride, padding, dilation, transposed, _, groups = before.arguments
        known = self._integers(x)
        if known is None or transposed or not self._may_become_integers(w, before):
            return None
        if bias is not None and not self._may_become_integers(bias, before):
            return None
        weight = self.draft.tensors[w.tensor]
        real = weight.source
        assert real is not None
        step = QuantizedStep(result="weight", input_scale=known.scale, output_scale=y.scale)

        def table(name: str, result: Any, dtype: Dtype) -> DraftTensor:
            made = step.model_copy(update={"result": result})
            return self.draft.new_tensor(
                f"{weight.id}.{name}",
                "constant",
                dtype,
                weight.shape[:1],
                source=real.model_copy(update={"quantized": made}),
            )

        scales = table("scales", "scales", "float32")
        multipliers = table("multipliers", "multipliers", "int32")
        shifts = table("shifts", "shifts", "int8")
        weight.source = real.model_copy(update={"quantized": QuantizedStep(result="weight")})
        self._retype(weight, "int8", TensorQuantization(scales=scales.id))
        self.scales[weight.id] = scales.whole()
        if bias is not None:
            self._quantize_bias(self.draft.tensors[bias.tensor], real, known.scale, scales.id)
        return Recipe(
            "plain",
            "memplan.conv_int8",
            (
                x, w, bias, stride, padding, dilation, groups, multipliers.whole(),
                shifts.whole(), known.zero_point, y.zero_point, low, high,
            ),
        )  # fmt: skip

    def _quantize_bias(
        self, bias: DraftTensor, weight: WeightSource, input_scale: float, scales: str
    ) -> None:
        assert bias.source is not None
        step = QuantizedStep(result="bias", input_scale=input_scale, weight=weight)
        bias.source = bias.source.model_copy(update={"quantized": step})
        self._retype(bias, "int32", TensorQuantization(scale=input_scale, scales=scales))

    def _may_become_integers(self, view: Any, reader: DraftOperation) -> bool:
        """Whether a parameter is read by its layer, and by the gradient of its layer's input."""
        if not isinstance(view, View):
            return False
        tensor = self.draft.tensors[view.tensor]
        return (
            tensor.role == "parameter"
            and tensor.dtype == "float32"
            and tensor.source is not None
            and tensor.source.quantized is None
            and tensor.is_whole(view)
            and all(
                other is reader
                or (
                    other.target == "memplan.conv_input_gradient"
                    and other.arguments[1] == view
                    and list(other.reads()).count(view) == 1
                )
                for other in self.readers[tensor.id]
            )
        )

    def _sum(
        self, before: DraftOperation, y: TensorQuantization, low: int, high: int
    ) -> Recipe | None:
        if before.plain.keywords.get("alpha", 1) != 1 or len(before.arguments) != 2:
            return None
        a, b = before.arguments
        first, second = self._integers(a), self._integers(b)
        if first is None or second is None or a.shape != b.shape:
            return None
        multipliers, shift = fixed_point_sum([first.scale / y.scale, second.scale / y.scale])
        return Recipe(
            "plain",
            "memplan.add_int8",
            (
                a, b, first.zero_point, second.zero_point, *multipliers, shift, y.zero_point,
                low, high,
            ),
        )  # fmt: skip

    def _mean(
        self, before: DraftOperation, y: TensorQuantization, low: int, high: int
    ) -> Recipe | None:
        x, dims, *rest = before.arguments
        known = self._integers(x)
        if known is None or before.plain.keywords.get("dtype") is not None:
            return None
        shape = [x.shape[d] for d in dims]
        if any(size.per_sample for size in shape):
            return None
        multiplier, shift = fixed_point(known.scale / (y.scale * elements(tuple(shape), 1)))
        keepdim = bool(rest and rest[0])
        return Recipe(
            "plain",
            "memplan.mean_int8",
            (x, dims, keepdim, multiplier, shift, known.zero_point, y.zero_point, low, high),
        )

    def _average_pool(
        self, before: DraftOperation, y: TensorQuantization, low: int, high: int
    ) -> Recipe | None:
        given = before.arguments
        filled = (*given, *_POOL_DEFAULTS[len(given) - 2 :])
        x, kernel, stride, padding, ceil_mode, include_padding, divisor = filled
        known = self._integers(x)
        stride = stride or kernel
        if known is None or ceil_mode or divisor is not None:
            return None
        if any(padding) and not include_padding:
            return None
        count = kernel[0] * kernel[-1]
        multiplier, shift = fixed_point(known.scale / (y.scale * count))
        return Recipe(
            "plain",
            "memplan.avg_pool_int8",
            (
                x, kernel, stride, padding, multiplier, shift, known.zero_point, y.zero_point,
                low, high,
            ),
        )  # fmt: skip

    # What keeps integers, and what needs floats

    def _keeps(self, operation: DraftOperation) -> bool:
        """Let an operation that keeps integers keep them."""
        if operation.target not in _KEEPING or len(operation.writes) != 1:
            return False
        x, *rest = operation.arguments
        known = self._integers(x)
        if known is None:
            return False
        if operation.target == "aten.constant_pad_nd.default":
            pad, value = (*rest, 0)[:2]
            if value != 0:
                return False
            operation.plain.arguments = (x, pad, known.zero_point)
        self._retype(self.draft.tensors[operation.writes[0]], "int8", known)
        return True

    def _read_floats(self, operation: DraftOperation) -> None:
        if operation.target in _INTEGER_READERS:
            return
        replace_views(operation, self._float_view)

    def _float_view(self, view: View) -> View:
        if self._integers(view) is None or self.draft.tensors[view.tensor].role == "parameter":
            return view
        if view.tensor not in self.dequantized:
            tensor = self.draft.tensors[view.tensor]
            known = tensor.quantization
            assert known is not None
            copy = self.draft.new_tensor(
                f"{tensor.id}.dequantized", "activation", "float32", tensor.shape, tensor.strides
            )
            producer = self.producers.get(tensor.id)
            recipe = Recipe(
                "plain", "memplan.dequantize", (tensor.whole(), known.scale, known.zero_point)
            )
            operation = DraftOperation(
                copy.id, "forward", (copy.id,), [recipe], recomputable=True,
                origin=None if producer is None else producer.origin,
            )  # fmt: skip
            self.dequantized[view.tensor] = copy, operation
        return replace(view, tensor=self.dequantized[view.tensor][0].id)

    def _with_dequantized(self) -> list[DraftOperation]:
        """Return the operations with each dequantization behind what it reads."""
        waiting = {name: operation for name, (_, operation) in self.dequantized.items()}
        written = {name for operation in self.operations for name in operation.writes}
        result = [operation for name, operation in waiting.items() if name not in written]
        for operation in self.operations:
            result.append(operation)
            result.extend(waiting[name] for name in operation.writes if name in waiting)
        return result


def _no_form(
    rewriting: _Rewriting, before: DraftOperation, y: TensorQuantization, low: int, high: int
) -> None:
    return None


_FORMS: dict[str, Callable[..., Recipe | None]] = {
    "aten.convolution.default": _Rewriting._convolution,
    "aten.add.Tensor": _Rewriting._sum,
    "aten.mean.dim": _Rewriting._mean,
    "aten.avg_pool2d.default": _Rewriting._average_pool,
}
#: Of stride, padding, ceil_mode, count_include_pad, divisor_override.
_POOL_DEFAULTS: tuple[Any, ...] = ((), (0, 0), False, True, None)
_INTEGER_READERS = frozenset(
    {
        "memplan.conv_int8",
        "memplan.add_int8",
        "memplan.mean_int8",
        "memplan.avg_pool_int8",
        "memplan.quantize",
        "memplan.range_backward",
        "memplan.conv_weight_gradient_int8x",
        "memplan.conv_input_gradient_int8w",
        *_READING,
        *_KEEPING,
    }
)
