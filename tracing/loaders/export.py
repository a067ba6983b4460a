"""From a module and example inputs to a ``LoadedModel``, through ``torch.export``."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind, TensorArgument
from torch.utils import _pytree as pytree

from memplan.ir.errors import ModelError
from memplan.tracing.loaded import InputSpec, LoadedModel
from memplan.tracing.loaders.failures import one_line
from memplan.tracing.loaders.names import input_name
from memplan.tracing.loaders.quiet import quietly
from memplan.tracing.loaders.rebatch import batch_free
from memplan.tracing.loaders.unlift import Attribute, Baked, Binding, UserInput, unlift
from memplan.tracing.loaders.values import MAX_VALUE_BYTES, on_meta, statistics_only

__all__ = ["load_module"]

ReadWeights = Callable[[], Mapping[str, torch.Tensor]]


def load_module(
    module: torch.nn.Module,
    example_inputs: Any,
    name: str = "",
    *,
    source: str = "",
    read_weights: ReadWeights | None = None,
) -> LoadedModel:
    """Export a module as it is, train or eval mode included.

    Args:
        module: its weights may be on the meta device.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments, batch
            included.
        name: what to call the model; by default the class's name.
        source: where it came from.
        read_weights: gives the values of parameters and buffers; by default, the module's own.

    Raises:
        ModelError: the module cannot be exported, or its inputs hold no tensor.
    """
    name = name or type(module).__name__
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{name}: expected a torch.nn.Module, got {type(module).__name__}")
    positional, keywords = _call(example_inputs, name)
    tensors = [leaf for leaf in pytree.tree_leaves((positional, keywords)) if torch.is_tensor(leaf)]
    if not tensors or tensors[0].dim() == 0:
        raise ModelError(f"{name}: the first example input must be a tensor with a batch dimension")
    batch = tensors[0].shape[0]
    program = _export(module, positional, keywords, batch, name)
    loaded = _to_loaded(program, module, batch, name)
    loaded = dataclasses.replace(
        loaded,
        source=source,
        read_weights=read_weights or (lambda: _values(module, program)),
        example_inputs=() if tensors[0].is_meta else tuple(tensor.detach() for tensor in tensors),
    )
    return batch_free(loaded)


def _call(example_inputs: Any, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example_inputs, torch.Tensor):
        return (example_inputs,), {}
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    if isinstance(example_inputs, Sequence) and not isinstance(example_inputs, str):
        return tuple(example_inputs), {}
    raise ModelError(
        f"{name}: example inputs must be a tensor, a tuple or a dict, "
        f"not {type(example_inputs).__name__}"
    )


def _export(
    module: torch.nn.Module,
    positional: tuple[Any, ...],
    keywords: dict[str, Any],
    batch: int,
    name: str,
) -> ExportedProgram:
    """Export with a free batch where torch can, else with the batch as given."""
    # Sizes 0 and 1 are always specialised, so one sample is shown twice.
    shown = _doubled((positional, keywords), batch) if batch == 1 else (positional, keywords)
    shown_batch = max(batch, 2)
    with quietly(), _returning_tensors(module):
        try:
            return torch.export.export(
                module, shown[0], shown[1] or None,
                dynamic_shapes=_free_batch(module, shown[0], shown[1], shown_batch), strict=False,
            )  # fmt: skip
        except Exception:  # any model code may raise anything; the static export tells the reason
            pass
        try:
            return torch.export.export(module, positional, keywords or None, strict=False)
        except Exception as error:
            raise ModelError(
                f"{name}: torch.export cannot trace this model ({one_line(error)}); "
                "check that model(*example_inputs) runs and has no data-dependent control flow"
            ) from error


def _free_batch(
    module: torch.nn.Module, positional: tuple[Any, ...], keywords: dict[str, Any], batch: int
) -> dict[str, Any]:
    """Return torch's ``dynamic_shapes``: the leading dimension of what has ``batch`` samples."""
    signature = inspect.signature(module.forward)
    arguments = dict(signature.bind(*positional, **keywords).arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            arguments |= arguments.pop(parameter.name, {})
    shapes: dict[str, Any] = pytree.tree_map(
        lambda leaf: {0: Dim.AUTO} if _grows(leaf, batch) else None, arguments
    )
    return shapes


def _grows(leaf: Any, batch: int) -> bool:
    return torch.is_tensor(leaf) and leaf.dim() > 0 and leaf.shape[0] == batch


def _doubled(tree: Any, batch: int) -> Any:
    return pytree.tree_map(
        lambda leaf: torch.cat([leaf, leaf]) if _grows(leaf, batch) else leaf, tree
    )


@contextmanager
def _returning_tensors(module: torch.nn.Module) -> Iterator[None]:
    """Let the module return its tensors alone: torch exports no output of an unknown class."""
    handle = module.register_forward_hook(lambda _, inputs, output: tuple(_tensors_in(output)))
    try:
        yield
    finally:
        handle.remove()


def _tensors_in(output: Any) -> Iterator[torch.Tensor]:
    for leaf in pytree.tree_leaves(output):
        if isinstance(leaf, torch.Tensor):
            yield leaf
        elif isinstance(leaf, Mapping):
            yield from _tensors_in(dict(leaf))
        elif dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            yield from _tensors_in([getattr(leaf, part.name) for part in dataclasses.fields(leaf)])


def _to_loaded(
    program: ExportedProgram, module: torch.nn.Module, batch: int, name: str
) -> LoadedModel:
    signature = program.graph_signature
    mutations: dict[int, str] = {}
    for position, output in enumerate(signature.output_specs):
        if output.kind is OutputKind.BUFFER_MUTATION:
            mutations[position] = str(output.target)
        elif output.kind is not OutputKind.USER_OUTPUT:
            raise ModelError(f"{name}: the model changes {output.target or 'its input'} in place")
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    tied = _tied_names(module)
    bindings: dict[str, Binding] = {}
    inputs: list[InputSpec] = []
    attributes: dict[str, torch.Tensor] = {}
    trainable: set[str] = set()
    free = True
    for spec in signature.input_specs:
        argument = spec.arg
        if spec.kind is InputKind.USER_INPUT:
            if not isinstance(argument, TensorArgument):
                bindings[argument.name] = Baked(getattr(argument, "value", None))
                continue
            shape = placeholders[argument.name].meta["val"].shape
            dtype = placeholders[argument.name].meta["val"].dtype
            if not inputs:
                free = not shape or not isinstance(shape[0], int)
            sizes = tuple(size if isinstance(size, int) else batch for size in shape)
            inputs.append(InputSpec(input_name(argument.name, len(inputs)), sizes, dtype))
            bindings[argument.name] = UserInput(inputs[-1].name)
        elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
            target = str(spec.target)
            first = tied.get(target, target)
            bindings[argument.name] = Attribute(target)
            tensor = _find(program, first if spec.kind is not InputKind.CONSTANT_TENSOR else target)
            is_parameter = spec.kind is InputKind.PARAMETER
            users = placeholders[argument.name].users
            if is_parameter:
                attributes[first] = on_meta(tensor, parameter=True)
                if tensor.requires_grad and users:
                    trainable.add(first)
            elif (
                tensor.is_meta
                or statistics_only(users)
                or tensor.numel() * tensor.itemsize > MAX_VALUE_BYTES
            ):
                attributes[first] = on_meta(tensor, parameter=False)
            else:
                attributes[first] = tensor.detach().cpu().clone()
        else:
            raise ModelError(
                f"{name}: the model holds a {spec.kind.name.lower()}, which is no tensor"
            )
    forward = unlift(program.graph, bindings, attributes, tied, name, mutations=mutations)
    return LoadedModel(
        name=name,
        forward=forward,
        inputs=tuple(inputs),
        read_weights=dict,
        trainable=frozenset(trainable),
        tied={second: first for second, first in tied.items() if first in attributes},
        batch_free=free,
    )


def _find(program: ExportedProgram, name: str) -> torch.Tensor:
    tensor = program.state_dict.get(name)
    if tensor is None:
        tensor = program.constants[name]
    assert isinstance(tensor, torch.Tensor)
    return tensor


def _tied_names(module: torch.nn.Module) -> dict[str, str]:
    """Return second name -> first name of parameters and buffers that are one tensor."""
    first_names: dict[int, str] = {}
    tied: dict[str, str] = {}
    for named in (module.named_parameters, module.named_buffers):
        for name, tensor in named(remove_duplicate=False):
            first = first_names.setdefault(id(tensor), name)
            if first != name:
                tied[name] = first
    return tied


def _values(module: torch.nn.Module, program: ExportedProgram) -> dict[str, torch.Tensor]:
    """Return the module's present values, and constants as they were at the export."""
    values = {
        name: tensor.detach()
        for name, tensor in program.constants.items()
        if isinstance(tensor, torch.Tensor)
    }
    for named in (module.named_parameters, module.named_buffers):
        values |= {name: tensor.detach() for name, tensor in named(remove_duplicate=False)}
    return values
