"""Programs after ``run_decompositions()``: as their module is in the mode asked for, or none."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._decomp import get_decompositions

from memplan.ir.errors import ModelError
from memplan.tracing import TraceSettings, trace
from memplan.tracing.loaded import LoadedModel
from memplan.tracing.loaders import load, load_module
from memplan.tracing.training_flags import without_chance
from tests.support.forward import run_with_weights

torch.set_num_threads(1)
aten = torch.ops.aten

SPELLED_NORM = [
    aten._native_batch_norm_legit_functional,
    aten._native_batch_norm_legit_no_training,
    aten._native_batch_norm_legit,
    aten.native_batch_norm,
    aten.batch_norm,
]
SPELLED_DROPOUT = [aten.native_dropout, aten.dropout]


class Net(nn.Module):
    def __init__(self, dropout: float = 0.5, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8) if norm is None else norm
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.dropout(self.norm(self.conv(x)).relu().mean((2, 3))))
        return y


class Counting(nn.Module):
    """Counts its runs; what it returns may depend on the count, or its input be changed."""

    count: Tensor

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.head = nn.Linear(6, 4)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.count += x.mean() if self.kind == "mean" else 1
        if self.kind == "input":
            x.mul_(2)
        y: Tensor = self.head(x)
        return y * self.count if self.kind == "read" else y


def trained(module: nn.Module, x: Tensor) -> nn.Module:
    """Return a module whose running statistics differ from those of ``x``."""
    torch.manual_seed(0)
    module.train()
    with torch.no_grad():
        for _ in range(3):
            module(2 * x + torch.randn_like(x) + 1)
    return module


def decomposed(
    module: nn.Module, x: Tensor, table: Any = None, *, free: bool = False
) -> torch.export.ExportedProgram:
    """Export and decompose; by default with torch's own table, else with the operations named."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shapes = ({0: torch.export.Dim("batch", min=2, max=9)},) if free else None
        program = torch.export.export(module, (x,), dynamic_shapes=shapes)
        chosen = None if table is None else get_decompositions(table)
        done: torch.export.ExportedProgram = program.run_decompositions(chosen)
    return done


def saved(program: torch.export.ExportedProgram, folder: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, folder / "model.pt2")
    return str(folder / "model.pt2")


def run(model: LoadedModel, x: Tensor, *, batch_statistics: bool = False) -> Tensor:
    quiet = without_chance(model.forward, batch_statistics=batch_statistics)
    (result,) = run_with_weights(dataclasses.replace(model, forward=quiet), x)
    return result


def images() -> Tensor:
    return torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("table", [None, []], ids=["core", "functional"])
def test_a_decomposed_program_is_what_its_module_is(
    tmp_path: Path, train: bool, free: bool, table: Any
) -> None:
    x = images()
    module = trained(Net(), x)
    model = load(saved(decomposed(module.train(train), x, table, free=free), tmp_path))
    targets = [str(node.target) for node in model.forward.graph.nodes]
    assert targets.count("aten.batch_norm.default") == 1
    assert not [name for name in targets if "native" in name]
    assert torch.allclose(run(model, x), copy.deepcopy(module).eval()(x), atol=1e-6)
    wanted = copy.deepcopy(module).eval()
    wanted.get_submodule("norm").train()
    assert torch.allclose(run(model, x, batch_statistics=True), wanted(x), atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        TraceSettings(mode="infer"),
        TraceSettings(),
        TraceSettings(batch_norm="train"),
    ],
    ids=["infer", "frozen", "train"],
)
def test_plans_of_decomposed_programs_are_those_of_the_module(
    tmp_path: Path, settings: TraceSettings
) -> None:
    x = images()
    module = trained(Net(), x)
    model = load(saved(decomposed(module.train(), x), tmp_path))
    graph = trace(model, settings)
    expected = trace(load_module(module, x), settings)
    assert len(graph.outputs) == len(expected.outputs)
    assert [op.alternatives[0].target for op in graph.operations] == [
        op.alternatives[0].target for op in expected.operations
    ]
    read = {t.source.names for t in graph.tensors if t.source is not None}
    assert read == {t.source.names for t in expected.tensors if t.source is not None}
    assert (("norm.num_batches_tracked",) in read) == (settings.batch_norm == "train")


