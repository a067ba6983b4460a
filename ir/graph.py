"""OpGraph: one training step, or one inference, of a model as data.

A graph holds operations, tensors, layers, sizes, costs and importance; no weights and no
code.  Views do not exist: an operand says with which shape, strides and offset it reads a
tensor's bytes.  What a plan may choose is data too: each operation lists the *alternatives*
by which it can be executed, and an operation runs only if something that runs needs its
result.  So a fused or sliced way of doing a thing is an alternative with other operands, and
the operations it makes superfluous simply are not needed.

Reading rules that the solver, the checker and the executors share:

* Operations stand in traced order, each update right after its gradient; every operand is
  written by an earlier operation or comes from outside (``input``, ``label``, ``parameter``,
  ``state``, ``constant``).
* Phases ``forward`` and ``backward`` run in the body of the loop over micro-batches.  With one
  micro-batch, ``update`` operations run in the body and no accumulators exist.  With several,
  ``clear`` operations run in the prologue, ``accumulate`` in the body and ``apply`` in the
  epilogue instead.  ``statistics`` (running averages) run in the body always, once.
  ``constant`` operations have no varying operands: they are computed once, when the weights are
  loaded, and take no part in the plan.
* ``mutates`` names tensors that an operation rewrites in their own bytes.  After an ``update``
  or ``apply`` of a parameter nothing may read it any more in the same batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import TypeAliasType

from memplan.ir.base import Contract, Document, Name
from memplan.ir.dtypes import Dtype
from memplan.ir.errors import GraphError, MemplanError
from memplan.ir.limits import MAX_COVERED, MAX_OPERATIONS, MAX_RANK, MAX_TENSORS
from memplan.ir.units import Affine

__all__ = [
    "Alternative",
    "Argument",
    "AxisName",
    "AxisSize",
    "BatchNorm",
    "ChannelAxis",
    "DtypeArgument",
    "FloatArgument",
    "InPlacePair",
    "Layer",
    "LayerKind",
    "LocalArgument",
    "Loss",
    "LossKind",
    "LossTarget",
    "Mode",
    "OpGraph",
    "Operand",
    "OperandArgument",
    "Operation",
    "Optimizer",
    "OptimizerKind",
    "Phase",
    "PhantomArgument",
    "Quantization",
    "QuantizationScheme",
    "QuantizedStep",
    "Role",
    "RunningArgument",
    "SizeArgument",
    "Tensor",
    "TensorQuantization",
    "UpdatedAxis",
    "WeightSource",
    "walk_arguments",
]

Phase = Literal[
    "constant", "forward", "backward", "update", "statistics", "clear", "accumulate", "apply"
]
Role = Literal[
    "input",        # a batch of samples, written by the host
    "label",        # the target of the loss, written by the host
    "parameter",    # a weight or bias; in RAM only if it is updated
    "state",        # optimizer state, running statistics: always in RAM if something mutates it
    "constant",     # computed once when weights are loaded, or shipped with them
    "activation",   # forward result
    "gradient",     # backward result
    "accumulator",  # sum of a parameter's gradient over the micro-batches
]  # fmt: skip
AxisName = Literal["input", "output"]
#: What of a weight is updated: channels along an axis, or all of it.
UpdatedAxis = Literal["input", "output", "whole"]
Mode = Literal["train", "infer"]
LossKind = Literal["cross_entropy", "mse"]
LossTarget = Literal["labels", "input"]
OptimizerKind = Literal["sgd", "momentum", "adam"]
BatchNorm = Literal["frozen", "train"]
QuantizationScheme = Literal["none", "int8"]
LayerKind = Literal["convolution", "linear", "embedding", "normalization", "parameter"]

#: Potentials and norms; capped so that sums and ratios stay finite.
Worth = Annotated[float, Field(ge=0, le=1e30)]
Elements = Annotated[tuple[Affine, ...], Field(max_length=MAX_RANK)]


class AxisSize(Contract):
    """How a size follows the update mask.

    Where the mask takes ``c`` channels of the layer along ``axis``, the bytes (or MACs) are
    ``c / channels`` of the full number, exactly.
    """

    axis: AxisName
    channels: Annotated[int, Field(ge=1)]
    #: The dimension of the tensor that is cut; null for costs.
    dim: Annotated[int, Field(ge=0, le=MAX_RANK)] | None = None


class QuantizedStep(Contract):
    """The last step to an integer parameter, or to a table that goes with it.

    Of a real weight (from the source that the step belongs to, or ``weight``), per channel ``o``
    of dimension 0: ``scales[o] = max |weight[o]| / 127``, and no less than 2**-12 of the largest
    of them (1 where the weight is zero), in float32.

    ``scales``: these.  ``weight``: ``weight / scales``, rounded half to even.  ``bias``:
    ``bias / (scales * input_scale)``, rounded half to even, within 2**30.  ``multipliers`` and
    ``shifts``: ``fixed_point(input_scale * scales[o] / output_scale)`` (``ir.fixed_point``).
    """

    result: Literal["weight", "bias", "scales", "multipliers", "shifts"]
    input_scale: Annotated[float, Field(gt=0)] = 1.0
    output_scale: Annotated[float, Field(gt=0)] = 1.0
    #: For a bias: the real weight that its scales come from.
    weight: WeightSource | None = None


class WeightSource(Contract):
    """Where the value of a parameter comes from, so that files can be read without code.

    ``copy``: the named tensor.  ``folded_weight`` of (weight, gamma, running_var):
    ``weight * gamma / sqrt(running_var + epsilon)`` along dimension 0 (dimension 1 where
    ``transposed``).  ``folded_bias`` of (bias or "", beta, gamma, running_mean, running_var):
    ``(bias - running_mean) * gamma / sqrt(running_var + epsilon) + beta``.  An empty name
    stands for 1 (weight, gamma) or 0 (bias, beta).  ``zeros``: optimizer state.  ``quantized``
    says what integers are made of that.
    """

    kind: Literal["copy", "folded_weight", "folded_bias", "zeros"]
    names: tuple[Annotated[str, Field(max_length=400)], ...] = ()
    epsilon: float = 0.0
    transposed: bool = False
    quantized: QuantizedStep | None = None


class TensorQuantization(Contract):
    """What integers stand for: ``scale * scales[channel] * (integer - zero_point)``."""

    scale: Annotated[float, Field(gt=0)] = 1.0
    zero_point: Annotated[int, Field(ge=-128, le=127)] = 0
    #: A constant with one factor per channel of dimension 0; null: 1.
    scales: Name | None = None


class Tensor(Contract):
    """One block of bytes.  Views of it are operands, not tensors."""

    id: Name
    role: Role
    dtype: Dtype
    shape: Elements
    #: In elements.
    strides: Elements
    #: Bytes of the whole block, without any mask.
    size_bytes: Affine
    #: The layer whose update mask cuts this tensor, if any.
    layer: Name | None = None
    slices: tuple[AxisSize, ...] = ()
    source: WeightSource | None = None
    #: Of integers that stand for real numbers; the host hands over an input as such integers.
    quantization: TensorQuantization | None = None


class Operand(Contract):
    """A tensor as an operation reads it; null geometry means the tensor's own."""

    tensor: Name
    shape: Elements | None = None
    strides: Elements | None = None
    #: In elements of the tensor's dtype.
    offset: Affine = Affine(0)


