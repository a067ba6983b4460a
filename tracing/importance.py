"""Fisher importance of layers and channels, from a user's samples.

The Fisher potential of output channel o is ``1/(2N) Σ_n (Σ_d a_nd g_nd)²`` (TinyTrain eq. 2), with
a the activation, g the gradient of sample n's own loss, d the positions of the channel.  A layer
is affine in its parameters, ``a = Σ w · input + b``, so the inner sum is the same number as
``Σ w · ∂loss_n/∂w + b · ∂loss_n/∂b`` over the channel's slice of weight and bias: per-sample
gradients of the parameters are all that is needed, whatever shape activations have.  Likewise

* input channel: the inner sum over the layer's input of that channel and the gradient that
  reaches it through this layer is the sum over the weight's slice;
* bias alone: ``1/(2N) Σ_n Σ_o (b_o · ∂loss_n/∂b_o)²``;
* a weight that several operations read: the sum over all of them.

With batch norm frozen, layers are the folded ones.  Dropout is off.  Where batch norm uses batch
statistics, the loss of one sample depends on the whole batch; its gradient is taken as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch

from memplan.ir.errors import DataError
from memplan.ir.graph import AxisName, Layer, OpGraph
from memplan.tracing.capture import loss_value
from memplan.tracing.channels import (
    Channels,
    affine_parts,
    axis_dimensions,
    channels_of,
    sum_but,
)
from memplan.tracing.data_file import name_samples
from memplan.tracing.loaded import LoadedModel
from memplan.tracing.loaders.failures import one_line
from memplan.tracing.real_forward import RealInterpreter, real_attributes, runs_alone
from memplan.tracing.samples import IGNORED, Samples, check_indices, fitting, model_inputs
from memplan.tracing.settings import TraceSettings
from memplan.tracing.trace import prepare

__all__ = ["fisher", "weight_norms"]

Weights = Mapping[str, torch.Tensor]
Progress = Callable[[int, int], None]


def fisher(
    model: LoadedModel, graph: OpGraph, samples: Samples, progress: Progress | None = None
) -> OpGraph:
    """Return ``graph`` with potentials of layers, channels and biases, and norms of weights.

    Args:
        model: that ``graph`` was traced from; its weights are read.
        graph: a training step.
        samples: with targets ``y``, unless the loss compares with the input.
        progress: called with (samples done, samples) now and then.

    Raises:
        DataError: samples or weights do not fit the model, or a loss is not finite.
    """
    if graph.loss is None:
        raise DataError("importance needs a training step; trace the model with --mode train")
    inputs = model_inputs(samples, model)
    taken = [tensor for tensor in graph.tensors if tensor.role == "input"]
    for tensor, value in zip(taken, inputs, strict=False):
        check_indices(value, tensor, graph, f"{samples.source}: {tensor.id}")
    original = model.read_weights()
    run = _Run(model, graph, original)
    parameters = run.parameters()
    sums = {
        layer.id: _Sums(layer, channels_of(layer, graph, run.forward), run.parts[layer.id])
        for layer in graph.layers
    }
    count = 0
    for gradients in run.per_sample(inputs, samples, list(parameters)):
        moved = dict(zip(parameters, gradients, strict=True))
        if not all(value is None or bool(value.isfinite().all()) for value in gradients):
            raise DataError(_too_large(samples, inputs, count, "gradients are not finite"))
        for layer in graph.layers:
            sums[layer.id].add(parameters, moved)
        count += 1
        if progress is not None:
            progress(count, samples.count)
    layers = tuple(
        _with_norms(sums[layer.id].finished(count), graph, parameters) for layer in graph.layers
    )
    return _with_layers(graph, layers, count)


def weight_norms(graph: OpGraph, weights: Weights) -> OpGraph:
    """Return ``graph`` with the L2 norm of every channel's slice of the weights.

    Args:
        graph: of any mode.
        weights: values of the graph's tensors by id (``build_weights``).
    """
    layers = tuple(_with_norms(layer, graph, weights) for layer in graph.layers)
    return _with_layers(graph, layers, graph.importance_samples)


def _too_large(samples: Samples, inputs: tuple[torch.Tensor, ...], position: int, what: str) -> str:
    largest = max(
        (
            float(value[position].abs().max())
            for value in inputs
            if value.is_floating_point() and value.dim() and len(value) > position
        ),
        default=None,
    )
    size = "" if largest is None else f" (its largest input is {largest:.1e})"
    return (
        f"{samples.source}: sample {position}{size}: its {what}; scale the samples as the model "
        "expects them, and check its weights"
    )


def _with_layers(graph: OpGraph, layers: tuple[Layer, ...], count: int) -> OpGraph:
    # Not model_copy: it would keep the cached dictionaries of the old layers.
    fields = {name: getattr(graph, name) for name in OpGraph.model_fields}
    return OpGraph(**fields | {"layers": layers, "importance_samples": count})


def _with_norms(layer: Layer, graph: OpGraph, weights: Weights) -> Layer:
    if layer.weight is None or layer.weight not in weights or not layer.axes:
        return layer
    squares = weights[layer.weight].detach().double().square()
    dimensions = axis_dimensions(layer, graph)
    axes = tuple(
        axis.model_copy(
            update={"norms": tuple(sum_but(squares, dimensions[axis.name]).sqrt().tolist())}
        )
        for axis in layer.axes
    )
    return layer.model_copy(update={"axes": axes})


class _Sums:
    """Squares of one layer, added up over samples."""

    def __init__(
        self, layer: Layer, channels: Channels, parts: tuple[str | None, str | None]
    ) -> None:
        self.layer = layer
        #: Weight and bias of its operation; a frozen one shapes the activation too.
        self.parts = parts
        self.channels = channels
        self.output: torch.Tensor | float = 0.0
        self.bias = 0.0
        self.axes: dict[AxisName, torch.Tensor | float] = {axis.name: 0.0 for axis in layer.axes}

    def add(self, parameters: Weights, gradients: Mapping[str, torch.Tensor | None]) -> None:
        """Add one sample: its gradients by parameter; None where it has none."""

        def product(name: str | None) -> torch.Tensor | None:
            gradient = gradients.get(name) if name is not None else None
            if name is None or gradient is None:
                return None
            return parameters[name].detach().double() * gradient.double()

        weight, bias = product(self.parts[0]), product(self.parts[1])
        if bias is not None and self.layer.bias is not None:
            self.bias += bias.square().sum().item()
        total = self.channels.output_sums(weight, bias)
        if total is not None:
            self.output = self.output + total.square()
        if weight is None or self.layer.weight is None:
            return
        for name in self.axes:
            along = self.channels.sums(name, weight)
            if name == "output" and total is not None:
                along = total
            self.axes[name] = self.axes[name] + along.square()

    def finished(self, count: int) -> Layer:
        """Return the layer with its potentials."""
        output = torch.as_tensor(self.output, dtype=torch.float64) / (2 * count)
        axes = []
        for axis in self.layer.axes:
            values = torch.as_tensor(self.axes[axis.name], dtype=torch.float64) / (2 * count)
            potentials = values.expand(axis.channels).tolist()
            axes.append(axis.model_copy(update={"potentials": tuple(potentials)}))
        return self.layer.model_copy(
            update={
                "fisher": output.sum().item(),
                "bias_fisher": None if self.layer.bias is None else self.bias / (2 * count),
                "axes": tuple(axes),
            }
        )


class _Run:
    """The forward pass on real values, with gradients of each sample's own loss."""

    def __init__(self, model: LoadedModel, graph: OpGraph, original: Weights) -> None:
        assert graph.loss is not None
        self.model = model
        self.graph = graph
        self.settings = TraceSettings(
            mode="train",
            loss=graph.loss.kind,
            target=graph.loss.target,
            batch_norm=graph.batch_norm,
        )
        self.forward, self.loss, _ = prepare(model, self.settings)
        self.values = real_attributes(self.forward, original)
        self.parts = {layer.id: affine_parts(layer, self.forward) for layer in graph.layers}
        self.coupled = bool(graph.batch_coupled_by)
        self.chunk = model.batch if self.coupled or not runs_alone(model) else 1

    def parameters(self) -> dict[str, torch.Tensor]:
        """Return the layers' parameters as leaves that want a gradient."""
        found = [name for parts in self.parts.values() for name in parts if name is not None]
        names = list(dict.fromkeys(found))
        for name in names:
            if name not in self.values:
                raise DataError(
                    f"importance: the model has no parameter {name!r}; is the graph of another one?"
                )
            self.values[name] = self.values[name].clone().requires_grad_(True)
        return {name: self.values[name] for name in names}

    def per_sample(
        self, inputs: tuple[torch.Tensor, ...], samples: Samples, names: list[str]
    ) -> Iterator[tuple[torch.Tensor | None, ...]]:
        """Yield the gradients of each sample's loss, in the order of ``names``."""
        targets = self._targets(inputs, samples)
        wanted = [self.values[name] for name in names]
        for start in range(0, targets.shape[0], self.chunk):
            rows = range(start, min(start + self.chunk, targets.shape[0]))
            part = self._padded(inputs, rows)
            try:
                losses = self._losses(part, targets[rows.start : rows.stop])
            except (IndexError, RuntimeError, ValueError) as error:
                raise DataError(
                    f"{samples.source}: the model does not compute on {name_samples(rows)} "
                    f"({one_line(error, 160)}); does it take such samples?"
                ) from None
            for position, loss in enumerate(losses):
                if not bool(torch.isfinite(loss)):
                    raise DataError(
                        _too_large(samples, inputs, start + position, f"loss is {loss.item()}")
                    )
                yield torch.autograd.grad(
                    loss, wanted, allow_unused=True, retain_graph=position < len(losses) - 1
                )

    def _targets(self, inputs: tuple[torch.Tensor, ...], samples: Samples) -> torch.Tensor:
        assert self.loss is not None
        if self.loss.target_input is not None:
            return inputs[self.loss.target_input]
        if samples.y is None:
            raise DataError(
                f"{samples.source}: no array y, which the loss compares with; add one target per "
                "sample"
            )
        assert self.loss.labels is not None
        where = f"{samples.source}: y"
        targets = fitting(samples.y, *self.loss.labels, where)
        label = next(tensor for tensor in self.graph.tensors if tensor.role == "label")
        check_indices(targets, label, self.graph, where)
        if not targets.is_floating_point():
            ignored = (targets == IGNORED).reshape(len(targets), -1).all(dim=1).nonzero().flatten()
            if len(ignored):
                raise DataError(
                    f"{where} is {IGNORED}, which means to be ignored, in all of "
                    f"{name_samples(ignored.tolist())}; leave such samples out"
                )
        return targets

    def _padded(self, inputs: tuple[torch.Tensor, ...], rows: range) -> list[torch.Tensor]:
        """Return rows of the inputs; the last chunk repeats its last row where a batch is fixed."""
        part = []
        for value, spec in zip(inputs, self.model.inputs, strict=True):
            if not self.model.batched(spec):
                part.append(value)
                continue
            chosen = value[rows.start : rows.stop]
            missing = self.chunk - len(rows)
            if missing and not (self.coupled and self.model.batch_free):
                chosen = torch.cat([chosen, chosen[-1:].expand(missing, *chosen.shape[1:])])
            part.append(chosen)
        return part

    def _losses(self, part: list[torch.Tensor], targets: torch.Tensor) -> list[torch.Tensor]:
        assert self.loss is not None
        interpreter = RealInterpreter(self.forward, self.values)
        with torch.enable_grad():
            flat = interpreter.run(*part, enable_io_processing=False)
            output = flat[self.loss.output]
            return [
                loss_value(self.settings, output[row : row + 1], targets[row : row + 1])
                for row in range(targets.shape[0])
            ]
