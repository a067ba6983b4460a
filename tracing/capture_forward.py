"""The forward graph made ready for capture: a copy that passes may rewrite, with its facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from memplan.ir.errors import MemplanError, ModelError
from memplan.ir.graph import WeightSource
from memplan.tracing.loaded import LoadedModel

__all__ = [
    "Forward",
    "LocatedInterpreter",
    "Site",
    "attribute_value",
    "copy_forward",
    "explained",
    "fake_attributes",
    "fake_inputs",
    "run_forward",
]


@dataclass(frozen=True, slots=True)
class Site:
    """A batch norm over batch statistics: which running averages it feeds."""

    running: tuple[str, ...]
    momentum: float
    epsilon: float


@dataclass
class Forward:
    """The forward graph of a model on its way to capture."""

    model: LoadedModel
    graph: fx.Graph
    #: Shape and type of every parameter, buffer and constant (meta tensors).
    attributes: dict[str, torch.Tensor]
    trainable: set[str]
    #: Attributes that are parameters of the module, trainable or not.
    parameters: set[str] = field(default_factory=set)
    #: How values of attributes follow from the file; absent: copied under their own name.
    sources: dict[str, WeightSource] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)
    #: Shape of every node's result at the batch of the example inputs.
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)
    #: Dropouts seen so far; each has a salt of its own.
    dropouts: int = 0

    def attribute_behind(self, node: Any) -> str | None:
        """Return the attribute that ``node`` reads, if it is one."""
        if isinstance(node, fx.Node) and node.op == "get_attr":
            return str(node.target)
        return None

    def add_attribute(self, name: str, like: torch.Tensor, trainable: bool) -> str:
        """Add a parameter under a name not yet taken."""
        unique, count = name, 1
        while unique in self.attributes:
            count += 1
            unique = f"{name}.{count}"
        self.attributes[unique] = torch.empty_like(like, device="meta")
        if trainable:
            self.trainable.add(unique)
        return unique

    def drop_unread_attributes(self) -> None:
        """Forget attributes that no node reads any more; running averages stay."""
        read = {str(node.target) for node in self.graph.nodes if node.op == "get_attr"}
        kept = read | {name for site in self.sites for name in site.running}
        self.trainable &= read
        self.attributes = {name: like for name, like in self.attributes.items() if name in kept}

    def readers_of(self, attribute: str) -> list[fx.Node]:
        """Return the nodes that read an attribute."""
        return [
            user
            for node in self.graph.nodes
            if node.op == "get_attr" and node.target == attribute
            for user in node.users
        ]


def copy_forward(model: LoadedModel) -> Forward:
    """Return the model's forward graph as a copy of its own.

    Raises:
        ModelError: the graph calls something that is no ATen operation.
    """
    graph = fx.Graph()
    renamed: dict[fx.Node, fx.Node] = {}
    result = graph.graph_copy(model.forward.graph, val_map=renamed)
    graph.output(result)
    graph.set_codegen(model.forward.graph._codegen)
    attributes: dict[str, torch.Tensor] = {}
    parameters: set[str] = set()
    for node in list(graph.nodes):
        if node.op == "get_attr":
            node.target = model.tied.get(str(node.target), str(node.target))
            value = _attribute(model.forward, node.target)
            attributes[node.target] = _as_meta(value)
            if isinstance(value, torch.nn.Parameter):
                parameters.add(node.target)
        elif node.op == "call_module" and not node.users:
            graph.erase_node(node)  # guards of torch.export on the inputs' sizes
        elif node.op not in ("placeholder", "call_function", "output"):
            raise ModelError(
                f"{model.name}: the graph has a {node.op} node ({node.target}); "
                "export the model again with torch.export.export"
            )
    _merge_attribute_nodes(graph)
    trainable = {model.tied.get(name, name) for name in model.trainable} & set(attributes)
    return Forward(
        model=model,
        graph=graph,
        attributes=attributes,
        trainable=trainable,
        parameters=parameters | trainable,
    )


def run_forward(forward: Forward) -> Any:
    """Run the forward graph on fake tensors, note every node's shape, return the result's shapes.

    Raises:
        ModelError: the graph does not run.
    """
    with FakeTensorMode():
        attributes = fake_attributes(forward.attributes, ())
        inputs = fake_inputs(forward.model, forward.model.batch)
        shapes = _ShapeInterpreter(forward, attributes)
        with torch.no_grad(), explained(forward.model.name, shapes):
            return shapes.run(*inputs, enable_io_processing=False)


def fake_attributes(
    attributes: dict[str, torch.Tensor], trainable: Iterable[str]
) -> dict[str, torch.Tensor]:
    """Return fake CPU tensors like the given ones; call it inside a fake tensor mode.

    On fake CPU tensors, not meta: dispatch then takes the kernels that a CPU executor has.
    """
    fakes = {
        name: torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device="cpu")
        for name, like in attributes.items()
    }
    for name in trainable:
        fakes[name].requires_grad_(True)
    return fakes


def fake_inputs(model: LoadedModel, batch: int) -> list[torch.Tensor]:
    """Return fake inputs at another batch: the first dimension, where it is the batch, changes."""
    return [
        torch.empty(
            (batch, *spec.shape[1:]) if model.batched(spec) else spec.shape,
            dtype=spec.dtype,
            device="cpu",
        )
        for spec in model.inputs
    ]


@contextmanager
def explained(name: str, interpreter: LocatedInterpreter) -> Iterator[None]:
    """Turn what torch raises while a graph runs on fake tensors into one line."""
    try:
        yield
    except MemplanError:
        raise
    except Exception as failure:
        node = interpreter.node
        where = f" at {node.target} ({node.name})" if node is not None else ""
        reason = next((line for line in str(failure).splitlines() if line.strip()), "")
        raise ModelError(
            f"{name}: the model cannot be traced{where}: {type(failure).__name__}: {reason[:200]}"
        ) from failure


class LocatedInterpreter(fx.Interpreter):
    """An interpreter that knows where it is, and takes attributes from a dictionary."""

    def __init__(self, graph: fx.Graph, attributes: dict[str, torch.Tensor]) -> None:
        super().__init__(torch.nn.Module(), graph=graph)
        self.attributes = attributes
        self.node: fx.Node | None = None

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        return self.attributes[target]

    def run_node(self, n: fx.Node) -> Any:
        self.node = n
        return super().run_node(n)


class _ShapeInterpreter(LocatedInterpreter):
    def __init__(self, forward: Forward, attributes: dict[str, torch.Tensor]) -> None:
        super().__init__(forward.graph, attributes)
        self.forward_facts = forward

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.forward_facts.shapes[n.name] = tuple(result.shape)
            self.forward_facts.dtypes[n.name] = result.dtype
        return result


def attribute_value(forward: Forward, name: str) -> torch.Tensor | None:
    """Return the value of a buffer or constant that the loaded graph holds, if it does."""
    if name in forward.parameters or name in forward.sources:
        return None
    value = _attribute(forward.model.forward, name)
    return None if value.is_meta or isinstance(value, FakeTensor) else value


def _as_meta(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _attribute(module: torch.nn.Module, name: str) -> torch.Tensor:
    *path, last = name.split(".")
    owner: Any = module
    for part in path:
        owner = getattr(owner, part)
    value = getattr(owner, last)
    if not isinstance(value, torch.Tensor):
        raise ModelError(f"attribute {name} of the graph is a {type(value).__name__}, not a tensor")
    return value


def _merge_attribute_nodes(graph: fx.Graph) -> None:
    """Let each attribute have one node, so that its users are all its readers."""
    first: dict[str, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "get_attr":
            continue
        known = first.setdefault(str(node.target), node)
        if known is not node:
            node.replace_all_uses_with(known)
            graph.erase_node(node)
