"""The contract of graph files: strict, capped, and every rule of well_formed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from memplan.ir.errors import GraphError
from memplan.ir.graph import OpGraph, walk_arguments
from memplan.ir.limits import MAX_BYTES, MAX_JSON_BYTES, MAX_OPERATIONS
from tests.support.hand_graphs import HAND_GRAPHS, chain, two_layers

Json = dict[str, Any]


def document() -> Json:
    loaded: Json = json.loads(two_layers().to_json())
    return loaded


@pytest.mark.parametrize("name", HAND_GRAPHS)
def test_json_round_trip(name: str) -> None:
    graph = HAND_GRAPHS[name]()
    again = OpGraph.from_json(graph.to_json())
    assert again == graph
    assert again.content_hash() == graph.content_hash()
    assert again.to_json() == graph.to_json()


def test_hash_does_not_depend_on_the_order_of_keys_or_on_spaces() -> None:
    def reversed_keys(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: reversed_keys(value[key]) for key in reversed(value)}
        return [reversed_keys(part) for part in value] if isinstance(value, list) else value

    shuffled = json.dumps(reversed_keys(document()), indent=3)
    assert OpGraph.from_json(shuffled).content_hash() == two_layers().content_hash()


def test_hash_depends_on_everything_else() -> None:
    changed = document()
    changed["operations"][0]["alternatives"][0]["macs"] = 1
    assert OpGraph.from_json(json.dumps(changed)).content_hash() != two_layers().content_hash()


def test_lookups() -> None:
    graph = two_layers()
    assert graph.tensor["w1"].role == "parameter"
    assert graph.operation["relu1"].writes == ("r1",)
    assert graph.layer["l1"].bias == "b1"
    assert graph.producer["r1"].id == "relu1"
    assert "x" not in graph.producer


def test_walk_arguments_yields_leaves() -> None:
    assert list(walk_arguments((1, (2, ("a", None)), ()))) == [1, 2, "a", None]


def test_arguments_of_every_kind_survive() -> None:
    changed = document()
    way = changed["operations"][0]["alternatives"][0]
    way["arguments"] = [
        None, True, 3, 2.5, "same", {"operand": 0}, {"size": {"fixed": 1, "per_sample": 2}},
        {"dtype": "float32"}, {"value": "inf"}, {"running": True},
        {"phantom": [1, 2], "dtype": "int8"}, [1, [2, []]],
    ]  # fmt: skip
    way["keywords"] = {"dim": [0, 1]}
    graph = OpGraph.from_json(json.dumps(changed))
    assert OpGraph.from_json(graph.to_json()) == graph
    assert (
        json.loads(graph.to_json())["operations"][0]["alternatives"][0]["arguments"]
        == (way["arguments"])
    )


def refuse(edit: Callable[[Json], Any], match: str) -> None:
    changed = document()
    edit(changed)
    with pytest.raises(GraphError, match=match) as failure:
        OpGraph.from_json(json.dumps(changed), "graph.json")
    message = str(failure.value)
    assert message.startswith("graph.json: ")
    assert "\n" not in message


def operation(changed: Json, name: str) -> Json:
    found: Json = next(o for o in changed["operations"] if o["id"] == name)
    return found


def tensor(changed: Json, name: str) -> Json:
    found: Json = next(t for t in changed["tensors"] if t["id"] == name)
    return found


TYPES: list[tuple[str, Callable[[Json], Any], str]] = [
    ("unknown field", lambda d: d.update(extra=1), "extra"),
    ("unknown field inside", lambda d: d["tensors"][0].update(extra=1), "extra"),
    ("another version", lambda d: d.update(schema="memplan.graph/2"), "schema"),
    ("number as text", lambda d: d.update(traced_batch="4"), "traced_batch"),
    ("float for a whole number", lambda d: d.update(traced_batch=4.5), "traced_batch"),
    ("number as truth", lambda d: d.update(batch_symbolic=1), "batch_symbolic"),
    ("no batch", lambda d: d.update(traced_batch=0), "traced_batch"),
    ("unknown role", lambda d: d["tensors"][0].update(role="view"), "role"),
    ("unknown dtype", lambda d: d["tensors"][0].update(dtype="complex64"), "dtype"),
    ("unknown phase", lambda d: d["operations"][0].update(phase="sideways"), "phase"),
    ("no alternative", lambda d: d["operations"][0].update(alternatives=[]), "alternatives"),
    ("empty name", lambda d: d["tensors"][0].update(id=""), "id"),
    ("endless name", lambda d: d["tensors"][0].update(id="x" * 401), "id"),
    ("infinite learning rate", lambda d: d["optimizer"].update(learning_rate=1e999), "learning"),
    ("NaN potentials", lambda d: d["layers"][0].update(fisher=float("nan")), "fisher|JSON"),
    ("negative potential", lambda d: d["layers"][0].update(fisher=-1.0), "fisher"),
    ("huge size", lambda d: d["tensors"][0].update(size_bytes=MAX_BYTES + 1), "size_bytes"),
    ("many dimensions", lambda d: d["tensors"][0].update(shape=[1] * 17), "shape"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "match"), [t[1:] for t in TYPES], ids=[t[0] for t in TYPES])
def test_types_are_strict(edit: Callable[[Json], Any], match: str) -> None:
    refuse(edit, match)


def _cycle(d: Json) -> None:
    operation(d, "linear1")["alternatives"][0]["reads"][0] = {"tensor": "r1"}


def _self_loop(d: Json) -> None:
    operation(d, "relu1")["alternatives"][0]["reads"] = [{"tensor": "r1"}]


RULES: list[tuple[str, Callable[[Json], Any], str]] = [
    ("cycle", _cycle, "linear1.*'r1'.*cycle"),
    ("self loop", _self_loop, "relu1.*'r1'.*cycle"),
    ("negative size", lambda d: tensor(d, "h1").update(size_bytes=-1, shape=[0], strides=[1]),
     "h1: size_bytes is -1"),
    ("shrinking with the batch", lambda d: tensor(d, "h1").update(
        size_bytes={"fixed": 20, "per_sample": -11}, shape=[0], strides=[1]),
     "h1: its bytes shrink as the batch grows"),
    ("shape beyond the bytes", lambda d: tensor(d, "w1").update(shape=[81]), "do not fit its 80"),
    ("negative dimension", lambda d: tensor(d, "w1").update(shape=[-1]), "do not fit"),
    ("strides for other dimensions", lambda d: tensor(d, "w1").update(strides=[1, 1]),
     "1 dimensions but 2 strides"),
    ("slice of bytes that do not divide", lambda d: tensor(d, "w1")["slices"][0].update(channels=7),
     "do not divide by 7"),
    ("slice without a dimension", lambda d: tensor(d, "w1")["slices"][0].update(dim=3),
     "needs a layer and one of"),
    ("tensor twice", lambda d: d["tensors"].append(d["tensors"][0]), "tensor 'x' stands 2 times"),
    ("operation twice", lambda d: d["operations"].insert(0, d["operations"][0]), "2 times"),
    ("layer twice", lambda d: d["layers"].append(d["layers"][0]), "layer 'l1' stands 2 times"),
    ("unknown layer of a tensor", lambda d: tensor(d, "w1").update(layer="ghost"),
     "no layer 'ghost'"),
    ("unknown layer of an operation", lambda d: operation(d, "linear1").update(layer="ghost"),
     "no layer 'ghost'"),
    ("unknown parameter", lambda d: d["layers"][0].update(weight="ghost"),
     "'ghost' is no parameter"),
    ("layer without parameters", lambda d: d["layers"][0].update(weight=None, bias=None),
     "neither"),
    ("wrong number of potentials",
     lambda d: d["layers"][0]["axes"][0].update(potentials=[1.0]), "1 values for 4 channels"),
    ("writes a parameter", lambda d: operation(d, "linear1").update(writes=["w2"]),
     "writes 'w2', a tensor of role parameter"),
    ("writes what is no tensor", lambda d: operation(d, "linear1").update(writes=["ghost"]),
     "no tensor"),
    ("mutates an activation", lambda d: operation(d, "update.w1").update(mutates=["h1"]),
     "mutates 'h1'"),
    ("recomputable update", lambda d: operation(d, "update.w1").update(recomputable=True),
     "may not be recomputable"),
    ("forward that serves a parameter", lambda d: operation(d, "linear1").update(parameter="w1"),
     "a parameter goes with the phases"),
    ("update of nothing", lambda d: operation(d, "update.w1").update(parameter=None),
     "a parameter goes with the phases"),
    ("reads what is no tensor",
     lambda d: operation(d, "relu1")["alternatives"][0].update(reads=[{"tensor": "ghost"}]),
     "reads 'ghost'"),
    ("two alternatives of one name",
     lambda d: operation(d, "relu1.back")["alternatives"][1].update(name="plain"), "same name"),
    ("in place of no operand",
     lambda d: operation(d, "relu1")["alternatives"][0].update(in_place=[{"read": 1, "write": 0}]),
     "in_place names an operand"),
    ("in place into no result",
     lambda d: operation(d, "relu1")["alternatives"][0].update(in_place=[{"read": 0, "write": 1}]),
     "in_place names an operand"),
    ("argument of no operand",
     lambda d: operation(d, "relu1")["alternatives"][0].update(arguments=[[{"operand": 1}]]),
     "argument names operand 1 of 1"),
    ("operand outside its tensor",
     lambda d: operation(d, "relu1")["alternatives"][0].update(
         reads=[{"tensor": "h1", "shape": [{"fixed": 1, "per_sample": 80}], "strides": [1]}]),
     "reaches outside"),
    ("operand with a shape but no strides",
     lambda d: operation(d, "relu1")["alternatives"][0].update(
         reads=[{"tensor": "h1", "shape": [1]}]), "both shape and strides"),
    ("operand with an offset but no shape",
     lambda d: operation(d, "relu1")["alternatives"][0].update(
         reads=[{"tensor": "h1", "offset": 4}]), "offset but no shape"),
    ("negative MACs", lambda d: operation(d, "relu1")["alternatives"][0].update(macs=-1),
     "macs is -1"),
    ("negative workspace",
     lambda d: operation(d, "relu1")["alternatives"][0].update(
         workspace_bytes={"fixed": 3, "per_sample": -2}),
     "workspace_bytes shrinks as the batch grows"),
    ("axes without a layer",
     lambda d: operation(d, "relu1")["alternatives"][0].update(axes=["whole"]),
     "need the operation's layer"),
    ("unknown output", lambda d: d.update(outputs=["ghost"]), "output 'ghost'"),
    ("input as output", lambda d: d.update(outputs=["x"]), "output 'x'"),
    ("layer without update",
     lambda d: d["operations"].remove(operation(d, "update.w2")), "'w2' has 0 operations of phase"),
    ("layer without accumulation",
     lambda d: d["operations"].remove(operation(d, "accumulate.w2")), "of phase accumulate"),
    ("training without a loss", lambda d: d.update(loss=None), "needs a loss"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "match"), [r[1:] for r in RULES], ids=[r[0] for r in RULES])
def test_rules_are_kept(edit: Callable[[Json], Any], match: str) -> None:
    refuse(edit, match)


def test_a_billion_operations_are_not_read() -> None:
    minimal = '{"id":"o","phase":"forward","alternatives":[{"name":"p","target":"t"}]}'
    many = ",".join([minimal] * (MAX_OPERATIONS + 1))
    text = json.dumps(document() | {"operations": "HERE"}).replace('"HERE"', f"[{many}]")
    with pytest.raises(GraphError, match=f"operations: .* at most {MAX_OPERATIONS} items"):
        OpGraph.from_json(text)
    with pytest.raises(GraphError, match="bytes of JSON, at most"):
        OpGraph.from_json("[" * (MAX_JSON_BYTES + 1))


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", "[" * 200_000, '{"name": NaN}', '{"a": 1e999}', b"\xff\xfe"]
)
def test_what_is_no_graph_is_refused_in_one_line(text: str | bytes) -> None:
    with pytest.raises(GraphError) as failure:
        OpGraph.from_json(text, "upload")
    assert str(failure.value).startswith("upload: ")
    assert "\n" not in str(failure.value)


def test_graphs_cannot_be_changed() -> None:
    graph: Any = chain()
    with pytest.raises(ValueError, match="frozen"):
        graph.name = "other"
