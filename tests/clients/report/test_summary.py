from __future__ import annotations

import json

import pytest

from memplan.clients.report.summary import summarize
from memplan.ir.request import LayerUpdate, PlanRequest
from tests.support.answers import found, not_found
from tests.support.hand_graphs import chain, inference, two_layers

#: What scripts may rely on.
PROMISED = {
    "fits", "status", "budget_bytes", "arena_bytes", "lower_bound_bytes", "persistent_bytes",
    "baseline_bytes", "gap", "micro_batch", "batch", "recomputed_ops", "extra_macs_ratio",
    "updated_layers", "importance_ratio", "solve_seconds", "peak_set_by",
}  # fmt: skip


def test_every_answer_has_the_same_keys() -> None:
    graph = chain()
    request = PlanRequest(budget_bytes=10**6, batch=2)
    summaries = [
        summarize(graph, request, found(graph, request)),
        summarize(graph, request, not_found(graph, request, proved=True)),
        summarize(graph, request, not_found(graph, request, proved=False)),
    ]
    assert len({frozenset(summary) for summary in summaries}) == 1
    assert summaries[0].keys() >= PROMISED
    assert [summary["fits"] for summary in summaries] == [True, False, None]
    for summary in summaries:
        json.dumps(summary, allow_nan=False)


def test_figures_are_those_of_the_plan() -> None:
    graph = chain()
    request = PlanRequest(budget_bytes=10**6, batch=4, micro_batch=2)
    answer = found(graph, request)
    assert answer.plan is not None
    summary = summarize(graph, request, answer)
    assert summary["arena_bytes"] == max(b.offset + b.size_bytes for b in answer.plan.buffers)
    assert (summary["batch"], summary["micro_batch"], summary["trips"]) == (4, 2, 2)
    assert summary["extra_macs_ratio"] == 0
    assert summary["gap"].keys() == {level.name for level in answer.plan.certificate.levels}
    assert summary["peak_set_by"]["operation"] in graph.operation
    assert summary["graph_hash"] == graph.content_hash()


def test_updated_layers_name_their_slices() -> None:
    graph = two_layers()
    layer = graph.layers[0]
    axis = layer.axes[0]
    mask = (LayerUpdate(layer=layer.id, bias=True, weight=axis.name, channels=(0, 2)),)
    request = PlanRequest(budget_bytes=10**6, batch=4, update=mask)
    summary = summarize(graph, request, found(graph, request))
    assert summary["updated_layers"] == [
        {
            "layer": layer.id,
            "bias": True,
            "weight": axis.name,
            "channels": 2,
            "of_channels": axis.channels,
        }
    ]
    assert 0 < summary["importance_ratio"] < 1


def test_inference_has_no_importance() -> None:
    graph = inference()
    request = PlanRequest(budget_bytes=10**6, batch=2)
    summary = summarize(graph, request, found(graph, request))
    assert summary["updated_layers"] == []
    assert not summary["importance_is_proxy"]
    assert summary["importance_ratio"] in (None, pytest.approx(0))
