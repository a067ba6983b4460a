"""Pairs are only a permission; here every one of them is taken and the step must stay the same."""

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from memplan.ir.graph import Alternative, Operation, OpGraph
from memplan.tracing.passes.in_place import IN_PLACE
from tests.support.graph_interpreter import run_step
from tests.support.graph_interpreter.run import Run
from tests.support.models import MODELS, randomise
from tests.support.passes import graph_without

aten = torch.ops.aten


def pairs(graph: OpGraph) -> list[tuple[str, str, str]]:
    return [
        (way.target, way.reads[pair.read].tensor, operation.writes[pair.write])
        for operation in graph.operations
        for way in operation.alternatives
        for pair in way.in_place
    ]


def test_pairs_of_a_residual_network() -> None:
    graph = graph_without(*_built("resnet"))
    found = pairs(graph)
    assert {"aten.relu.default", "aten.add.Tensor", "aten.threshold_backward.default"} <= {
        target for target, _, _ in found
    }
    for target, read, written in found:
        before, after = graph.tensor[read], graph.tensor[written]
        assert before.role in ("activation", "gradient"), target
        assert before.dtype == after.dtype
        assert before.size_bytes == after.size_bytes


def test_part_of_a_tensor_is_never_overwritten() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 6)
            self.b = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first, second = self.a(x).chunk(2, 1)
            y: torch.Tensor = self.b(torch.relu(first) * second)
            return y

    graph = graph_without(Halves(), (torch.randn(2, 4),))
    relu = next(op for op in graph.operations if op.id.endswith("relu"))
    assert relu.alternatives[0].in_place == ()


def _built(name: str) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    torch.manual_seed(0)
    module, inputs = MODELS[name].build()
    generator = torch.Generator().manual_seed(1)
    drawn = tuple(torch.randn(x.shape, generator=generator) for x in inputs.values())
    return randomise(module).eval(), drawn


@pytest.mark.parametrize("target", sorted(IN_PLACE))
def test_computing_over_an_operand_gives_the_same(target: str) -> None:
    """Each listed operation is run with its result in the bytes of each listed operand."""
    if not target.startswith("aten."):
        return
    _, packet, overload = target.split(".")
    operation = getattr(getattr(aten, packet), overload)
    generator = torch.Generator().manual_seed(0)
    arguments = _arguments(target, generator)
    expected = operation(*arguments)
    expected = expected[0] if isinstance(expected, tuple) else expected
    for position in IN_PLACE[target]:
        copies: list[Any] = [a.clone() if isinstance(a, torch.Tensor) else a for a in arguments]
        over = copies[position]
        _compute_into(operation, copies, over)
        assert torch.equal(over, expected), position


def _compute_into(operation: Any, arguments: list[Any], out: torch.Tensor) -> None:
    """Compute into ``out``, by the overload that takes a result, where ATen has one."""

    def form(schema: Any) -> list[tuple[str, str, bool]]:
        parts = [part for part in schema.arguments if not part.is_out]
        return [(part.name, str(part.type), part.kwarg_only) for part in parts]

    packet = operation.overloadpacket
    for name in packet.overloads():
        schema = getattr(packet, name)._schema
        outs = [argument.name for argument in schema.arguments if argument.is_out]
        if outs and form(schema) == form(operation._schema):
            others = {key: torch.empty(0) for key in outs[1:]}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the other results grow from nothing
                getattr(packet, name)(*arguments, **{outs[0]: out}, **others)
            return
    result = operation(*arguments)
    out.copy_(result[0] if isinstance(result, tuple) else result)


def _arguments(target: str, generator: torch.Generator) -> list[object]:
    """Return valid arguments of an operation, tensors of one shape where possible."""
    _, packet, overload = target.split(".")
    schema = getattr(getattr(aten, packet), overload)._schema
    shape = (4, 6)

    def draw() -> torch.Tensor:
        return torch.rand(shape, generator=generator) * 0.8 + 0.1

    special: dict[str, object] = {
        "dim": 1, "half_to_float": False, "input_dtype": torch.float32, "normalized_shape": [6],
        "weight": None, "bias": None, "eps": 1e-5, "threshold": 0.3, "min_val": 0.2, "max_val": 0.6,
        "negative_slope": 0.1, "self_is_result": False, "is_result": False, "min": 0.2, "max": 0.5,
        "alpha": 1.0, "scale": 1.0, "input_scale": 1.0, "exponent": 2.0, "value": 0.5,
    }  # fmt: skip
    arguments: list[object] = []
    for argument in schema.arguments:
        if argument.kwarg_only:
            continue
        kind = str(argument.type)
        if argument.name in ("condition", "mask"):
            arguments.append(draw() > 0.5)
        elif argument.name == "value" and kind == "Tensor":
            arguments.append(torch.tensor(0.5))
        elif argument.name in special:
            arguments.append(special[argument.name])
        elif kind == "Tensor":
            arguments.append(draw())
        elif kind in ("number", "float", "Optional[number]"):
            arguments.append(0.5)
        else:
            raise AssertionError(f"{target}: no value for {argument.name}: {kind}")
    return arguments


def test_taking_every_pair_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result takes the storage of its operand where that is read for the last time."""
    module, inputs = _built("resnet")
    graph = graph_without(module, inputs)
    name = next(tensor.id for tensor in graph.tensors if tensor.role == "input")
    given = {name: inputs[0], "labels": torch.tensor([1, 2])}
    values = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    plain = run_step(graph, values, given, batch=2)
    executed = run_step(graph, values, given, batch=2).executed
    last: dict[str, str] = {}
    for identifier in executed:
        for operand in graph.operation[identifier].alternatives[0].reads:
            last[operand.tensor] = identifier
    taken = 0
    original = Run.execute

    def execute(self: Run, operation: Operation, way: Alternative) -> None:
        nonlocal taken
        original(self, operation, way)
        for pair in way.in_place:
            read = way.reads[pair.read].tensor
            if last.get(read) == operation.id:
                written = operation.writes[pair.write]
                self.storage[read].copy_(self.storage[written])
                self.storage[written] = self.storage[read]
                taken += 1
                break

    monkeypatch.setattr(Run, "execute", execute)
    shared = run_step(graph, values, given, batch=2)
    assert taken > 5
    assert shared.loss == plain.loss
    for key, value in plain.parameters.items():
        assert torch.equal(value, shared.parameters[key])
