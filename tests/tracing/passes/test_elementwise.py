import torch
from torch import Tensor, nn

from memplan.ir.graph import Alternative, Argument
from memplan.tracing import TraceSettings
from memplan.tracing.passes.elementwise import fuse_elementwise_chains
from tests.support.graph_interpreter import run_step
from tests.support.models import randomise
from tests.support.passes import graph_without, labels_for, same_step, ways


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(5, 8)
        self.b = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        y = y + (y * 2.0 + 1.0) / 3.0
        z: Tensor = self.b(torch.tanh(y))
        return z


def _targets(program: Alternative) -> list[Argument]:
    steps = [step for step in program.arguments if isinstance(step, tuple)]
    assert len(steps) == len(program.arguments)
    return [step[0] for step in steps]


def test_chains_are_fused_bit_for_bit() -> None:
    without, graph = same_step(
        Chain(), (torch.randn(4, 5),), fuse_elementwise_chains, labels=labels_for(4, 4)
    )
    programs = [way for _, way in ways(graph, "plain") if way.target == "memplan.elementwise"]
    assert _targets(programs[0]) == [
        "aten.mul.Tensor",
        "aten.add.Tensor",
        "aten.div.Tensor",
        "aten.add.Tensor",
        "aten.tanh.default",
    ]
    assert len(graph.operations) < len(without.operations)


def test_what_is_read_twice_or_comes_later_is_not_fused() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(5, 5)
            self.b = nn.Linear(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            first = self.a(x).relu()  # saved for the backward
            y: Tensor = first + self.b(x)
            return y

    graph = graph_without(Branches(), (torch.randn(2, 5),))
    assert "memplan.elementwise" not in [way.target for _, way in ways(graph, "plain")]
    infer = graph_without(Branches(), (torch.randn(2, 5),), settings=TraceSettings(mode="infer"))
    # Here relu(a) is read once, but b(x) need not be there yet when relu runs.
    assert "memplan.elementwise" not in [way.target for _, way in ways(infer, "plain")]


def test_inference_of_a_chain() -> None:
    module = randomise(Chain())
    x = torch.randn(3, 5)
    graph = graph_without(module, (x,), settings=TraceSettings(mode="infer"))
    assert "memplan.elementwise" in [way.target for _, way in ways(graph, "plain")]
    name = next(tensor.id for tensor in graph.tensors if tensor.role == "input")
    step = run_step(graph, dict(module.named_parameters()), {name: x}, batch=3)
    torch.testing.assert_close(step.outputs[graph.outputs[0]], module(x).detach())
