"""Bodies of plans that choose at random: alternatives, and what is computed again."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence, Set

from memplan.ir.blocks import cover_allowed, covered_operations, mutated_tensors
from memplan.ir.channel_strips import CHANNEL_STRIPS
from memplan.ir.graph import Alternative, Operation, OpGraph
from memplan.ir.request import LayerUpdate
from memplan.ir.sizes import alternative_allowed, updated_parameters
from tests.support.update_order import updates_after_readers

__all__ = ["block_body", "random_body"]


def random_body(
    graph: OpGraph,
    mask: Sequence[LayerUpdate],
    trips: int,
    seed: int,
    recompute: float = 0.2,
    plain: float = 0.3,
    *,
    streamed: bool = False,
) -> list[tuple[str, str]]:
    """Return what one trip needs, by random allowed alternatives.

    Args:
        recompute: probability with which a read of a backward operation is computed afresh.
        plain: probability with which an operation keeps its first alternative.
        streamed: whether inputs come trip by trip, so that they may be used up.
    """
    forbidden: set[tuple[str, str]] = set()
    while True:
        body = _random_body(graph, mask, trips, random.Random(seed), recompute, plain, forbidden)
        wrong = _not_used_up(graph, body, trips > 1 and not streamed)
        if not wrong:
            return body
        forbidden |= wrong


def _random_body(
    graph: OpGraph,
    mask: Sequence[LayerUpdate],
    trips: int,
    choose: random.Random,
    recompute: float,
    plain: float,
    forbidden: Set[tuple[str, str]],
) -> list[tuple[str, str]]:
    by_layer = {update.layer: update for update in mask}
    updating = "update" if trips == 1 else "accumulate"
    ways: dict[str, str] = {}
    for operation in graph.operations:
        allowed = [
            way
            for way in _allowed(graph, operation, by_layer, updating)
            if (operation.id, way.name) not in forbidden
        ]
        if allowed:
            way = allowed[0] if choose.random() < plain else choose.choice(allowed)
            ways[operation.id] = way.name
    body = _body(graph, by_layer, ways, updating)
    final: list[tuple[str, str]] = []
    for name, way_name in body:
        operation = graph.operation[name]
        way = _way(graph, name, way_name)
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


def _not_used_up(
    graph: OpGraph, body: Sequence[tuple[str, str]], inputs_stay: bool
) -> set[tuple[str, str]]:
    """Return what would use up an operand that is needed behind it."""
    wrong = set()
    for index, (name, way_name) in enumerate(body):
        way = _way(graph, name, way_name)
        if way.uses_up is None:
            continue
        operand = way.reads[way.uses_up].tensor
        if operand in graph.outputs or (inputs_stay and graph.tensor[operand].role == "input"):
            wrong.add((name, way_name))
        for later, later_way in body[index + 1 :]:
            if any(read.tensor == operand for read in _way(graph, later, later_way).reads):
                wrong.add((name, way_name))
            if operand in graph.operation[later].writes:
                break
    return wrong


def block_body(graph: OpGraph, mask: Sequence[LayerUpdate], trips: int) -> list[tuple[str, str]]:
    """Return what one trip needs, every block as one, with as many updates as it can cover."""
    by_layer = {update.layer: update for update in mask}
    updating = "update" if trips == 1 else "accumulate"
    ways = {}
    for operation in graph.operations:
        allowed = _allowed(graph, operation, by_layer, updating)
        blocks = [way for way in allowed if way.target == CHANNEL_STRIPS]
        if blocks:
            ways[operation.id] = max(blocks, key=lambda way: len(way.covers)).name
        elif allowed:
            ways[operation.id] = allowed[0].name
    return _body(graph, by_layer, ways, updating)


def _allowed(
    graph: OpGraph, operation: Operation, mask: Mapping[str, LayerUpdate], updating: str
) -> list[Alternative]:
    return [
        way
        for way in operation.alternatives
        if alternative_allowed(operation, way, mask)
        and cover_allowed(graph, way, mask)
        and all(one.phase == updating for one in covered_operations(graph, way))
    ]


def _body(
    graph: OpGraph, mask: Mapping[str, LayerUpdate], ways: Mapping[str, str], updating: str
) -> list[tuple[str, str]]:
    """Return what runs by these ways; a block does what it covers, so that does not run itself."""
    body = _needed(graph, mask, ways, updating, set())
    covered = {name for operation, way in body for name in _way(graph, operation, way).covers}
    return _needed(graph, mask, ways, updating, covered) if covered else body


def _needed(
    graph: OpGraph,
    mask: Mapping[str, LayerUpdate],
    ways: Mapping[str, str],
    updating: str,
    covered: set[str],
) -> list[tuple[str, str]]:
    """Return what runs in one trip by these ways, once."""
    updated = updated_parameters(graph, mask)
    wanted = set(graph.outputs)
    body = []
    for operation in reversed(graph.operations):
        runs = operation.phase == "statistics" or not wanted.isdisjoint(operation.writes)
        if operation.parameter is not None:
            runs = operation.phase == updating and operation.parameter in updated
        if not runs or operation.phase == "constant" or operation.id in covered:
            continue
        way = _way(graph, operation.id, ways[operation.id])
        wanted.update(operand.tensor for operand in way.reads)
        body.append((operation, way))
    return [(operation.id, way.name) for operation, way in updates_after_readers(body[::-1])]


def _way(graph: OpGraph, operation: str, name: str) -> Alternative:
    return next(way for way in graph.operation[operation].alternatives if way.name == name)


def _reads_no_updated(
    graph: OpGraph, name: str, ways: dict[str, str], done: list[tuple[str, str]]
) -> bool:
    """Tell whether an operation may still run: its weights are as they were before the batch."""
    changed = {
        mutated
        for operation, way in done
        for mutated in mutated_tensors(
            graph, graph.operation[operation], _way(graph, operation, way)
        )
        if graph.tensor[mutated].role == "parameter"
    }
    way = _way(graph, name, ways[name])
    return changed.isdisjoint(operand.tensor for operand in way.reads)
