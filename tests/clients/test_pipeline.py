from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memplan.clients import pipeline
from memplan.clients.pipeline import GraphOptions, RequestOptions
from memplan.ir.errors import (
    GraphError,
    MissingExtraError,
    ModelError,
    PlanRejectedError,
    RequestError,
)
from tests.support.hand_graphs import chain, diamond


def test_the_batch_is_the_traced_one_unless_it_is_said() -> None:
    graph = chain()
    options = RequestOptions(budget="1KB")
    assert pipeline.build_request(graph, options).batch == graph.traced_batch
    assert pipeline.build_request(graph, RequestOptions(budget=1024, batch=8)).batch == 8


def test_a_fixed_batch_stays() -> None:
    graph = diamond()
    assert not graph.batch_symbolic
    with pytest.raises(RequestError, match="dynamic batch"):
        pipeline.build_request(graph, RequestOptions(budget=1024, batch=graph.traced_batch + 1))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"seed": -1}, "seed"),
        ({"batch": 6, "micro_batch": 4}, "does not divide"),
        ({"time_limit_seconds": 0.0}, "--time-limit 0.0: must be greater than 0"),
        ({"contributions": {"head": 1.0}}, "for criterion contribution, and not for tinytrain"),
        (
            {"criterion": "contribution", "contributions": {"head": float("nan")}},
            "--contributions",
        ),
    ],
)
def test_bad_options_are_one_line(options: dict[str, Any], named: str) -> None:
    with pytest.raises(RequestError, match=named) as failure:
        pipeline.build_request(chain(), RequestOptions(budget=1024, **options))
    assert "\n" not in str(failure.value)


def test_graph_files_are_known_by_their_content(tmp_path: Path) -> None:
    graph_file = tmp_path / "anything"
    graph_file.write_text("\n " + chain().to_json())
    assert pipeline.is_graph_file(graph_file)
    assert pipeline.read_graph(graph_file) == chain()
    graph_file.write_bytes(b"PK\x03\x04")
    assert not pipeline.is_graph_file(graph_file)
    assert not pipeline.is_graph_file(tmp_path)
    assert not pipeline.is_graph_file("package.module:function")


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="check the path"):
        pipeline.read_graph(tmp_path / "missing.json")
    with pytest.raises(ModelError, match="there is no such file"):
        pipeline.load_model(str(tmp_path / "missing.pt2"))


def test_contradictions_name_both_sides() -> None:
    graph = chain()
    pipeline.refuse_contradictions(graph, GraphOptions(mode="train", optimizer="sgd"))
    with pytest.raises(RequestError, match=r"--optimizer adam.*traced with sgd"):
        pipeline.refuse_contradictions(graph, GraphOptions(optimizer="adam"))


def test_what_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = chain()
    request = pipeline.build_request(graph, RequestOptions(budget=1024))
    monkeypatch.setattr(pipeline, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"memplan\[trace\]"):
        pipeline.require_torch()
    with pytest.raises(MissingExtraError, match=r"memplan\[solver\]"):
        pipeline.solve(graph, request)


def test_files_of_another_kind_are_named(tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    path.write_text(chain().to_json())
    with pytest.raises(PlanRejectedError, match=r"this is a 'memplan.graph/1'") as failure:
        pipeline.read_plan(path)
    assert "more" not in str(failure.value)
    path.write_text('{"schema": "memplan.graph/1"}')
    with pytest.raises(GraphError, match="Field required"):
        pipeline.read_graph(path)
    path.write_text("[" * 10_000)
    with pytest.raises(GraphError):
        pipeline.read_graph(path)


def test_what_can_be_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="this is a folder"):
        pipeline.load_model(str(tmp_path))
    with pytest.raises(ModelError, match="there is no such file"):
        pipeline.load_model(str(tmp_path / "net.pt2"))


def test_options_are_checked_before_a_model_is_loaded() -> None:
    pipeline.check_options(RequestOptions(budget=1024, micro_batch=3))
    with pytest.raises(RequestError, match=r"--compute-limit -1\.0"):
        pipeline.check_options(RequestOptions(budget=1024, compute_limit=-1.0))
    with pytest.raises(RequestError, match="does not divide"):
        pipeline.check_options(RequestOptions(budget=1024, batch=4, micro_batch=3))
