"""Pickled modules that are what they seem: same outputs, same weights, no weight read early."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from memplan.ir.errors import ModelError, RequestError
from memplan.tracing.loaders import load
from tests.support.forward import run_with_weights

torch.set_num_threads(1)


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


CASES: dict[str, tuple[nn.Module, Tensor]] = {
    "convolutions": (
        nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(72, 5),
        ),
        torch.randn(2, 3, 8, 8),
    ),
    "mixed": (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding="same"), nn.GroupNorm(2, 8), nn.Hardswish(),
            nn.Upsample(scale_factor=2), nn.ELU(), nn.ConvTranspose2d(8, 4, 2, 2), nn.PReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(4, 4),
        ),
        torch.randn(2, 3, 8, 8),
    ),
    "tokens": (
        nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.LayerNorm(12), nn.Linear(12, 3)),
        torch.randint(0, 10, (2, 3)),
    ),
    "lstm": (nn.LSTM(8, 16, 2, batch_first=True), torch.randn(2, 5, 8)),
    "encoder": (encoder(), torch.randn(2, 5, 16)),
}  # fmt: skip


def spec(x: Tensor) -> str:
    return "x".join(map(str, x.shape)) + ":" + str(x.dtype).removeprefix("torch.")


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_weights_are_the_modules(tmp_path: Path, name: str) -> None:
    module, x = CASES[name]
    module = module.eval()
    path = str(tmp_path / "m.pt")
    torch.save(module, path)
    loaded = load(path, inputs=[spec(x)])
    weights = loaded.read_weights()
    assert set(weights) == set(module.state_dict())
    assert all(torch.equal(weights[name], value) for name, value in module.state_dict().items())
    assert loaded.trainable == {name for name, _ in module.named_parameters()}
    expected = module(x)
    expected = expected[0] if isinstance(expected, tuple) else expected
    torch.testing.assert_close(run_with_weights(loaded, x)[0], expected, rtol=1e-5, atol=1e-6)
    assert all(parameter.is_meta for parameter in loaded.forward.parameters())


def test_a_pair_brings_its_inputs(tmp_path: Path) -> None:
    module, x = CASES["convolutions"]
    path = str(tmp_path / "m.pt")
    for pair in ((module, (x,)), (module, x), (module, {"input": x}), [module, [x]]):
        torch.save(pair, path)
        loaded = load(path)
        assert [tuple(item.shape) for item in loaded.inputs] == [(2, 3, 8, 8)]
        assert loaded.batch_free
    torch.save((module, (x, Path("p").name)), path)
    with pytest.raises(ModelError, match="not a tensor"):
        load(path)


def test_without_inputs_the_message_says_how(tmp_path: Path) -> None:
    torch.save(nn.Linear(4, 2), tmp_path / "m.pt")
    with pytest.raises(ModelError, match="--input SHAPE:DTYPE"):
        load(str(tmp_path / "m.pt"))
    with pytest.raises(ModelError, match=r"torch\.export cannot trace"):
        load(str(tmp_path / "m.pt"), inputs=["2x5"])
    with pytest.raises(RequestError, match="--input"):
        load(str(tmp_path / "m.pt"), inputs=["2by5"])


def test_shared_modules_and_parameters_stay_shared(tmp_path: Path) -> None:
    shared = nn.Linear(4, 4)
    module = nn.Sequential(shared, nn.ReLU(), shared)
    torch.save(module, tmp_path / "m.pt")
    loaded = load(str(tmp_path / "m.pt"), inputs=["2x4"])
    assert loaded.tied == {"2.weight": "0.weight", "2.bias": "0.bias"}
    assert loaded.trainable == {"0.weight", "0.bias"}


def test_frozen_parameters_stay_frozen(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    module[0].requires_grad_(False)
    torch.save(module, tmp_path / "m.pt")
    loaded = load(str(tmp_path / "m.pt"), inputs=["2x4"])
    assert loaded.trainable == {"1.weight", "1.bias"}


class Doubled(nn.Module):
    """A class that only trust can load."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = 2 * self.inner(x)
        return y


def test_trust_loads_any_class(tmp_path: Path) -> None:
    module = Doubled()
    torch.save(module, tmp_path / "m.pt")
    loaded = load(str(tmp_path / "m.pt"), inputs=["x=2x4"], trust=True)
    x = torch.randn(3, 4)
    torch.testing.assert_close(run_with_weights(loaded, x)[0], module(x))
    torch.save(module, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert load(str(tmp_path / "old.pt"), inputs=["2x4"], trust=True).batch_free


def test_what_a_trusted_file_may_lack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.pt"
    torch.save({"model": nn.Linear(3, 2)}, path)
    with pytest.raises(ModelError, match="holds a dict, not a module"):
        load(str(path), trust=True)
    module = nn.Linear(3, 2)
    monkeypatch.setattr(nn.Linear, "__module__", "nowhere_to_be_found")
    monkeypatch.setitem(sys.modules, "nowhere_to_be_found", nn.modules.linear)
    torch.save(module, path)
    monkeypatch.undo()
    with pytest.raises(ModelError, match="module 'nowhere_to_be_found', which is not found"):
        load(str(path), trust=True)
