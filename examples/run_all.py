"""Plans, checks and executes every example: ``make examples`` (takes a while).

``python -m examples.run_all [NAME ...]``.  The budget of each is the persistent bytes of a full
update plus its ``budget_fraction`` of what the plain step needs beyond them, or 5 % more than the
proven lower bound where that is higher.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

import memplan
from examples.catalogue import EXAMPLES, Example
from memplan.clients import pipeline
from memplan.clients.cli.comparing import Trial, compare_with
from memplan.clients.cli.samples import random_inputs
from memplan.clients.executors.torch import StepResult, run_step
from memplan.clients.executors.torch.threads import one_thread
from memplan.ir.baseline import baseline_bytes, plain_operations
from memplan.ir.check import check
from memplan.ir.errors import MemplanError
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.ir.units import format_bytes
from memplan.tracing.weights import build_weights

__all__ = ["main"]

TIME_LIMIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    ok: bool
    outcome: str
    budget_bytes: int = 0
    arena_bytes: int | None = None
    baseline_bytes: int = 0
    seconds: float = 0.0


def main(names: list[str]) -> int:
    """Run the named examples, or all, and return 0 if every one was planned and agreed."""
    known = [entry.name for entry in EXAMPLES]
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"error: no example {unknown[0]!r}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = [entry for entry in EXAMPLES if not names or entry.name in names]
    print(f"{'example':<20}{'plain step':>12}{'budget':>12}{'arena':>12}{'seconds':>9}  outcome")
    failures = 0
    for entry in chosen:
        try:
            row = run(entry)
        except MemplanError as failure:
            row = Row(entry.name, False, f"error: {failure}")
        failures += not row.ok
        arena = "-" if row.arena_bytes is None else format_bytes(row.arena_bytes)
        print(
            f"{row.name:<20}{format_bytes(row.baseline_bytes):>12}"
            f"{format_bytes(row.budget_bytes):>12}{arena:>12}{row.seconds:>9.1f}  {row.outcome}",
            flush=True,
        )
    print(f"{len(chosen) - failures} of {len(chosen)} examples planned, checked and executed")
    return 1 if failures else 0


def run(entry: Example) -> Row:
    """Plan, check and execute one example with a full update."""
    model = pipeline.load_model(entry.factory)
    options = pipeline.GraphOptions(loss=entry.loss, target=entry.target)
    graph = pipeline.trace_model(model, options, entry.batch)
    baseline = baseline_bytes(graph, entry.batch)
    budget = budget_of(graph, entry)
    began = time.monotonic()
    answer = memplan.plan(
        graph, budget=budget, batch=entry.batch, update="full", time_limit=TIME_LIMIT_SECONDS
    )
    if answer.plan is None and answer.lower_bound_bytes * 1.05 > budget:
        budget = int(answer.lower_bound_bytes * 1.05)
        answer = memplan.plan(
            graph, budget=budget, batch=entry.batch, update="full", time_limit=TIME_LIMIT_SECONDS
        )
    seconds = time.monotonic() - began
    if answer.plan is None:
        return Row(entry.name, False, answer.status, budget, None, baseline, seconds)
    with one_thread():
        outcome, ok = _execute(graph, answer.plan, build_weights(graph, model.read_weights))
    arena = answer.plan.totals.arena_bytes
    return Row(entry.name, ok, f"{answer.status}, {outcome}", budget, arena, baseline, seconds)


def budget_of(graph: OpGraph, entry: Example) -> int:
    """Return the example's budget: a part of the way from persistent bytes to the plain step."""
    parameters = (name for layer in graph.layers for name in (layer.weight, layer.bias))
    operations = plain_operations(graph, frozenset(name for name in parameters if name))
    held = {name for operation in operations for name in operation.mutates}
    persistent = sum(graph.tensor[name].size_bytes.at(entry.batch) for name in held)
    beyond = baseline_bytes(graph, entry.batch) - persistent
    return persistent + int(entry.budget_fraction * beyond)


def _execute(graph: OpGraph, plan: Plan, weights: Mapping[str, torch.Tensor]) -> tuple[str, bool]:
    if not check(graph, plan).accepted:
        return "the checker rejects the plan", False

    def execute(trial: Trial) -> StepResult:
        return run_step(
            graph, plan, trial.weights, trial.samples, seed=trial.seed, keep_gradients=True,
            measure_scratch=False,
        )  # fmt: skip

    def draw(seed: int) -> Mapping[str, torch.Tensor]:
        return random_inputs(graph, plan.batch, seed)

    trial = Trial(weights, draw(0), seed=0)
    verdict = compare_with("autograd", graph, plan, trial, execute(trial), run=execute, redraw=draw)
    return ("agrees with autograd" if verdict.agrees else verdict.detail), verdict.agrees


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
