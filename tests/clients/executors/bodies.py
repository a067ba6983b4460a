"""Bodies of plans that choose at random: alternatives, and what is computed again."""

from __future__ import annotations

import random
from collections.abc import Sequence

from memplan.ir.graph import OpGraph
from memplan.ir.request import LayerUpdate
from memplan.ir.sizes import alternative_allowed, updated_parameters

__all__ = ["random_body"]


def random_body(
    graph: OpGraph,
    mask: Sequence[LayerUpdate],
    trips: int,
    seed: int,
    recompute: float = 0.2,
    plain: float = 0.3,
) -> list[tuple[str, str]]:
    """Return what one trip needs, by random allowed alternatives.

    Args:
        recompute: probability with which a read of a backward operation is computed afresh.
        plain: probability with which an operation keeps its first alternative.
    """
    choose = random.Random(seed)
    by_layer = {update.layer: update for update in mask}
    updated = updated_parameters(graph, by_layer)
    updating = "update" if trips == 1 else "accumulate"
    wanted = set(graph.outputs)
    body: list[tuple[str, str]] = []
    ways: dict[str, str] = {}
    for operation in reversed(graph.operations):
        runs = operation.phase == "statistics" or not wanted.isdisjoint(operation.writes)
        if operation.parameter is not None:
            runs = operation.phase == updating and operation.parameter in updated
        if not runs or operation.phase == "constant":
            continue
        allowed = [w for w in operation.alternatives if alternative_allowed(operation, w, by_layer)]
        way = allowed[0] if choose.random() < plain else choose.choice(allowed)
        wanted.update(operand.tensor for operand in way.reads)
        ways[operation.id] = way.name
        body.append((operation.id, way.name))
    final: list[tuple[str, str]] = []
    for name, way_name in reversed(body):
        operation = graph.operation[name]
        way = next(w for w in operation.alternatives if w.name == way_name)
        if operation.phase in ("backward", "update", "accumulate"):
            for operand in way.reads:
                producer = graph.producer.get(operand.tensor)
                if (
                    producer is not None
                    and producer.recomputable
                    and producer.phase == "forward"
                    and not set(producer.writes) & set(graph.outputs)
                    and _reads_no_updated(graph, producer.id, ways, final)
                    and choose.random() < recompute
                ):
                    final.append((producer.id, ways[producer.id]))
        final.append((name, way_name))
    return final


def _reads_no_updated(
    graph: OpGraph, name: str, ways: dict[str, str], done: list[tuple[str, str]]
) -> bool:
    """Tell whether an operation may still run: its weights are as they were before the batch."""
    changed = {
        mutated
        for operation, _ in done
        if graph.operation[operation].phase == "update"
        for mutated in graph.operation[operation].mutates
    }
    way = next(w for w in graph.operation[name].alternatives if w.name == ways[name])
    return changed.isdisjoint(operand.tensor for operand in way.reads)
