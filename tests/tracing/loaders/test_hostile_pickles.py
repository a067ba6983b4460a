"""Pickled modules that carry code or lie about themselves: one line, never code."""

from __future__ import annotations

import collections
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from memplan.ir.errors import ModelError
from memplan.tracing.loaders import load
from tests.support.hostile import Payload, pickled_payload, rewrite

torch.set_num_threads(1)
INPUTS = ["2x4"]


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


def refused(path: Path, complaint: str, *, inputs: list[str] = INPUTS) -> None:
    with pytest.raises(ModelError, match=complaint) as caught:
        load(str(path), inputs=inputs).read_weights()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


class Scripted(nn.Module):
    """Not a class of torch.nn."""


def test_a_payload_beside_the_module(tmp_path: Path, marker: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save((nn.Linear(4, 2), Payload(marker)), path)
    refused(path, "posix.system|os.system")
    assert not marker.exists()


def test_a_payload_inside_the_module(tmp_path: Path, marker: Path) -> None:
    module: Any = nn.Linear(4, 2)
    module.extra = Payload(marker)
    torch.save(module, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "system")
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_bare_pickle(tmp_path: Path, marker: Path, protocol: int) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(pickle.dumps(Payload(marker), protocol=protocol))
    refused(path, "bare pickle|neither a .pt2")
    assert not marker.exists()


def test_an_old_file_of_torch(tmp_path: Path, marker: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(Payload(marker), path, _use_new_zipfile_serialization=False)
    refused(path, "bare pickle")
    assert not marker.exists()


def test_a_pickle_within_the_archive(tmp_path: Path, marker: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(nn.Linear(4, 2), path)
    rewrite(path, {"data.pkl": pickled_payload(marker)})
    refused(path, "system")
    assert not marker.exists()


def test_trust_is_what_runs_it(tmp_path: Path, marker: Path) -> None:
    """The payload of these tests does work, where it is asked for."""
    path = tmp_path / "m.pt"
    torch.save(Payload(marker), path)
    with pytest.raises(ModelError, match="not a module"):
        load(str(path), inputs=INPUTS, trust=True)
    assert marker.exists()


def test_own_classes_are_named(tmp_path: Path) -> None:
    torch.save(Scripted(), tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "Scripted, which is no class of torch.nn.*--trust")


def test_a_state_dict_is_not_a_model(tmp_path: Path) -> None:
    torch.save(nn.Linear(4, 2).state_dict(), tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "weights only .*weight, bias.*package.module:function")


@pytest.mark.parametrize("value", [3, None, "text", [1, 2, 3], torch.zeros(3), (1, 2)])
def test_other_objects_are_not_models(tmp_path: Path, value: object) -> None:
    torch.save(value, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "not a module")


def _forward(module: Any) -> None:
    module.forward = nn.Sequential


def _method(module: Any) -> None:
    module.__dict__["_call_impl"] = nn.Linear


def _class_attribute(module: Any) -> None:
    module.__dict__["__class__"] = "other"


def _forward_as_text(module: Any) -> None:
    module.__dict__["forward"] = "text"


def _callable_attribute(module: Any) -> None:
    module.activation = nn.functional.relu


def _hook(module: Any) -> None:
    module._forward_hooks[0] = nn.ReLU()


def _pre_hook(module: Any) -> None:
    module._forward_pre_hooks[0] = nn.ReLU()


def _state_dict_hook(module: Any) -> None:
    module._load_state_dict_pre_hooks[0] = nn.ReLU()


def _hooks_that_are_no_table(module: Any) -> None:
    module.__dict__["_backward_hooks"] = nn.ReLU()


def _module_as_parameter(module: Any) -> None:
    module._parameters["weight"] = nn.ReLU()


def _tensor_as_module(module: Any) -> None:
    module._modules["child"] = torch.zeros(2)


def _method_as_member(module: Any) -> None:
    module._modules["forward"] = nn.ReLU()


def _dotted_member(module: Any) -> None:
    module._buffers["a.b"] = torch.zeros(2)


def _sparse_buffer(module: Any) -> None:
    module.register_buffer("table", torch.eye(3).to_sparse())


def _complex_buffer(module: Any) -> None:
    module.register_buffer("table", torch.zeros(3, dtype=torch.complex64))


def _huge_stride_zero(module: Any) -> None:
    module.weight = nn.Parameter(torch.zeros(1).expand(10**6, 10**6))


def _dressed_table(module: Any) -> None:
    table: Any = collections.OrderedDict(module._modules)
    table.get = nn.ReLU
    module.__dict__["_modules"] = table


def _itself(module: Any) -> None:
    module._modules["child"] = module


@pytest.mark.parametrize(
    "change",
    [
        _forward, _method, _class_attribute, _forward_as_text, _callable_attribute, _hook,
        _pre_hook, _state_dict_hook, _hooks_that_are_no_table, _module_as_parameter,
        _tensor_as_module, _method_as_member, _dotted_member, _sparse_buffer, _complex_buffer,
        _huge_stride_zero, _dressed_table, _itself,
    ],
)  # fmt: skip
def test_a_module_that_is_more_than_data(
    tmp_path: Path, change: Callable[[nn.Module], None]
) -> None:
    module = nn.Linear(4, 2)
    change(module)
    torch.save(module, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", ".")


def test_parametrizations_are_refused(tmp_path: Path) -> None:
    module = nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))
    with pytest.raises(RuntimeError, match="Serialization of parametrized modules"):
        torch.save(module, tmp_path / "m.pt")


@pytest.mark.parametrize(
    "attributes",
    [
        {"padding_mode": "os.system"},
        {"padding": "sideways"},
        {"stride": (10**30, 1)},
        {"stride": "x"},
        {"groups": -1},
        {"dilation": [[[[1]]]]},
        {"_reversed_padding_repeated_twice": [10**12] * 4, "padding_mode": "circular"},
        {"padding_mode": torch.zeros(1)},
    ],
)
def test_a_convolution_with_odd_attributes(tmp_path: Path, attributes: dict[str, Any]) -> None:
    module = nn.Conv2d(3, 4, 3)
    vars(module).update(attributes)
    torch.save(module, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", ".", inputs=["2x3x8x8"])


def test_an_lstm_with_odd_weights(tmp_path: Path) -> None:
    module: Any = nn.LSTM(4, 3)
    module._flat_weights_names = ["forward", "__class__"]
    module._all_weights = [["forward", "__class__"]]
    torch.save(module, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", ".", inputs=["2x5x4"])


def test_a_module_made_by_a_call(tmp_path: Path) -> None:
    """``nn.Linear(10**6, 10**6)`` inside a pickle would take four terabytes."""

    class Call:
        def __reduce__(self) -> tuple[Any, ...]:
            return (nn.Linear, (10**6, 10**6))

    torch.save(Call(), tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "made by a call")


def test_a_function_called_while_loading(tmp_path: Path) -> None:
    class Call:
        def __reduce__(self) -> tuple[Any, ...]:
            return (nn.functional.relu, (torch.zeros(1),))

    torch.save(Call(), tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "cannot be called")


def test_modules_nested_too_deeply(tmp_path: Path) -> None:
    module: nn.Module = nn.Linear(4, 4)
    for _ in range(150):
        module = nn.Sequential(module)
    torch.save(module, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "nested too deeply")


def test_compressed_records(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(nn.Linear(4, 2), path)
    rewrite(path, {"data/0": b"\0" * 2**22}, compression=zipfile.ZIP_DEFLATED)
    refused(path, "compressed")


def test_a_storage_shorter_than_its_tensor(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(nn.Linear(4000, 20), path)
    rewrite(path, {"data/0": b"\0" * 16})
    with pytest.raises(ModelError):
        load(str(path), inputs=["2x4000"]).read_weights()


@pytest.mark.parametrize("part", [0.0, 0.2, 0.6, 0.95])
def test_truncated_files(tmp_path: Path, part: float) -> None:
    buffer = io.BytesIO()
    torch.save(nn.Linear(4, 2), buffer)
    content = buffer.getvalue()
    path = tmp_path / "m.pt"
    path.write_bytes(content[: int(len(content) * part)])
    refused(path, ".")


@pytest.mark.parametrize("content", [b"", b"\x80", b"PK", b"PK\x03\x04" + b"\0" * 30, b"hello"])
def test_files_that_are_no_models(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(content)
    refused(path, ".")
    refused(tmp_path, "not a regular file")
    refused(tmp_path / "absent.pt", "no such file")
