"""The one flat object that scripts read: what ``--format json`` prints."""

from __future__ import annotations

from typing import Any

from memplan.ir.answer import Answer
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.ir.request import LayerUpdate, PlanRequest

__all__ = ["extra_macs_ratio", "importance_ratio", "summarize", "updated_layers"]

#: What a plan says, and what stands in where there is none.
_WITHOUT_PLAN: dict[str, Any] = {
    "arena_bytes": None,
    "persistent_bytes": None,
    "peak_live_bytes": None,
    "frozen_bytes": None,
    "fragmentation": None,
    "gap": None,
    "levels": None,
    "micro_batch": None,
    "trips": None,
    "recomputed_ops": None,
    "extra_macs_ratio": None,
    "macs": None,
    "time_ns": None,
    "updated_layers": None,
    "importance_ratio": None,
    "peak_set_by": None,
    "restrictions": None,
    "lower_bound_time_ns": None,
    "solver": None,
    "checked_by": None,
}


def summarize(graph: OpGraph, request: PlanRequest, answer: Answer) -> dict[str, Any]:
    """Return the summary of an answer; its keys are always the same (docs/cli.md).

    ``fits`` is true where a plan keeps the budget, false where none can, and null where the
    time ran out before either was known.
    """
    plan = answer.plan
    return {
        "model": graph.name,
        "mode": graph.mode,
        "fits": {"infeasible": False, "undecided": None}.get(answer.status, True),
        "status": answer.status,
        "budget_bytes": request.budget_bytes,
        "lower_bound_bytes": answer.lower_bound_bytes,
        "smallest_found_bytes": answer.smallest_found_bytes,
        "baseline_bytes": answer.baseline_bytes,
        "batch": request.batch,
        "solve_seconds": round(answer.solve_seconds, 3),
        "quantize": "none" if graph.quantization is None else graph.quantization.scheme,
        "ranges_are_guess": graph.quantization is not None
        and graph.quantization.calibration_samples == 0,
        "importance_is_proxy": graph.mode == "train" and graph.importance_samples == 0,
        "explanation": None
        if answer.explanation is None
        else answer.explanation.model_dump(mode="json"),
        "graph_hash": graph.content_hash(),
        "request_hash": request.content_hash(),
        **(_WITHOUT_PLAN if plan is None else _of_plan(graph, plan)),
    }


def _of_plan(graph: OpGraph, plan: Plan) -> dict[str, Any]:
    totals, certificate = plan.totals, plan.certificate
    live = max(totals.peak_live_bytes, 1)
    return {
        "arena_bytes": totals.arena_bytes,
        "persistent_bytes": totals.persistent_bytes,
        "peak_live_bytes": totals.peak_live_bytes,
        "frozen_bytes": totals.frozen_bytes,
        "fragmentation": round(totals.arena_bytes / live - 1, 6),
        "gap": {level.name: level.gap for level in certificate.levels},
        "levels": [level.model_dump(mode="json") for level in certificate.levels],
        "micro_batch": plan.micro_batch,
        "trips": plan.trips,
        "recomputed_ops": totals.recomputed_operations,
        "extra_macs_ratio": extra_macs_ratio(plan),
        "macs": totals.macs,
        "time_ns": totals.time_ns,
        "updated_layers": updated_layers(graph, plan),
        "importance_ratio": importance_ratio(plan),
        "peak_set_by": plan.peak.model_dump(mode="json"),
        "restrictions": list(certificate.restrictions),
        "lower_bound_time_ns": certificate.lower_bound_time_ns,
        "solver": certificate.solver,
        "checked_by": certificate.checked_by,
    }


def extra_macs_ratio(plan: Plan) -> float:
    """Return the MACs beyond those of the plain step, relative to the plain step's."""
    plain = plan.totals.plain_macs
    return (plan.totals.macs - plain) / plain if plain else 0.0


def importance_ratio(plan: Plan) -> float | None:
    """Return the importance of what is updated relative to updating everything.

    None where nothing has importance: in infer mode, or without layers.
    """
    total = plan.totals.importance_total
    return plan.totals.importance / total if total else None


def updated_layers(graph: OpGraph, plan: Plan) -> list[dict[str, Any]]:
    """Return what is updated, one row per layer, in the order of the graph."""
    return [
        _updated_layer(graph, plan.update_of[layer.id])
        for layer in graph.layers
        if layer.id in plan.update_of
    ]


def _updated_layer(graph: OpGraph, update: LayerUpdate) -> dict[str, Any]:
    axes: dict[str, int] = {axis.name: axis.channels for axis in graph.layer[update.layer].axes}
    return {
        "layer": update.layer,
        "bias": update.bias,
        "weight": update.weight,
        "channels": len(update.channels) if update.channels else None,
        "of_channels": axes.get(update.weight) if update.channels else None,
    }
