"""The rules that a graph must keep, beyond the types of its fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from memplan.ir.channel_strips import CHANNEL_STRIPS, strips_fault
from memplan.ir.dtypes import BITS
from memplan.ir.limits import MAX_BYTES, MAX_CHANNELS, MAX_RANK
from memplan.ir.row_strips import (
    INPUT_ROWS,
    MAX_ROWS,
    ROW_STRIPS,
    locals_in,
    program_fault,
    read_program,
    rows_to_prove,
    used_up_fault,
)
from memplan.ir.units import Affine

if TYPE_CHECKING:
    from memplan.ir.graph import Alternative, Operand, Operation, OpGraph, Tensor

__all__ = ["find_fault"]

_OUTSIDE = ("input", "label", "parameter", "state", "constant", "accumulator")
_MUTABLE = ("parameter", "state", "accumulator")
_SERVING = ("update", "clear", "accumulate", "apply")


def find_fault(graph: OpGraph) -> str | None:
    """Return what is wrong with a graph in one sentence, or None."""
    return next(_faults(graph), None)


def _faults(graph: OpGraph) -> Iterator[str]:
    yield from _duplicates(graph)
    # Affine sizes that hold at two batches hold between and beyond them unless they turn negative.
    samples = (1, 2, graph.traced_batch) if graph.batch_symbolic else (graph.traced_batch,)
    for tensor in graph.tensors:
        yield from _tensor_faults(tensor, samples)
    yield from _layer_faults(graph)
    yield from _quantization_faults(graph)
    yield from _row_count_faults(graph)
    written: set[str] = {tensor.id for tensor in graph.tensors if tensor.role in _OUTSIDE}
    written -= {name for operation in graph.operations for name in operation.writes}
    for operation in graph.operations:
        yield from _operation_faults(graph, operation, written, samples)
        written.update(operation.writes)
    for name in graph.outputs:
        if name not in graph.tensor or name not in graph.producer:
            yield f"output {name!r} is no tensor that an operation writes"
    yield from _update_faults(graph)


def _duplicates(graph: OpGraph) -> Iterator[str]:
    for kind, names in (
        ("tensor", [tensor.id for tensor in graph.tensors]),
        ("operation", [operation.id for operation in graph.operations]),
        ("layer", [layer.id for layer in graph.layers]),
        ("written tensor", [name for operation in graph.operations for name in operation.writes]),
    ):
        name, count = next(iter(Counter(names).most_common(1)), ("", 0))
        if count > 1:
            yield f"{kind} {name!r} stands {count} times; it may stand once"


def _tensor_faults(tensor: Tensor, samples: tuple[int, ...]) -> Iterator[str]:
    if len(tensor.shape) != len(tensor.strides):
        yield (
            f"tensor {tensor.id}: {len(tensor.shape)} dimensions but {len(tensor.strides)} strides"
        )
        return
    if len(tensor.slices) > MAX_RANK:
        yield f"tensor {tensor.id}: {len(tensor.slices)} slices; at most {MAX_RANK} are read"
    if tensor.size_bytes.per_sample < 0:
        yield f"tensor {tensor.id}: its bytes shrink as the batch grows"
    for count in samples:
        size_bytes = tensor.size_bytes.at(count)
        if not 0 <= size_bytes <= MAX_BYTES:
            yield f"tensor {tensor.id}: size_bytes is {size_bytes} at a batch of {count}"
        needed = _extent_bytes(tensor.shape, tensor.strides, Affine(0), tensor.dtype, count)
        if needed is None or (needed > size_bytes and tensor.dtype != "bit"):
            yield f"tensor {tensor.id}: shape and strides do not fit its {size_bytes} bytes"
    for cut in tensor.slices:
        if tensor.layer is None or cut.dim is None or cut.dim >= len(tensor.shape):
            yield f"tensor {tensor.id}: a slice needs a layer and one of the tensor's dimensions"
        elif tensor.size_bytes.fixed % cut.channels or tensor.size_bytes.per_sample % cut.channels:
            yield f"tensor {tensor.id}: its bytes do not divide by {cut.channels} channels"


def _extent_bytes(
    shape: tuple[Affine, ...], strides: tuple[Affine, ...], offset: Affine, dtype: str, count: int
) -> int | None:
    """Return the end in bytes of the last element, or None where a dimension is negative."""
    last = offset.at(count)
    for dimension, stride in zip(shape, strides, strict=True):
        if dimension.at(count) < 0 or stride.at(count) < 0:
            return None
        if dimension.at(count) == 0:
            return 0
        last += (dimension.at(count) - 1) * stride.at(count)
    return None if last < 0 else -(-(last + 1) * BITS[dtype] // 8)


def _layer_faults(graph: OpGraph) -> Iterator[str]:
    channels = sum(axis.channels for layer in graph.layers for axis in layer.axes)
    if channels > MAX_CHANNELS:
        yield f"the layers have {channels} channels along their axes; at most {MAX_CHANNELS}"
    for layer in graph.layers:
        if layer.weight is None and layer.bias is None:
            yield f"layer {layer.id}: it has neither weight nor bias"
        for name in (layer.weight, layer.bias):
            if name is not None and (
                name not in graph.tensor or graph.tensor[name].role != "parameter"
            ):
                yield f"layer {layer.id}: {name!r} is no parameter of the graph"
        for axis in layer.axes:
            for worth in (axis.potentials, axis.norms):
                if worth and len(worth) != axis.channels:
                    yield f"layer {layer.id}: {len(worth)} values for {axis.channels} channels"
    for tensor in graph.tensors:
        if tensor.layer is not None and tensor.layer not in graph.layer:
            yield f"tensor {tensor.id}: there is no layer {tensor.layer!r}"


def _quantization_faults(graph: OpGraph) -> Iterator[str]:
    for tensor in graph.tensors:
        found = tensor.quantization
        if found is None:
            continue
        if tensor.dtype not in ("int8", "int32"):
            yield f"tensor {tensor.id}: only int8 and int32 are quantized, not {tensor.dtype}"
        if found.scales is None:
            continue
        scales = graph.tensor.get(found.scales)
        if scales is None or scales.role != "constant" or scales.shape != tensor.shape[:1]:
            yield (
                f"tensor {tensor.id}: its scales {found.scales!r} are no constant with one factor "
                "per channel"
            )


def _operation_faults(
    graph: OpGraph, operation: Operation, written: set[str], samples: tuple[int, ...]
) -> Iterator[str]:
    where = f"operation {operation.id}"
    if operation.layer is not None and operation.layer not in graph.layer:
        yield f"{where}: there is no layer {operation.layer!r}"
    if len({alternative.name for alternative in operation.alternatives}) < len(
        operation.alternatives
    ):
        yield f"{where}: two alternatives have the same name"
    for name in operation.writes:
        if name not in graph.tensor:
            yield f"{where}: it writes {name!r}, which is no tensor"
        elif graph.tensor[name].role not in ("activation", "gradient", "constant"):
            yield f"{where}: it writes {name!r}, a tensor of role {graph.tensor[name].role}"
        elif (graph.tensor[name].role == "constant") != (operation.phase == "constant"):
            yield f"{where}: constants come from operations of phase constant, and from no others"
    for name in operation.mutates:
        if name not in graph.tensor or graph.tensor[name].role not in _MUTABLE:
            yield f"{where}: it mutates {name!r}, which is no parameter, state or accumulator"
    if operation.mutates and operation.recomputable:
        yield f"{where}: it mutates tensors, so it may not be recomputable"
    if (operation.phase in _SERVING) != (operation.parameter is not None):
        yield f"{where}: a parameter goes with the phases {', '.join(_SERVING)}"
    for alternative in operation.alternatives:
        place = f"{where}, alternative {alternative.name}"
        yield from _alternative_faults(graph, operation, alternative, place, samples)
        yield from _cover_faults(graph, operation, alternative, place)
        for operand in alternative.reads:
            if operand.tensor not in written:
                yield (
                    f"{place}: it reads {operand.tensor!r}, which no earlier operation writes "
                    "(operations must stand in topological order; a cycle cannot be planned)"
                )


def _alternative_faults(
    graph: OpGraph,
    operation: Operation,
    alternative: Alternative,
    place: str,
    samples: tuple[int, ...],
) -> Iterator[str]:
    for operand in alternative.reads:
        if operand.tensor in graph.tensor:
            yield from _operand_faults(graph.tensor[operand.tensor], operand, place, samples)
            role = graph.tensor[operand.tensor].role
            if operation.phase == "constant" and role not in ("constant", "parameter", "state"):
                yield f"{place}: a constant may not depend on {operand.tensor!r}"
    for pair in alternative.in_place:
        if pair.read >= len(alternative.reads) or pair.write >= len(operation.writes):
            yield f"{place}: in_place names an operand that is not there"
    for name, amount in (
        ("macs", alternative.macs),
        ("moved_bytes", alternative.moved_bytes),
        ("workspace_bytes", alternative.workspace_bytes),
    ):
        if amount.per_sample < 0:
            yield f"{place}: {name} shrinks as the batch grows"
        for count in samples:
            if not 0 <= amount.at(count) <= MAX_BYTES:
                yield f"{place}: {name} is {amount.at(count)} at a batch of {count}"
    if max(len(alternative.slices), len(alternative.axes or ())) > MAX_RANK:
        yield f"{place}: more than {MAX_RANK} slices or axes"
    if (alternative.slices or alternative.axes is not None) and operation.layer is None:
        yield f"{place}: slices and axes need the operation's layer"
    for index in _operand_indices((alternative.arguments, tuple(alternative.keywords.values()))):
        if index >= len(alternative.reads):
            yield f"{place}: argument names operand {index} of {len(alternative.reads)}"
    yield from _program_faults(graph, operation, alternative, place)


def _program_faults(
    graph: OpGraph, operation: Operation, alternative: Alternative, place: str
) -> Iterator[str]:
    if alternative.target == CHANNEL_STRIPS:
        fault = strips_fault(graph, operation, alternative)
        if fault is not None:
            yield f"{place}: {fault}"
    if alternative.uses_up is not None and alternative.target != ROW_STRIPS:
        yield f"{place}: only a {ROW_STRIPS} program uses an operand up"
    if alternative.target != ROW_STRIPS:
        arguments = (alternative.arguments, tuple(alternative.keywords.values()))
        if next(locals_in(arguments), None) is not None:
            yield f"{place}: only a {ROW_STRIPS} program refers to earlier entries"
        return
    fault = program_fault(alternative)
    if fault is not None:
        yield f"{place}: {fault}"
        return
    last = read_program(alternative.arguments)[-1]
    result = graph.tensor.get(operation.writes[0]) if len(operation.writes) == 1 else None
    if operation.mutates or result is None:
        yield f"{place}: a program of rows writes one tensor and mutates none"
    elif (
        result.shape[1:] != tuple(Affine(size) for size in last.shape)
        or last.dtype.dtype != result.dtype
    ):
        yield f"{place}: its last entry is not of the shape and type of {result.id}"
    else:
        yield from _used_up_faults(graph, alternative, result, place)
    for entry in read_program(alternative.arguments):
        if entry.target == INPUT_ROWS:
            source = graph.tensor.get(entry.arguments[0])
            if (
                source is None
                or source.role != "input"
                or source.dtype != entry.dtype.dtype
                or source.shape[1:] != tuple(Affine(size) for size in entry.shape)
                or (result is not None and source.shape[0] != result.shape[0])
                or operation.phase == "constant"
            ):
                yield f"{place}: {entry.arguments[0]!r} is no input of the shape of its rows"


def _row_count_faults(graph: OpGraph) -> Iterator[str]:
    rows = 0
    for operation in graph.operations:
        for alternative in operation.alternatives:
            if alternative.target != ROW_STRIPS or alternative.uses_up is None:
                continue
            try:
                rows += rows_to_prove(read_program(alternative.arguments))
            except ValueError:
                return  # said elsewhere
            if rows > MAX_ROWS:
                yield f"programs that use operands up have more than {MAX_ROWS} rows in all"
                return


def _used_up_faults(
    graph: OpGraph, alternative: Alternative, result: Tensor, place: str
) -> Iterator[str]:
    if alternative.uses_up is None:
        return
    if alternative.uses_up >= len(alternative.reads):
        yield f"{place}: it uses up an operand that is not there"
        return
    operand = graph.tensor.get(alternative.reads[alternative.uses_up].tensor)
    if operand is None:
        return  # said elsewhere
    if operand.role not in ("input", "activation", "gradient") or operand.slices or result.slices:
        yield f"{place}: {operand.id} cannot be used up"
        return
    if alternative.in_place or result.id in graph.outputs:
        yield f"{place}: a result that is written last has no pair, and is no output"
        return
    fault = used_up_fault(alternative, operand, result)
    if fault is not None:
        yield f"{place}: {fault}"


def _cover_faults(
    graph: OpGraph, operation: Operation, alternative: Alternative, place: str
) -> Iterator[str]:
    if not alternative.covers:
        return
    if len(set(alternative.covers)) < len(alternative.covers):
        yield f"{place}: it covers an operation twice"
    if alternative is operation.alternatives[0]:
        yield f"{place}: the plain alternative may not cover others"
    if operation.recomputable:
        yield f"{place}: it covers updates, so the operation may not be recomputable"
    for name in alternative.covers:
        covered = graph.operation.get(name)
        if covered is None or name == operation.id:
            yield f"{place}: it covers {name!r}, which is no other operation"
        elif covered.phase not in ("update", "accumulate"):
            yield f"{place}: it covers {name!r} of phase {covered.phase}; updates can be covered"
        elif any(way.covers for way in covered.alternatives):
            yield f"{place}: it covers {name!r}, which covers operations itself"


def _operand_indices(argument: object) -> Iterator[int]:
    if isinstance(argument, tuple):
        for part in argument:
            yield from _operand_indices(part)
    else:
        index = getattr(argument, "operand", None)
        if isinstance(index, int):
            yield index


def _operand_faults(
    tensor: Tensor, operand: Operand, place: str, samples: tuple[int, ...]
) -> Iterator[str]:
    if (operand.shape is None) != (operand.strides is None):
        yield f"{place}: operand {tensor.id} needs both shape and strides, or neither"
        return
    if operand.shape is None or operand.strides is None:
        if operand.offset != Affine(0):
            yield f"{place}: operand {tensor.id} has an offset but no shape"
        return
    if len(operand.shape) != len(operand.strides):
        yield (
            f"{place}: operand {tensor.id} has {len(operand.shape)} dimensions "
            f"but {len(operand.strides)} strides"
        )
        return
    for count in samples:
        needed = _extent_bytes(operand.shape, operand.strides, operand.offset, tensor.dtype, count)
        if needed is None or needed > tensor.size_bytes.at(count):
            yield (
                f"{place}: operand {tensor.id} reaches outside its "
                f"{tensor.size_bytes.at(count)} bytes"
            )


def _update_faults(graph: OpGraph) -> Iterator[str]:
    serving: Counter[tuple[str, str]] = Counter(
        (operation.phase, operation.parameter)
        for operation in graph.operations
        if operation.parameter is not None
    )
    phases = _SERVING if graph.batch_symbolic and not graph.batch_coupled_by else ("update",)
    for layer in graph.layers:
        for name in (layer.weight, layer.bias):
            for phase in phases:
                if name is not None and graph.mode == "train" and serving[phase, name] != 1:
                    yield (
                        f"layer {layer.id}: parameter {name!r} has {serving[phase, name]} "
                        f"operations of phase {phase}; it needs one"
                    )
    if graph.mode == "train" and (graph.optimizer is None or graph.loss is None):
        yield "a graph of mode train needs a loss and an optimizer"