class OperandArgument(Contract):
    """The operand at this index of the alternative's ``reads``."""

    operand: Annotated[int, Field(ge=0)]


class SizeArgument(Contract):
    """A whole number that depends on the micro-batch."""

    size: Affine


class DtypeArgument(Contract):
    dtype: Dtype


class FloatArgument(Contract):
    """A float that JSON cannot write."""

    value: Literal["inf", "-inf", "nan"]


class RunningArgument(Contract):
    """In a ``memplan.elementwise`` program: the value so far."""

    running: Literal[True]


class LocalArgument(Contract):
    """In a ``memplan.row_strips`` program: the result of the entry at this index."""

    local: Annotated[int, Field(ge=0)]


class PhantomArgument(Contract):
    """A tensor whose shape matters and whose values are never read."""

    phantom: Elements
    dtype: Dtype


Argument = TypeAliasType(
    "Argument",
    "bool | int | float | str | OperandArgument | SizeArgument | DtypeArgument"
    " | FloatArgument | RunningArgument | LocalArgument | PhantomArgument"
    " | tuple[Argument, ...] | None",
)


class InPlacePair(Contract):
    """The written tensor may take exactly the bytes of this operand's tensor, if it dies here."""

    #: Index into the alternative's ``reads``.
    read: Annotated[int, Field(ge=0)]
    #: Index into the operation's ``writes``.
    write: Annotated[int, Field(ge=0)]


