"""Exported programs through our own reader: same outputs, weights, and a free batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memplan.ir.errors import ModelError, RequestError
from memplan.tracing.loaders import load, load_module
from tests.support.forward import run_with_weights
from tests.support.hostile import export_pt2
from tests.support.models import randomise

torch.set_num_threads(1)


class Kinds(nn.Module):
    """As many kinds of arguments and results as fit on a page."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding="same")
        self.lstm = nn.LSTM(8, 4, batch_first=True)
        self.register_buffer("table", torch.randint(0, 4, (4,)), persistent=False)
        self.register_buffer("scale", torch.rand(4))
        self.constant = torch.tensor([0.5, 2.0, 1.0, 3.0])

    def forward(self, x: Tensor, shift: Tensor | None = None) -> tuple[Tensor, ...]:
        x = F.interpolate(self.conv(x), scale_factor=2.0)
        left, right = torch.split(x, [3, 5], dim=1)
        x = torch.cat([right, left], dim=1)
        x = torch.where(x > 0, x, x.new_zeros(()))
        values, _ = x.flatten(2).mean(2, dtype=torch.float64).float().sort(dim=1)
        y, (hidden, _) = self.lstm(values.unsqueeze(1))
        y = y[:, 0, self.table] * self.scale * self.constant
        y[:, 1] = 7.0
        with torch.no_grad():
            y = y + 0 * y.detach().argmax()
        positions = torch.arange(y.shape[0], device=y.device).unsqueeze(1)
        return y.clamp(max=float("inf")) + 0 * positions, hidden.to(torch.bfloat16).float()


class Static(nn.Module):
    """Sizes that an export with a fixed batch bakes in."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.project = nn.Linear(8, 24)
        self.head = nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        batch, length = ids.shape
        x = torch.cat([self.token.expand(batch, -1, -1), self.embed(ids)], dim=1)
        q, k, v = self.project(x).view(batch, length + 1, 3, 2, 4).permute(2, 0, 3, 1, 4)
        mask = torch.ones(batch, 1, length + 1, length + 1, dtype=torch.bool)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = mixed.transpose(1, 2).reshape(batch * (length + 1), 8).view(batch, -1, 8)
        rows = torch.arange(batch)
        last = torch.full((batch,), length, dtype=torch.int64)
        logits: Tensor = self.head(x[rows, last])
        return logits


def classifier() -> tuple[nn.Module, tuple[Tensor, ...]]:
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU6(inplace=True),
        nn.Conv2d(4, 4, 3, groups=4), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Dropout(0.3), nn.Linear(4, 3),
    )  # fmt: skip
    return layers, (torch.randn(4, 3, 12, 12),)


def kinds() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Kinds(), (torch.randn(4, 3, 4, 4),)


def static() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Static(), (torch.randint(0, 9, (4, 5)),)


Build = Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]


@pytest.mark.parametrize("build", [classifier, kinds, static])
@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("free", [False, True], ids=["static", "dynamic"])
def test_outputs_at_every_batch(tmp_path: Path, build: Build, batch: int, free: bool) -> None:
    if free and batch == 1:
        pytest.skip("torch cannot export one sample with a free batch")
    torch.manual_seed(0)
    module, (example,) = build()
    module = randomise(module).eval()
    shapes: Any = ({0: torch.export.Dim.DYNAMIC},) if free else None
    if shapes is not None and build is kinds:
        shapes = (*shapes, None)
    if build is kinds:
        path = export_pt2(
            tmp_path / "m.pt2", module, (example[:batch], None), dynamic_shapes=shapes
        )
    else:
        path = export_pt2(tmp_path / "m.pt2", module, (example[:batch],), dynamic_shapes=shapes)
    loaded = load(str(path))
    assert loaded.batch_free, loaded.notes
    assert loaded.batch == batch
    for size in (1, 2, 3, 4):
        outputs = run_with_weights(loaded, example[:size])
        wanted = module(example[:size])
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for output, reference in zip(outputs, wanted, strict=True):
            torch.testing.assert_close(output, reference, rtol=1e-5, atol=1e-6)


def test_what_a_file_says_is_what_the_module_says(tmp_path: Path) -> None:
    module, inputs = classifier()
    module.get_parameter("0.weight").requires_grad_(False)
    module.eval()
    from_file = load(str(export_pt2(tmp_path / "m.pt2", module, inputs)))
    from_module = load_module(module, inputs)
    assert from_file.trainable == from_module.trainable
    assert "0.weight" not in from_file.trainable
    assert [i.shape for i in from_file.inputs] == [i.shape for i in from_module.inputs]
    weights = from_file.read_weights()
    for name, value in module.state_dict().items():
        assert torch.equal(weights[name], value)
    assert from_file.name == "m"
    assert all(parameter.is_meta for parameter in from_file.forward.parameters())


def test_tied_weights_are_one(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(9, 4)
            self.head = nn.Linear(4, 9, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids: Tensor) -> Tensor:
            logits: Tensor = self.head(self.embed(ids).mean(1))
            return logits

    path = export_pt2(tmp_path / "m.pt2", Tied(), (torch.randint(0, 9, (2, 3)),))
    loaded = load(str(path))
    assert loaded.tied == {"head.weight": "embed.weight"}
    assert loaded.trainable == {"embed.weight"}
    getters = [node for node in loaded.forward.graph.nodes if node.op == "get_attr"]
    assert [node.target for node in getters] == ["embed.weight"]


def test_strided_weights_keep_their_values(tmp_path: Path) -> None:
    module = nn.Linear(6, 4, bias=False)
    module.weight = nn.Parameter(torch.randn(6, 8).t()[:4])
    loaded = load(str(export_pt2(tmp_path / "m.pt2", module, (torch.randn(2, 6),))))
    assert torch.equal(loaded.read_weights()["weight"], module.weight.detach())


def test_inputs_may_say_another_batch_and_nothing_else(tmp_path: Path) -> None:
    module, inputs = classifier()
    path = str(export_pt2(tmp_path / "m.pt2", module.eval(), inputs))
    assert load(path, inputs=["7x3x12x12:float32"]).batch == 7
    for said in ("7x3x13x12", "7x3x12x12:float64"):
        with pytest.raises(RequestError, match="exported for inputs 4x3x12x12"):
            load(path, inputs=[said])


def test_control_flow_is_refused_by_name(tmp_path: Path) -> None:
    class Conditional(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,))
            return y

    path = export_pt2(tmp_path / "m.pt2", Conditional(), (torch.randn(2, 3),))
    with pytest.raises(ModelError, match="cond"):
        load(str(path))


def test_a_batch_that_cannot_be_freed_stays_fixed(tmp_path: Path) -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weights", torch.tensor([[1.0], [2.0], [3.0]]))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.get_buffer("weights")

    path = export_pt2(tmp_path / "m.pt2", Rows(), (torch.randn(3, 2),))
    loaded = load(str(path))
    assert not loaded.batch_free
    assert "the batch is fixed at 3" in loaded.notes[0]
    assert "dynamic_shapes" in loaded.notes[0]


def test_a_batch_that_only_seems_free_is_found_out(tmp_path: Path) -> None:
    """``flip`` over the batch computes at any size, and something else for every sample."""

    class Flipped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 2 * x.flip(0)

    path = export_pt2(tmp_path / "m.pt2", Flipped(), (torch.randn(2, 3),))
    loaded = load(str(path))
    assert not loaded.batch_free
    assert "other values" in loaded.notes[0]
