from __future__ import annotations

from examples.catalogue import Example
from examples.run_all import budget_of
from memplan.ir.baseline import baseline_bytes
from tests.support.hand_graphs import chain


def test_the_budget_is_part_of_the_way_to_the_plain_step() -> None:
    graph = chain()
    parameters = [tensor for tensor in graph.tensors if tensor.role == "parameter"]
    persistent = sum(tensor.size_bytes.at(2) for tensor in parameters)
    baseline = baseline_bytes(graph, 2)
    assert 0 < persistent < baseline
    nothing, half, all_of_it = (
        budget_of(graph, Example("x", "x:y", batch=2, budget_fraction=fraction))
        for fraction in (0.0, 0.5, 1.0)
    )
    assert (nothing, all_of_it) == (persistent, baseline)
    assert half == persistent + (baseline - persistent) // 2
