"""One capture: the training step (or the inference) of a model as a flat ATen graph.

``make_fx`` around ``torch.autograd.grad`` on fake CPU tensors, with no decomposition table: the
core decompositions give wrong gradients with attention, and meta tensors take other kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from torch.utils import _pytree as pytree

from memplan.ir.errors import ModelError
from memplan.tracing.capture_forward import (
    Forward,
    LocatedInterpreter,
    explained,
    fake_attributes,
    fake_inputs,
)
from memplan.tracing.settings import TraceSettings

__all__ = ["Capture", "LossInputs", "capture", "choose_outputs"]

LABELS = "labels"


@dataclass(frozen=True, slots=True)
class LossInputs:
    """What the loss reads beside the model's output."""

    #: Position of the chosen output among the model's flat outputs.
    output: int
    #: Shape of the labels behind the batch dimension, and their type; None: no labels.
    labels: tuple[tuple[int, ...], torch.dtype] | None
    #: Position of the model input that is the target; None: labels are.
    target_input: int | None = None


@dataclass
class Capture:
    """A flat graph at one batch."""

    batch: int
    module: fx.GraphModule
    #: Names of the placeholders: attributes, inputs, labels.
    placeholders: list[str]
    #: Trainable attributes, in the order of the gradients.
    wanted: list[str]
    #: Nodes of the loss or of the outputs; then one per gradient, or None.
    results: list[fx.Node | None] = field(default_factory=list)
    gradients: list[fx.Node | None] = field(default_factory=list)

    @property
    def graph(self) -> fx.Graph:
        return self.module.graph


def choose_outputs(forward: Forward, result: Any) -> list[int]:
    """Return the positions of the floating tensors among the flat outputs, the logits first.

    Raises:
        ModelError: there is none.
    """
    flat, _ = pytree.tree_flatten(result)
    floating = [
        index
        for index, value in enumerate(flat)
        if isinstance(value, torch.Tensor) and value.dtype.is_floating_point
    ]
    if not floating:
        raise ModelError(f"{forward.model.name}: the model returns no floating-point tensor")
    names = _output_names(forward.graph, len(flat))
    logits = [index for index in floating if names[index] == "logits"]
    return logits + [index for index in floating if index not in logits]


def capture(
    forward: Forward,
    settings: TraceSettings,
    loss: LossInputs | None,
    outputs: list[int],
    batch: int,
) -> Capture:
    """Trace the model at a batch.

    Raises:
        ModelError: the model cannot be traced, or depends on the values of its inputs.
    """
    names = list(forward.attributes)
    wanted = [name for name in names if name in forward.trainable] if loss is not None else []
    with FakeTensorMode(), torch.random.fork_rng(devices=[]):
        attributes = fake_attributes(forward.attributes, wanted)
        inputs = fake_inputs(forward.model, batch)
        placeholders = names + [spec.name for spec in forward.model.inputs]
        if loss is not None and loss.labels is not None:
            shape, dtype = loss.labels
            inputs.append(torch.empty((batch, *shape), dtype=dtype, device="cpu"))
            placeholders.append(LABELS)
        interpreter = _Recorder(forward.graph, dict(attributes))
        buffers = [name for name in names if name not in wanted]

        def step(*values: torch.Tensor) -> Any:
            interpreter.attributes = dict(zip(names, values, strict=False))
            given = list(values[len(names) :])
            user_inputs = given[: len(forward.model.inputs)]
            if loss is None:
                with torch.no_grad():
                    flat = pytree.tree_leaves(
                        interpreter.run(*user_inputs, enable_io_processing=False)
                    )
                results = [flat[index] for index in outputs]
                return results, [], [interpreter.attributes[name] for name in buffers]
            flat = pytree.tree_leaves(interpreter.run(*user_inputs, enable_io_processing=False))
            interpreter.origin = "loss"
            target = given[-1] if loss.target_input is None else given[loss.target_input]
            value = loss_value(settings, flat[loss.output], target)
            result = value.detach()
            interpreter.mark()
            interpreter.begin_backward()
            gradients = torch.autograd.grad(
                value, [interpreter.attributes[name] for name in wanted], allow_unused=True
            )
            interpreter.mark()
            return [result], list(gradients), [interpreter.attributes[n] for n in buffers]

        with explained(forward.model.name, interpreter), plain_recurrence():
            traced = make_fx(step)(*attributes.values(), *inputs)
            if _mutates(traced.graph):
                for value in attributes.values():
                    value.requires_grad_(False)
                again = _Recorder(traced.graph, {})
                traced = make_fx(
                    torch.func.functionalize(lambda *values: again.run(*values), remove="mutations")
                )(*attributes.values(), *inputs)
    return _read(traced, batch, placeholders, wanted)


