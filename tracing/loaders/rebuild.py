"""Make modules of inert records, after checking every attribute.

What may stand in a module's state: plain data under names that hide no method, tensors in
``_parameters`` and ``_buffers``, modules in ``_modules``.  Hooks, overridden methods,
parametrizations and callables are refused.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from memplan.ir.errors import ModelError
from memplan.ir.limits import MAX_BYTES, MAX_NAME, MAX_OPERATIONS, MAX_RANK
from memplan.tracing.loaders.inert import InertFunction, InertModule
from memplan.tracing.loaders.pt2_weights import TORCH_DTYPES
from memplan.tracing.loaders.values import MAX_VALUE_BYTES

__all__ = ["check_tensor", "rebuild_module"]

MAX_DEPTH = 100
_TABLES = ("_parameters", "_buffers", "_modules")
_PLAIN = (bool, int, float, str, type(None), torch.dtype, torch.device, torch.Size)


def rebuild_module(record: InertModule, where: str) -> nn.Module:
    """Return the module that a record describes; its tensors are those of the file.

    Raises:
        ModelError: its state holds more than data, or does not fit its class.
    """
    try:
        return _Rebuilder(where).module(record, "")
    except RecursionError:
        raise ModelError(f"{where}: modules nested too deeply") from None


def check_tensor(tensor: object, where: str) -> torch.Tensor:
    """Return ``tensor`` if it is a plain strided one of a sound size.

    Raises:
        ModelError: it is a subclass, sparse, quantized, of an unknown dtype, or absurdly large.
    """
    if not isinstance(tensor, torch.Tensor) or type(tensor) not in (torch.Tensor, nn.Parameter):
        raise ModelError(f"{where} is a {type(tensor).__name__[:40]}, not a tensor")
    if tensor.layout is not torch.strided or tensor.dtype not in TORCH_DTYPES.values():
        raise ModelError(f"{where} has layout {tensor.layout} and dtype {tensor.dtype}")
    size_bytes = tensor.numel() * tensor.itemsize
    stored_bytes = tensor.untyped_storage().nbytes()
    if tensor.dim() > MAX_RANK or size_bytes > MAX_BYTES:
        raise ModelError(f"{where} has the absurd shape {tuple(tensor.shape)}")
    if size_bytes > max(stored_bytes, MAX_VALUE_BYTES):
        raise ModelError(f"{where} has {size_bytes} bytes that share {stored_bytes} stored ones")
    return tensor


class _Rebuilder:
    def __init__(self, where: str) -> None:
        self.where = where
        self.modules: dict[int, nn.Module] = {}
        self.open: set[int] = set()
        self.tensors: dict[int, torch.Tensor] = {}

    def module(self, record: InertModule, name: str, depth: int = 0) -> nn.Module:
        if id(record) in self.modules:
            return self.modules[id(record)]
        if depth > MAX_DEPTH or len(self.modules) > MAX_OPERATIONS or id(record) in self.open:
            raise self._fault(name, "modules nested too deeply")
        self.open.add(id(record))
        real = record.real
        state = _plain_dict(record.state)
        if state is None:
            raise self._fault(name, "the state is no dictionary")
        rebuilt: dict[str, Any] = {}
        tables: dict[str, dict[str, Any]] = {}
        for key, value in state.items():
            if type(key) is not str:
                raise self._fault(name, "an attribute without a name")
            if key in _TABLES:
                table = _plain_dict(value)
                if table is None:
                    raise self._fault(name, f"{key} is no dictionary")
                tables[key] = table
            elif key.endswith("_hooks") or "_hooks_" in key:
                if value is not None and (_plain_dict(value) is None or len(value)):
                    raise self._fault(name, f"it has {key.strip('_').replace('_', ' ')}")
            elif key == "_flat_weights" and issubclass(real, nn.RNNBase):
                continue  # made anew from the parameters
            else:
                rebuilt[key] = self._attribute(real, name, key, value)
        module = real.__new__(real)
        nn.Module.__init__(module)
        rebuilt["_parameters"] = self._tensor_table(tables.get("_parameters", {}), name, real, True)
        rebuilt["_buffers"] = self._tensor_table(tables.get("_buffers", {}), name, real, False)
        rebuilt["_modules"] = {
            self._member(real, name, key): None
            if child is None
            else self._child(child, f"{name}.{key}".lstrip("."), depth)
            for key, child in tables.get("_modules", {}).items()
        }
        if isinstance(module, nn.RNNBase):
            parameters = rebuilt["_parameters"]
            names = rebuilt.get("_flat_weights_names", [])
            rebuilt["_flat_weights"] = [parameters.get(str(member)) for member in names]
        try:
            module.__setstate__(rebuilt)  # type: ignore[no-untyped-call]
        except Exception as error:  # the state does not fit the class, in any of many ways
            raise self._fault(name, f"its state does not fit ({type(error).__name__})") from None
        self.open.discard(id(record))
        self.modules[id(record)] = module
        return module

    def _child(self, child: Any, name: str, depth: int) -> nn.Module:
        if not isinstance(child, InertModule):
            raise self._fault(name, f"a {type(child).__name__[:40]} stands where a module should")
        return self.module(child, name, depth + 1)

    def _tensor_table(
        self, table: Mapping[Any, Any], name: str, real: type, parameters: bool
    ) -> dict[str, torch.Tensor | None]:
        checked: dict[str, torch.Tensor | None] = {}
        for key, tensor in table.items():
            member = self._member(real, name, key)
            checked[member] = (
                None if tensor is None else self._tensor(tensor, f"{name}.{key}", parameters)
            )
        return checked

    def _tensor(self, tensor: Any, name: str, parameter: bool) -> torch.Tensor:
        """Return a tensor of our own over the same bytes: attributes and hooks stay behind."""
        if id(tensor) not in self.tensors:
            plain = check_tensor(tensor, f"{self.where}: {name[:80]}").detach()
            wants_gradient = tensor.requires_grad and plain.is_floating_point()
            self.tensors[id(tensor)] = (
                nn.Parameter(plain, requires_grad=wants_gradient) if parameter else plain
            )
        return self.tensors[id(tensor)]

    def _member(self, real: type, name: str, key: Any) -> str:
        if type(key) is not str or not 0 < len(key) <= MAX_NAME or "." in key:
            raise self._fault(name, "a member without a sound name")
        if key.startswith("__") or _hides_code(real, key):
            raise self._fault(name, f"its member {key[:40]!r} would replace code of the class")
        return key

    def _attribute(self, real: type, name: str, key: str, value: Any) -> Any:
        if key.startswith("__") or _hides_code(real, key):
            raise self._fault(name, f"its attribute {key[:40]!r} would replace code of the class")
        if (
            isinstance(value, type)
            and issubclass(value, InertFunction)
            and issubclass(real, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer))
            and key == "activation"
        ):
            return value.real
        return self._data(name, key, value, 0)

    def _data(self, name: str, key: str, value: Any, depth: int) -> Any:
        """Return a copy of plain data."""
        if type(value) in _PLAIN:
            return value
        if depth < 4 and type(value) in (tuple, list, set):
            return type(value)(self._data(name, key, part, depth + 1) for part in value)
        table = _plain_dict(value)
        if depth < 4 and table is not None:
            return {
                self._data(name, key, inner, depth + 1): self._data(name, key, part, depth + 1)
                for inner, part in table.items()
            }
        kind = value.__name__ if isinstance(value, type) else type(value).__name__
        raise self._fault(name, f"its attribute {key[:40]!r} is a {kind[:40]}, not plain data")

    def _fault(self, name: str, what: str) -> ModelError:
        return ModelError(
            f"{self.where}: module {name[:80] or '(root)'}: {what}; export the model to .pt2, "
            "or use --trust if the file is yours"
        )


def _plain_dict(value: Any) -> dict[Any, Any] | None:
    """Return a plain copy of a dictionary that carries nothing else; None for anything else."""
    if type(value) is dict:
        return dict(value)
    if type(value) is OrderedDict and not vars(value):
        return dict(OrderedDict.items(value))
    return None


def _hides_code(real: type, key: str) -> bool:
    found = inspect.getattr_static(real, key, None)
    return (
        callable(found)
        or inspect.isdatadescriptor(found)
        or isinstance(found, (staticmethod, classmethod, property))
    )
