import torch
from torch import Tensor, nn

from tests.support.graph_interpreter import initial_weights, run_step
from tests.support.models import randomise
from tests.support.passes import graph_without, targets


class First(nn.Module):
    """A norm before any layer, as in DenseNet, over two, three and four dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.norm2 = nn.BatchNorm2d(3)
        self.norm1 = nn.BatchNorm1d(3)
        self.norm3 = nn.BatchNorm3d(3)
        self.last = nn.BatchNorm1d(12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm2(x)
        x = self.norm1(x.flatten(2)).unflatten(2, (2, 2))
        x = self.norm3(x.unsqueeze(2)).squeeze(2)
        y: Tensor = self.last(x.flatten(1))
        return y


def test_a_frozen_norm_is_a_scale_and_a_shift() -> None:
    module = randomise(First()).eval()
    x, labels = torch.randn(5, 3, 2, 2), torch.tensor([0, 3, 5, 7, 11])
    graph = graph_without(module, (x,))
    assert targets(graph).count("aten.addcmul.default") == 4
    assert {layer.kind for layer in graph.layers} == {"normalization"}
    values = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    before = initial_weights(graph, values)
    parameters = {name: value.clone().requires_grad_() for name, value in before.items()}

    def affine(x: Tensor, name: str) -> Tensor:
        shape = [1, -1] + [1] * (x.dim() - 2)
        return x * parameters[f"{name}.weight"].view(shape) + parameters[f"{name}.bias"].view(shape)

    y = affine(x, "norm2")
    y = affine(y, "norm1")
    y = affine(y, "norm3")
    y = affine(y.flatten(1), "last")
    torch.testing.assert_close(y.detach(), module(x).detach())
    torch.autograd.backward(torch.nn.functional.cross_entropy(y, labels))
    name = next(tensor.id for tensor in graph.tensors if tensor.role == "input")
    step = run_step(graph, values, {name: x, "labels": labels}, batch=5)
    for key, after in step.parameters.items():
        torch.testing.assert_close(before[key] - after, parameters[key].grad, rtol=1e-4, atol=1e-5)