@pytest.mark.parametrize("as_module", [False, True])
def test_a_norm_in_train_mode_that_is_spelled_out_is_refused(
    tmp_path: Path, as_module: bool
) -> None:
    x = images()
    program = decomposed(trained(Net(), x).train(), x, SPELLED_NORM)
    path = saved(program, tmp_path)
    with pytest.raises(ModelError, match=r"norm\.running_mean from the inputs.*model\.eval\(\)"):
        load_module(program.module(), x) if as_module else load(path)


def test_a_decomposed_program_may_be_made_a_module_again() -> None:
    x = images()
    module = trained(Net(), x)
    model = load_module(decomposed(module.train(), x).module(), x)
    assert torch.allclose(run(model, x), module.eval()(x), atol=1e-6)


def test_a_spelled_norm_over_running_statistics_keeps_them(tmp_path: Path) -> None:
    x = images()
    module = trained(Net(), x).eval()
    path = saved(decomposed(module, x, SPELLED_NORM), tmp_path)
    model = load(path)
    assert torch.allclose(run(model, x), module(x), atol=1e-6)
    trace(model, TraceSettings())
    with pytest.raises(ModelError, match=r"reads norm\.running_mean.*batch norm frozen"):
        trace(model, TraceSettings(batch_norm="train"))


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_a_spelled_dropout_is_refused_by_name(tmp_path: Path, mode: Any) -> None:
    x = images()
    path = saved(decomposed(trained(Net(), x).train(), x, SPELLED_DROPOUT), tmp_path)
    with pytest.raises(ModelError, match=r"aten\.rand_like\.default draws random.*run_decomp"):
        trace(load(path), TraceSettings(mode=mode))


def test_decomposed_dropout_is_active_in_training_only(tmp_path: Path) -> None:
    x = images()
    model = load(saved(decomposed(trained(Net(), x).train(), x), tmp_path))
    for mode, count in (("infer", 0), ("train", 2)):
        graph = trace(model, TraceSettings(mode=mode))  # type: ignore[arg-type]
        targets = [str(op.alternatives[0].target) for op in graph.operations]
        assert sum("dropout" in name for name in targets) == count


def test_a_norm_without_running_statistics_uses_the_batch(tmp_path: Path) -> None:
    x = images()
    module = Net(norm=nn.BatchNorm2d(8, track_running_stats=False))
    model = load(saved(decomposed(module.train(), x), tmp_path))
    assert torch.allclose(run(model, x), module.eval()(x), atol=1e-6)


def test_an_instance_norm_in_train_mode_uses_running_statistics(tmp_path: Path) -> None:
    x = images()
    module = trained(Net(norm=nn.InstanceNorm2d(8, affine=True, track_running_stats=True)), x)
    model = load_module(module.train(), x)
    assert torch.allclose(run(model, x), copy.deepcopy(module).eval()(x), atol=1e-6)
    graph = trace(model, TraceSettings(mode="infer"))
    assert any(t.source and "norm.running_mean" in t.source.names for t in graph.tensors)
    with pytest.raises(ModelError, match="reads the statistics"):
        load(saved(decomposed(module.train(), x), tmp_path))


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("unread", ""),
        ("read", "the outputs depend on the buffer count"),
        ("mean", "computes the buffer count from the inputs"),
        ("input", "changes an input in place"),
    ],
)
def test_other_state_is_no_output(tmp_path: Path, kind: str, complaint: str) -> None:
    x = torch.randn(3, 6)
    module = Counting(kind)
    path = saved(decomposed(module, x), tmp_path)
    if complaint:
        with pytest.raises(ModelError, match=complaint):
            load(path)
    else:
        assert torch.allclose(run(load(path), x), module(x), atol=1e-6)