class Alternative(Contract):
    """One way to execute an operation.  The first of an operation is the plain one."""

    name: Name
    #: ATen overload (``aten.relu.default``) or an operation of ours (``memplan.sgd``).
    target: Name
    reads: tuple[Operand, ...] = ()
    arguments: tuple[Argument, ...] = ()
    keywords: dict[str, Argument] = {}
    in_place: tuple[InPlacePair, ...] = ()
    workspace_bytes: Affine = Affine(0)
    #: Multiply-accumulates, without any mask.
    macs: Affine = Affine(0)
    #: Bytes read and written, without any mask.
    moved_bytes: Affine = Affine(0)
    #: How MACs, moved bytes and workspace follow the mask of the operation's layer.
    slices: tuple[AxisSize, ...] = ()
    #: Null: always allowed.  Else allowed where the operation's layer is cut along one of
    #: these axes; "whole" stands for a weight that is updated uncut.
    axes: tuple[UpdatedAxis, ...] | None = None
    #: Updates (or accumulations) that this alternative performs as well, as one block: it mutates
    #: what they mutate, and they do not run by themselves.  See ``ir.blocks``.
    covers: Annotated[tuple[Name, ...], Field(max_length=MAX_COVERED)] = ()
    #: Index into ``reads`` of an operand that is used up: its bytes are scratch of the step as soon
    #: as nothing needs them, so it dies here.  The results are then written last, when everything
    #: has been read: they live from the next step on, and may lie on whatever dies in this one.
    uses_up: Annotated[int, Field(ge=0)] | None = None


class Operation(Contract):
    id: Name
    phase: Phase
    #: The layer that this operation computes, or whose update it serves.
    layer: Name | None = None
    #: For phases update, clear, accumulate and apply: the parameter that it serves.
    parameter: Name | None = None
    #: Tensors that come into being here.
    writes: tuple[Name, ...] = ()
    #: Tensors that are rewritten in their own bytes.
    mutates: tuple[Name, ...] = ()
    alternatives: Annotated[tuple[Alternative, ...], Field(min_length=1, max_length=16)]
    #: May it run more than once?
    recomputable: bool = False


class ChannelAxis(Contract):
    """The channels of a layer's weight along one axis."""

    name: AxisName
    channels: Annotated[int, Field(ge=1)]
    #: Fisher potential of each channel (TinyTrain eq. 2); empty without samples.
    potentials: tuple[Worth, ...] = ()
    #: L2 norm of the weight's slice of each channel (MCUNetV3 "magnitude+"); empty if unknown.
    norms: tuple[Worth, ...] = ()