@contextmanager
def plain_recurrence() -> Iterator[None]:
    """Make an LSTM trace to its steps, as a GRU does, and not to one opaque oneDNN kernel.

    That kernel gives less than the traced shapes promise (no workspace), and hides its MACs.
    """
    # Not torch.backends.mkldnn.flags: it also sets TF32, which warns.
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


def loss_value(settings: TraceSettings, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean loss over all targets."""
    if settings.loss == "mse":
        return F.mse_loss(output, target.reshape(output.shape))
    if output.dim() == 3:  # (N, T, V): the classes come last
        return F.cross_entropy(output.reshape(-1, output.shape[-1]), target.reshape(-1))
    return F.cross_entropy(output, target)


class _Recorder(LocatedInterpreter):
    """Runs a graph under make_fx and tells every traced node which node it comes from."""

    def __init__(self, graph: fx.Graph, attributes: dict[str, torch.Tensor]) -> None:
        super().__init__(graph, attributes)
        self.origin: str | None = None
        self.backward = False
        self._last: fx.Node | None = None

    def run_node(self, n: fx.Node) -> Any:
        known = n.meta.get("memplan")
        self.origin, self.backward = known if known is not None else (n.name, self.backward)
        result = super().run_node(n)
        self.mark()
        return result

    def mark(self) -> None:
        """Give the nodes traced since the last call their origin."""
        mode = get_proxy_mode()
        if mode is None:
            return
        graph = mode.tracer.graph
        node = graph._root.prev
        newest = node
        while node is not graph._root and node is not self._last:
            if node.op != "placeholder":
                node.meta.setdefault("memplan", (self.origin, self.backward))
            node = node.prev
        self._last = newest

    def begin_backward(self) -> None:
        self.origin, self.backward = None, True


def _mutates(graph: fx.Graph) -> bool:
    return any(
        node.op == "call_function"
        and isinstance(node.target, torch._ops.OpOverload)
        and node.target._schema.is_mutable
        for node in graph.nodes
    )


def _read(
    module: fx.GraphModule, batch: int, placeholders: list[str], wanted: list[str]
) -> Capture:
    """Take the traced graph apart: results and gradients."""
    module.graph.eliminate_dead_code()
    (output,) = module.graph.find_nodes(op="output")
    results, gradients, _ = output.args[0]
    return Capture(
        batch=batch,
        module=module,
        placeholders=placeholders,
        wanted=wanted,
        results=list(results),
        gradients=list(gradients),
    )


def _output_names(graph: fx.Graph, count: int) -> Sequence[str]:
    """Return the keys of a model's outputs where it returns a dictionary or a ModelOutput."""
    information = getattr(graph._codegen, "pytree_info", None)
    spec = getattr(information, "out_spec", None)
    if spec is None:
        return [""] * count
    marks = pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    names = [""] * max(count, spec.num_leaves)
    if hasattr(marks, "keys"):
        for key in marks.keys():  # noqa: SIM118 - a ModelOutput is no dict
            if isinstance(marks[key], int):
                names[marks[key]] = str(key)
    return names
