"""One step from outside: which operations run, with which alternatives, how often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from memplan.ir.graph import Alternative, Operation, OpGraph
from memplan.ir.request import LayerUpdate
from memplan.ir.sizes import alternative_allowed, updated_parameters
from tests.support.graph_interpreter.run import Run
from tests.support.graph_interpreter.weights import initial_weights
from tests.support.update_order import updates_after_readers

__all__ = ["Outcome", "full_mask", "run_step"]


@dataclass
class Outcome:
    """What one step gives."""

    #: Mean of the loss over the micro-batches.
    loss: float
    #: Parameters after the step, whole.
    parameters: dict[str, torch.Tensor]
    states: dict[str, torch.Tensor]
    #: Values of the graph's outputs in the last trip.
    outputs: dict[str, torch.Tensor]
    #: Operations that ran in one trip of the body.
    executed: list[str] = field(default_factory=list)


def full_mask(graph: OpGraph) -> dict[str, LayerUpdate]:
    """Return the mask that updates everything."""
    return {
        layer.id: LayerUpdate(
            layer=layer.id,
            bias=layer.bias is not None,
            weight="none" if layer.weight is None else "whole",
        )
        for layer in graph.layers
    }


def run_step(
    graph: OpGraph,
    values: Mapping[str, torch.Tensor],
    inputs: Mapping[str, torch.Tensor],
    *,
    batch: int,
    micro_batch: int | None = None,
    mask: Mapping[str, LayerUpdate] | None = None,
    prefer: tuple[str, ...] = (),
    seed: int = 0,
) -> Outcome:
    """Run one step (or inference).

    Args:
        values: parameters and buffers of the original module by name.
        inputs: the whole batch of inputs and labels by tensor id.
        prefer: names of alternatives to take where the mask allows them.
    """
    if mask is None:
        mask = full_mask(graph) if graph.mode == "train" else {}
    run = Run(graph, mask, micro_batch or batch, batch, seed)
    run.load(initial_weights(graph, values))
    serving = {"update"} if run.trips == 1 else {"clear", "accumulate", "apply"}
    chosen = _choose(graph, mask, prefer, serving)
    executed: list[str] = []
    losses = []
    for name in ("constant", "clear"):
        for operation, way in chosen:
            if operation.phase == name:
                run.execute(operation, way)
    for trip in range(run.trips):
        run.trip = trip
        run.feed(inputs)
        executed = []
        for operation, way in chosen:
            if operation.phase in ("constant", "clear", "apply"):
                continue
            run.execute(operation, way)
            executed.append(operation.id)
        if graph.mode == "train":
            losses.append(run.whole(graph.outputs[0]).item())
    for operation, way in chosen:
        if operation.phase == "apply":
            run.execute(operation, way)
    return Outcome(
        loss=sum(losses) / len(losses) if losses else float("nan"),
        parameters={t.id: run.full[t.id] for t in graph.tensors if t.role == "parameter"},
        states={t.id: run.full[t.id] for t in graph.tensors if t.role == "state"},
        outputs={name: run.whole(name).clone() for name in graph.outputs},
        executed=executed,
    )


def _choose(
    graph: OpGraph, mask: Mapping[str, LayerUpdate], prefer: tuple[str, ...], serving: set[str]
) -> list[tuple[Operation, Alternative]]:
    """Return the operations that must run, each with the alternative it takes."""

    def fits(operation: Operation, way: Alternative) -> bool:
        covered = [graph.operation[name] for name in way.covers]
        return alternative_allowed(operation, way, mask) and all(
            one.phase in serving and one.parameter in updated for one in covered
        )

    def needed(covered: set[str]) -> list[tuple[Operation, Alternative]]:
        wanted = set(graph.outputs)
        found = []
        for operation in reversed(graph.operations):
            if operation.parameter is not None:
                runs = operation.phase in serving and operation.parameter in updated
                runs = runs and operation.id not in covered
            else:
                runs = operation.phase == "statistics" or not wanted.isdisjoint(operation.writes)
            if not runs:
                continue
            allowed = [way for way in operation.alternatives if fits(operation, way)]
            assert allowed, f"{operation.id}: no alternative for {mask.get(operation.layer or '')}"
            way = next((way for way in allowed if way.name in prefer), allowed[0])
            found.append((operation, way))
            wanted.update(operand.tensor for operand in way.reads)
        return found[::-1]

    updated = updated_parameters(graph, mask)
    covered = {name for _, way in needed(set()) for name in way.covers}
    return updates_after_readers(needed(covered))
