"""torch's min-cut partitioner with ``activation_memory_budget`` from 1.0 to 0.0, the real one.

It is run on the joint graph that the problem comes from, at eleven budgets; the order is that of
its two graphs.  Its knob is a fraction of activation memory, so the cheapest of the eleven
sequences whose live bytes fit counts.  A problem that no torch graph is behind has none.
"""

from __future__ import annotations

from functools import lru_cache

from torch._functorch import config
from torch._functorch.partitioners import min_cut_rematerialization_partition

from benchmarks.planners.answer import Attempt, NotApplicableError, cheapest
from benchmarks.planners.problem import Problem, simulate
from benchmarks.planners.torch_graphs import MODELS, copied, traced

__all__ = ["min_cut", "partitioned"]

_BUDGETS = tuple(step / 10 for step in range(10, -1, -1))


def min_cut(problem: Problem, budget_bytes: int, seconds: float) -> Attempt:
    """Return the cheapest sequence of the partitioner that fits, else that of the lowest peak."""
    if problem.name not in MODELS:
        raise NotApplicableError("no torch graph is behind it")
    candidates = partitioned(problem.name)
    best = cheapest(problem, list(candidates.values()), budget_bytes)
    if best is None:
        best = min(candidates.values(), key=lambda c: simulate(problem, c).peak_bytes)
    knob = next(knob for knob, sequence in candidates.items() if sequence == best)
    return Attempt(best, note=f"activation_memory_budget {knob:g}")


@lru_cache
def partitioned(name: str) -> dict[float, tuple[int, ...]]:
    """Return the sequence at each budget of the partitioner."""
    step = traced(name)
    found: dict[float, tuple[int, ...]] = {}
    for budget in _BUDGETS:
        with config.patch(activation_memory_budget=budget):
            forward, backward = min_cut_rematerialization_partition(
                copied(step.joint), None, num_fwd_outputs=step.forward_outputs
            )
        found[budget] = tuple(
            step.operations[node.name]
            for module in (forward, backward)
            for node in module.graph.nodes
            if node.op == "call_function" and node.name in step.operations
        )
    return found