class Layer(Contract):
    """An operation with parameters: what an update mask chooses from."""

    id: Name
    kind: LayerKind
    weight: Name | None
    bias: Name | None
    #: Number of elements of weight and bias.
    parameter_count: Annotated[int, Field(ge=1)]
    #: Number of elements of the bias alone.
    bias_parameters: Annotated[int, Field(ge=0)] = 0
    forward_macs: Affine
    #: Axes along which the weight may be updated in part; empty: whole or not at all.
    axes: tuple[ChannelAxis, ...] = ()
    #: P_l, sum of the output channels' Fisher potentials (TinyTrain eq. 2); null without samples.
    fisher: Worth | None = None
    #: Fisher potential of the bias alone; null without samples or bias.
    bias_fisher: Worth | None = None


class Loss(Contract):
    kind: LossKind
    target: LossTarget


class Optimizer(Contract):
    kind: OptimizerKind
    learning_rate: Annotated[float, Field(gt=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: Annotated[float, Field(gt=0)] = 1e-8


class Quantization(Contract):
    """How a graph computes in integers."""

    scheme: Literal["int8"] = "int8"
    #: Samples that the ranges of activations were seen on; 0: random ones, so ranges are a guess.
    calibration_samples: Annotated[int, Field(ge=0)] = 0
    #: Updates of integers are scaled so that they equal those of real weights (MCUNetV3 eq. 4).
    quantization_aware_scaling: bool = True


class OpGraph(Document):
    """One training step, or one inference, of a model."""

    error: ClassVar[type[MemplanError]] = GraphError

    schema_: Annotated[Literal["memplan.graph/1"], Field(alias="schema")] = "memplan.graph/1"
    name: Name
    mode: Mode
    loss: Loss | None = None
    optimizer: Optimizer | None = None
    batch_norm: BatchNorm = "frozen"
    #: Null: everything is in floating point.
    quantization: Quantization | None = None
    #: The batch that the model was traced at.
    traced_batch: Annotated[int, Field(ge=1)]
    #: Sizes hold for every batch; else only for the traced one.
    batch_symbolic: bool
    #: Why samples of a batch depend on each other, so that micro-batch = batch; "" if they do not.
    batch_coupled_by: Annotated[str, Field(max_length=400)] = ""
    #: Samples that Fisher importance was computed from; 0: importance is a proxy.
    importance_samples: Annotated[int, Field(ge=0)] = 0
    tensors: Annotated[tuple[Tensor, ...], Field(max_length=MAX_TENSORS)]
    operations: Annotated[tuple[Operation, ...], Field(max_length=MAX_OPERATIONS)]
    layers: Annotated[tuple[Layer, ...], Field(max_length=MAX_OPERATIONS)] = ()
    #: Tensors that the host reads at the end of each trip of the body (the loss; in infer mode
    #: the model's outputs).
    outputs: tuple[Name, ...]

    model_config = Document.model_config | {"populate_by_name": True}

    @cached_property
    def tensor(self) -> dict[str, Tensor]:
        """Tensors by id."""
        return {tensor.id: tensor for tensor in self.tensors}

    @cached_property
    def operation(self) -> dict[str, Operation]:
        """Operations by id."""
        return {operation.id: operation for operation in self.operations}

    @cached_property
    def layer(self) -> dict[str, Layer]:
        """Layers by id."""
        return {layer.id: layer for layer in self.layers}

    @cached_property
    def producer(self) -> dict[str, Operation]:
        """The operation that writes each tensor; tensors from outside are absent."""
        return {name: operation for operation in self.operations for name in operation.writes}

    @model_validator(mode="after")
    def _is_well_formed(self) -> OpGraph:
        from memplan.ir.well_formed import find_fault  # the rules are a page of their own

        fault = find_fault(self)
        if fault is not None:
            raise ValueError(fault)
        return self


def walk_arguments(argument: Any) -> Iterator[Any]:
    """Yield every leaf of an argument tree."""
    if isinstance(argument, tuple):
        for part in argument:
            yield from walk_arguments(part)
    else:
        yield argument
