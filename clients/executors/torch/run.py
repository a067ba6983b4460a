"""run_step: a plan from given weights, for a few steps on one batch."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch

from memplan.clients.executors.torch.executor import ArenaExecutor, OnGradient, OnOutputs
from memplan.clients.executors.torch.result import StepResult
from memplan.ir.errors import DataError
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan

__all__ = ["run_step"]


def run_step(
    graph: OpGraph,
    plan: Plan,
    weights: Mapping[str, torch.Tensor],
    inputs: Mapping[str, torch.Tensor],
    *,
    seed: int = 0,
    debug: bool = False,
    on_gradient: OnGradient | None = None,
    on_outputs: OnOutputs | None = None,
    steps: int = 1,
    keep_gradients: bool = False,
    measure_scratch: bool = True,
) -> StepResult:
    """Run a plan from given weights for some steps on one batch.

    Args:
        graph: the graph that the plan is for.
        plan: a plan that ``check`` accepts.
        weights: by tensor id; see ``ArenaExecutor``.
        inputs: the whole batch by tensor id, of every input and label.
        seed: of dropout; step number k (from 0) uses ``seed + k``.
        debug: poison dead bytes; see ``ArenaExecutor``.
        on_gradient: is told of each gradient just before its update.
        on_outputs: is told of the outputs of each trip.
        steps: how often the step is run.
        keep_gradients: return the gradients of the last step, and of an int8 graph the integers.
        measure_scratch: measure what is allocated outside of the arena, in a step of its own that
            is undone.

    Raises:
        DataError: weights or inputs are missing, malformed or not finite.
        ModelError: an operation that this executor does not have.
        PlanRejectedError: the plan does not fit the graph.
    """
    for name, value in inputs.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise DataError(f"inputs: {name} has values that are not finite; clean the samples")
    executor = ArenaExecutor(graph, plan, weights, debug=debug)
    scratch = executor.measure_scratch(inputs, seed=seed) if measure_scratch else None
    gradients: dict[str, torch.Tensor] = {}

    def observe(name: str, gradient: torch.Tensor) -> None:
        gradients[name] = executor.whole_gradient(name, gradient)
        if on_gradient is not None:
            on_gradient(name, gradient)

    integers: dict[str, torch.Tensor] = {}
    outputs: dict[str, torch.Tensor] = {}
    seconds = 0.0
    for step in range(steps):
        started = time.perf_counter()
        outputs = executor.step(
            inputs,
            seed=seed + step,
            on_gradient=observe if keep_gradients or on_gradient is not None else None,
            on_outputs=on_outputs,
            on_integers=integers.update if keep_gradients else None,
        )
        seconds = time.perf_counter() - started
    return StepResult(
        loss=float(outputs[graph.outputs[0]]) if graph.mode == "train" else None,
        updated=executor.parameters(),
        states=executor.states(),
        outputs=outputs,
        arena_bytes=executor.arena_bytes,
        seconds=seconds,
        steps=steps,
        gradients=gradients if keep_gradients else {},
        scratch=scratch,
        integers=integers,
    )
