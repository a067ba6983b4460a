"""Factories and modules from Python."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from memplan.ir.errors import ModelError
from memplan.tracing.loaders import load, load_module
from tests.support.forward import run_with_weights

torch.set_num_threads(1)

SOURCE = """
import torch
from torch import nn

def alone(): return nn.Linear(4, 2)
def pair(): return nn.Linear(4, 2), (torch.randn(3, 4),)
def keywords(): return nn.Linear(4, 2), {"input": torch.randn(3, 4)}
def broken(): raise KeyError("weights\\nare gone")
def nothing(): return 7
value = 7
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "factories_here.py").write_text(SOURCE)
    (tmp_path / "factories_broken.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield tmp_path
    assert sys.path == before
    sys.modules.pop("factories_here", None)


@pytest.mark.parametrize("name", ["pair", "keywords"])
def test_a_factory_of_the_current_directory(here: Path, name: str) -> None:
    loaded = load(f"factories_here:{name}")
    assert loaded.name == name
    assert loaded.batch == 3
    assert loaded.batch_free
    assert loaded.example_inputs[0].shape == (3, 4)


def test_inputs_may_be_said_instead(here: Path) -> None:
    assert load("factories_here:alone", inputs=["5x4"]).batch == 5
    assert load("factories_here:alone", inputs=["input=5x4"]).batch == 5
    with pytest.raises(ModelError, match="--input"):
        load("factories_here:alone")


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("factories_here:broken", "the factory failed .KeyError"),
        ("factories_here:nothing", "must return a torch.nn.Module"),
        ("factories_here:absent", "has no function absent"),
        ("factories_here:value", "has no function value"),
        ("factories_absent:f", "cannot import"),
        ("factories_broken:f", "cannot import factories_broken .ZeroDivisionError"),
        ("no/such/file.pt2", "no such file"),
        ("os.path", "no such file"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(here: Path, argument: str, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint) as caught:
        load(argument)
    assert "\n" not in str(caught.value)


@dataclass
class Answer:
    """An output class that torch does not know."""

    logits: Tensor
    cache: object


class Unusual(nn.Module):
    """Returns an unknown class, shares a parameter, has a constant, a mask and a no_grad block."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.register_buffer("mask", torch.tensor([1.0, 0.0, 1.0, 1.0]), persistent=False)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor, *, scale: Tensor, flag: bool = True) -> Answer:
        x = self.norm(self.second(self.first(x)) * self.mask + self.frozen(x))
        with torch.no_grad():
            shift = x.mean(1, keepdim=True) * scale
        with torch.autocast("cpu", enabled=False):
            x = x - shift if flag else x
        return Answer(torch.relu_(x) * torch.tensor(2.0), object())


def test_an_unusual_module() -> None:
    torch.manual_seed(0)
    module = Unusual().train()
    inputs = {"x": torch.randn(4, 4), "scale": torch.ones(4, 1), "flag": True}
    loaded = load_module(module, inputs)
    assert [spec.name for spec in loaded.inputs] == ["x", "scale"]
    assert loaded.batch_free
    assert loaded.tied == {"second.weight": "first.weight"}
    assert "second.weight" not in loaded.trainable
    assert loaded.trainable == {
        "first.weight", "first.bias", "second.bias", "norm.weight", "norm.bias",
    }  # fmt: skip
    values = dict(loaded.forward.named_buffers())
    assert values["mask"].tolist() == [1, 0, 1, 1]
    assert values["norm.running_mean"].is_meta
    targets = {str(node.target) for node in loaded.forward.graph.nodes}
    assert "aten.detach.default" in targets  # what stood under no_grad has no gradient
    assert not any("higher_order" in target for target in targets)
    expected = module(torch.randn(1, 4).expand(3, 4), scale=torch.ones(3, 1)).logits
    module.eval()
    x, scale = torch.randn(3, 4), torch.randn(3, 1)
    loaded = load_module(module, inputs)
    torch.testing.assert_close(run_with_weights(loaded, x, scale)[0], module(x, scale=scale).logits)
    assert expected.shape == (3, 4)


def test_gradients_do_not_flow_out_of_a_no_grad_block() -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                fixed = x * 3
            return fixed + 2 * x

    loaded = load_module(Half(), torch.randn(2, 3))
    x = torch.randn(2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(loaded.forward(x)[0].sum(), x)
    assert torch.equal(gradient, torch.full((2, 3), 2.0))


def test_one_sample_is_enough_to_free_the_batch() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2)).eval()
    loaded = load_module(module, torch.randn(1, 3, 4, 4))
    assert loaded.batch == 1
    assert loaded.batch_free
    x = torch.randn(5, 3, 4, 4)
    torch.testing.assert_close(run_with_weights(loaded, x)[0], module(x))


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Autocast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return x @ x.t()


class NoTensor(nn.Module):
    def forward(self, x: Tensor) -> int:
        return 3


@pytest.mark.parametrize(
    ("module", "inputs", "complaint"),
    [
        (Branching(), torch.randn(2, 3), "torch.export cannot trace"),
        (Autocast(), torch.randn(2, 3), "enables autocast"),
        (NoTensor(), torch.randn(2, 3), "returns no tensor"),
        (nn.Linear(4, 2), torch.randn(2, 3), "torch.export cannot trace"),
        (nn.Linear(4, 2), (), "batch dimension"),
        (nn.Linear(4, 2), torch.tensor(3.0), "batch dimension"),
        (nn.Linear(4, 2), 7, "must be a tensor, a tuple or a dict"),
    ],
)
def test_models_that_cannot_be_exported(module: nn.Module, inputs: object, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint) as caught:
        load_module(module, inputs)
    assert "\n" not in str(caught.value)


def test_custom_operations_are_refused() -> None:
    library: Any = torch.library.Library("memplan_test", "DEF")  # type: ignore[no-untyped-call]
    library.define("twice(Tensor x) -> Tensor")
    torch.library.register_fake("memplan_test::twice", torch.empty_like, lib=library)

    class Custom(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = torch.ops.memplan_test.twice(x)
            return y

    with pytest.raises(ModelError, match="custom operation"):
        load_module(Custom(), torch.randn(2, 3))


def test_an_input_that_torch_left_at_its_size_does_not_stop_the_others() -> None:
    """The mask's view says 4 samples; export frees ``x`` alone."""

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            y: Tensor = self.layer(x).tanh() * mask.view(4, 1)
            return y

    module = Masked()
    loaded = load_module(module, (torch.randn(4, 3), torch.rand(4)))
    assert loaded.batch_free, loaded.notes
    x, mask = torch.randn(6, 3), torch.rand(6)
    expected = module.layer(x).tanh() * mask.view(6, 1)
    torch.testing.assert_close(run_with_weights(loaded, x, mask)[0], expected)
