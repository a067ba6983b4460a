"""Exported programs that carry code, lie about sizes or are damaged: one line, never code."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from memplan.ir.errors import ModelError
from memplan.tracing.loaders import load
from memplan.tracing.loaders.fake_run import run_fake
from tests.support.hostile import edit_json, export_pt2, pickled_payload, rewrite, saved_payload

torch.set_num_threads(1)
WEIGHTS = "weights/model_weights_config.json"
CONSTANTS = "constants/model_constants_config.json"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return export_pt2(tmp_path_factory.mktemp("pt2") / "net.pt2").read_bytes()


@pytest.fixture
def pt2(tmp_path: Path, original: bytes) -> Path:
    path = tmp_path / "net.pt2"
    path.write_bytes(original)
    return path


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


def use_everything(path: Path) -> None:
    """Do all that memplan does with a file: load, run, read weights."""
    loaded = load(str(path))
    assert loaded.forward.code
    run_fake(loaded.forward, loaded.inputs)
    loaded.read_weights()


def refused(path: Path, complaint: str | None = None) -> None:
    with pytest.raises(ModelError, match=complaint) as caught:
        use_everything(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def nodes(document: Any) -> list[Any]:
    found: list[Any] = document["graph_module"]["graph"]["nodes"]
    return found


# Code


def test_pickled_sample_inputs_stay_unread(pt2: Path, marker: Path) -> None:
    rewrite(pt2, {"data/sample_inputs/model.pt": saved_payload(marker)})
    use_everything(pt2)
    assert not marker.exists()


def test_compiled_libraries_stay_unread(pt2: Path, marker: Path) -> None:
    rewrite(pt2, {"data/aotinductor/model/model.so": b"\x7fELF" + saved_payload(marker)})
    use_everything(pt2)
    assert not marker.exists()


@pytest.mark.parametrize("payload", [pickled_payload, saved_payload])
def test_a_pickled_weight(pt2: Path, marker: Path, payload: Callable[[Path], bytes]) -> None:
    def change(document: Any) -> None:
        document["config"]["0.weight"]["use_pickle"] = True

    rewrite(pt2, {"weights/weight_0": payload(marker), WEIGHTS: edit_json(change)})
    refused(pt2, "stored as a pickle")
    assert not marker.exists()


@pytest.mark.parametrize("place", ["tensor_0", "opaque_obj_0", "custom_obj_0"])
@pytest.mark.parametrize("use_pickle", [True, False])
def test_a_pickled_constant(pt2: Path, marker: Path, place: str, use_pickle: bool) -> None:
    def change(document: Any) -> None:
        document["config"]["extra"] = {
            "path_name": place, "is_param": False, "use_pickle": use_pickle, "tensor_meta": None,
        }  # fmt: skip

    rewrite(pt2, {f"constants/{place}": pickled_payload(marker), CONSTANTS: edit_json(change)})
    refused(pt2)
    assert not marker.exists()


def test_a_symbolic_expression_is_never_evaluated(tmp_path: Path, marker: Path) -> None:
    batch = torch.export.Dim("batch")
    path = export_pt2(
        tmp_path / "free.pt2", torch.nn.Linear(3, 2), (torch.randn(4, 3),),
        dynamic_shapes=({0: batch},),
    )  # fmt: skip
    code = f"__import__('os').system('touch {marker}') + Symbol('s0')"

    def evil(text: bytes) -> bytes:
        document = json.loads(text)

        def walk(value: Any) -> None:
            if isinstance(value, dict):
                if "expr_str" in value:
                    value["expr_str"] = code
                for part in value.values():
                    walk(part)
            elif isinstance(value, list):
                for part in value:
                    walk(part)

        walk(document)
        document["range_constraints"] = {code: {"min_val": 0, "max_val": 9}}
        document["guards_code"] = [code]
        return json.dumps(document).encode()

    rewrite(path, {"models/model.json": evil})
    loaded = load(str(path))
    assert loaded.batch_free
    assert loaded.inputs[0].shape == (4, 3)
    use_everything(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.ops.aten.__class__.default",
        "torch.ops.aten.conv2d.__class__",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.save.default",
        "torch.ops.aten.set_.source_Tensor",
        "torch.ops.aten.item.default",
        "torch.ops.custom.evil.default",
        "torch.ops.higher_order.cond",
        "_operator.attrgetter",
        "_operator.pow",
        "builtins.eval",
        "torch.serialization.load",
        "",
        "torch.ops.aten.relu.default; import os",
    ],
)
def test_a_target_outside_aten(pt2: Path, marker: Path, target: str) -> None:
    def change(document: Any) -> None:
        nodes(document)[2]["target"] = target
        nodes(document)[2]["inputs"].append(
            {"name": "x", "arg": {"as_string": f"touch {marker}"}, "kind": 1}
        )

    rewrite(pt2, {"models/model.json": edit_json(change)})
    refused(pt2)
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        'x")); __import__("os").system("touch MARKER"); (("',
        "a;b",
        "a b",
        "a\nimport os",
        "forward",
        "__class__.weight",
        "0.__init__",
        "x" * 500,
        "a..b",
        "",
    ],
)
def test_a_parameter_whose_name_is_code(pt2: Path, marker: Path, name: str) -> None:
    evil = name.replace("MARKER", str(marker))

    def in_model(document: Any) -> None:
        for spec in document["graph_module"]["signature"]["input_specs"]:
            if spec.get("parameter", {}).get("parameter_name") == "0.weight":
                spec["parameter"]["parameter_name"] = evil

    def in_weights(document: Any) -> None:
        document["config"][evil] = document["config"].pop("0.weight")

    rewrite(pt2, {"models/model.json": edit_json(in_model), WEIGHTS: edit_json(in_weights)})
    refused(pt2)
    assert not marker.exists()


def test_value_names_that_are_code_are_only_names(pt2: Path, marker: Path) -> None:
    evil = f"x = __import__('os').system('touch {marker}')\n"

    def rename(text: bytes) -> bytes:
        return text.replace(b'"input"', json.dumps(evil).encode())

    rewrite(pt2, {"models/model.json": rename})
    loaded = load(str(pt2))
    assert loaded.inputs[0].name == "input_0"
    use_everything(pt2)
    assert not marker.exists()


def test_a_string_argument_that_is_code(pt2: Path, marker: Path) -> None:
    def change(document: Any) -> None:
        nodes(document)[2]["inputs"].append(
            {"name": "a", "arg": {"as_string": f"'+str(__import__('os').system('touch {marker}'))"},
             "kind": 2}
        )  # fmt: skip

    rewrite(pt2, {"models/model.json": edit_json(change)})
    refused(pt2)
    assert not marker.exists()


def test_torchscript_is_refused_unread(tmp_path: Path, marker: Path) -> None:
    path = tmp_path / "script.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("script/data.pkl", pickled_payload(marker))
        archive.writestr("script/constants.pkl", pickled_payload(marker))
        archive.writestr("script/code/__torch__.py", "def __setstate__(self): pass")
    for trust in (False, True):
        with pytest.raises(ModelError, match="TorchScript"):
            load(str(path), trust=trust)
    assert not marker.exists()


# Sizes


def test_an_inflating_model_json(pt2: Path) -> None:
    bomb = b'{"padding": "' + b"0" * (80 * 2**20) + b'"}'
    rewrite(pt2, {"models/model.json": bomb}, compression=zipfile.ZIP_DEFLATED)
    assert pt2.stat().st_size < 2**20
    refused(pt2, "at most")


def test_inflating_weights(pt2: Path) -> None:
    rewrite(pt2, {"weights/weight_0": b"\0" * (4 * 2**20)}, compression=zipfile.ZIP_DEFLATED)
    refused(pt2, "compressed")


@pytest.mark.parametrize(
    ("sizes", "strides"),
    [
        ([10**11], [1]),
        ([10**11, 10**11], [10**11, 1]),
        ([2**70], [1]),
        ([-4, 2, 3, 3], [18, 9, 3, 1]),
        ([4, 2, 3, 3], [18, 9, 3, -1]),
        ([4000, 4000, 30], [0, 0, 0]),
        ([4, 2, 3, 3], [18, 9]),
        ([1] * 40, [1] * 40),
        ([8, 2, 3, 3], [18, 9, 3, 1]),
    ],
)
def test_declared_sizes_that_are_absurd(pt2: Path, sizes: list[int], strides: list[int]) -> None:
    def change(document: Any) -> None:
        meta = document["config"]["0.weight"]["tensor_meta"]
        meta["sizes"] = [{"as_int": size} for size in sizes]
        meta["strides"] = [{"as_int": stride} for stride in strides]

    rewrite(pt2, {WEIGHTS: edit_json(change)})
    refused(pt2)


@pytest.mark.parametrize("entry", ["../../etc/passwd", "weight_0/../weight_1", "", "tensor_99"])
def test_a_weight_that_lies_elsewhere(pt2: Path, entry: str) -> None:
    def change(document: Any) -> None:
        document["config"]["0.weight"]["path_name"] = entry

    rewrite(pt2, {WEIGHTS: edit_json(change)})
    refused(pt2)


@pytest.mark.parametrize("sizes", [[10**11, 2, 4, 4], [0, 2, 4, 4], [2, 2, 4, -4], []])
def test_inputs_of_absurd_shape(pt2: Path, sizes: list[int]) -> None:
    def change(document: Any) -> None:
        meta = document["graph_module"]["graph"]["tensor_values"]["input"]
        meta["sizes"] = [{"as_int": size} for size in sizes]

    rewrite(pt2, {"models/model.json": edit_json(change)})
    refused(pt2)


def test_a_number_that_is_squared_until_memory_is_full(tmp_path: Path) -> None:
    path = export_pt2(
        tmp_path / "free.pt2", torch.nn.Linear(3, 2), (torch.randn(4, 3),),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )  # fmt: skip

    def change(document: Any) -> None:
        def size(name: str) -> dict[str, Any]:
            return {"name": "", "arg": {"as_sym_int": {"as_name": name}}, "kind": 1}

        squares = [
            {"target": "torch.ops.aten.sym_size.int", "metadata": {}, "inputs": [
                {"name": "self", "arg": {"as_tensor": {"name": "input"}}, "kind": 1},
                {"name": "dim", "arg": {"as_int": 0}, "kind": 1},
            ], "outputs": [{"as_sym_int": {"as_name": "n0"}}]}
        ] + [
            {"target": "_operator.mul", "metadata": {}, "inputs": [size(f"n{i}"), size(f"n{i}")],
             "outputs": [{"as_sym_int": {"as_name": f"n{i + 1}"}}]}
            for i in range(60)
        ] + [
            {"target": "torch.ops.aten.mul.Scalar", "metadata": {}, "inputs": [
                {"name": "self", "arg": {"as_tensor": {"name": "input"}}, "kind": 1},
                {"name": "other", "arg": {"as_sym_int": {"as_name": "n60"}}, "kind": 1},
            ], "outputs": [{"as_tensor": {"name": "big"}}]}
        ]  # fmt: skip
        nodes(document)[:0] = squares
        document["graph_module"]["graph"]["outputs"] = [{"as_tensor": {"name": "big"}}]

    rewrite(path, {"models/model.json": edit_json(change)})
    refused(path, "size of .* bits")


def test_json_nested_too_deeply(pt2: Path) -> None:
    deep = b'{"graph_module":' * 100_000 + b"1" + b"}" * 100_000
    rewrite(pt2, {"models/model.json": deep})
    refused(pt2)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"NaN", b'{"graph_module": 1}', b"\xff\xfe", b"9" * 10_000]
)
def test_json_that_is_none(pt2: Path, text: bytes) -> None:
    rewrite(pt2, {"models/model.json": text})
    refused(pt2)
    rewrite(pt2, {WEIGHTS: text})
    refused(pt2)


def test_overlapping_entries(pt2: Path) -> None:
    content = pt2.read_bytes()
    with zipfile.ZipFile(pt2, "a") as archive:
        entry = archive.getinfo(next(n for n in archive.namelist() if n.endswith("weight_0")))
        for copy in range(2000):
            twin = zipfile.ZipInfo(f"net/data/weights/weight_{1000 + copy}")
            twin.header_offset, twin.file_size = entry.header_offset, entry.file_size
            twin.compress_size, twin.CRC = entry.compress_size * 100, entry.CRC
            archive.filelist.append(twin)
        archive.comment = b""  # makes it write the directory anew
    assert len(content) < pt2.stat().st_size
    refused(pt2, "overlap")


# Damage


def test_another_schema_is_named(pt2: Path) -> None:
    def change(document: Any) -> None:
        document["schema_version"]["major"] = 9

    rewrite(pt2, {"models/model.json": edit_json(change)})
    refused(pt2, "export schema 9")


def test_big_endian_weights(pt2: Path) -> None:
    rewrite(pt2, {"byteorder": b"big"})
    refused(pt2, "little-endian")


@pytest.mark.parametrize("part", [0, 1, 100, 0.3, 0.9, 0.999])
def test_a_truncated_file(pt2: Path, original: bytes, part: float) -> None:
    length = part if isinstance(part, int) else int(len(original) * part)
    pt2.write_bytes(original[:length])
    refused(pt2)


def test_a_missing_entry(pt2: Path) -> None:
    with zipfile.ZipFile(pt2) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(pt2, "w") as archive:
        for name, content in entries.items():
            if not name.endswith("weight_1"):
                archive.writestr(name, content)
    refused(pt2, "incomplete")


def test_flipped_bytes_in_a_weight_are_found(pt2: Path, original: bytes) -> None:
    with zipfile.ZipFile(pt2) as archive:
        entry = archive.getinfo(next(n for n in archive.namelist() if n.endswith("weight_0")))
    at = original.index(b"weight_0", entry.header_offset) + 200
    pt2.write_bytes(original[:at] + bytes([original[at] ^ 0xFF]) + original[at + 1 :])
    refused(pt2, "damaged")


def test_random_changes_of_the_json_never_escape(pt2: Path, original: bytes) -> None:
    """Replace one random value by another kind; the answer is a model or one line."""
    values: list[Any] = [None, -1, 10**30, "x", [], {}, True, 1.5, {"as_int": 3}, [[]]]
    survivors = 0
    complaints = []
    for seed in range(60):
        draw = random.Random(seed)

        def change(document: Any, draw: random.Random = draw) -> None:
            place = document["graph_module"]
            for _ in range(draw.randint(2, 9)):
                keys = list(place) if isinstance(place, dict) else list(range(len(place)))
                if not keys:
                    return
                key = draw.choice(keys)
                if not isinstance(place[key], (dict, list)) or draw.random() < 0.15:
                    place[key] = draw.choice(values)
                    return
                place = place[key]

        pt2.write_bytes(original)
        rewrite(pt2, {"models/model.json": edit_json(change)})
        try:
            use_everything(pt2)
            survivors += 1
        except ModelError as error:
            complaints.append(str(error))
    assert survivors < 60
    assert not [complaint for complaint in complaints if "\n" in complaint]
