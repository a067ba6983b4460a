"""The random graphs are valid, repeatable, and have what they promise."""

from __future__ import annotations

from hypothesis import given, settings

from memplan.ir.graph import OpGraph
from tests.support.brute_force import masks, micro_batches
from tests.support.random_graphs import graphs, random_graph, random_request


@given(graphs())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_graphs_round_trip(graph: OpGraph) -> None:
    assert OpGraph.from_json(graph.to_json()) == graph


def test_the_same_seed_gives_the_same_graph() -> None:
    for seed in range(20):
        assert random_graph(seed) == random_graph(seed)
        request = random_request(seed, random_graph(seed))
        assert request == random_request(seed, random_graph(seed))


def test_modes_and_sizes() -> None:
    assert {random_graph(seed, "infer").mode for seed in range(10)} == {"infer"}
    assert {random_graph(seed, "train").mode for seed in range(10)} == {"train"}
    for seed in range(200):
        for tiny, most in ((True, 5), (False, 13)):
            graph = random_graph(seed, tiny=tiny)
            assert sum(o.phase in ("forward", "backward") for o in graph.operations) <= most


def test_between_them_they_have_everything() -> None:
    found: set[str] = set()
    for seed in range(120):
        graph = random_graph(seed)
        request = random_request(seed, graph)
        found |= _features(graph)
        found |= {"several masks"} if len(masks(graph, request)) > 1 else set()
        found |= {"several micro-batches"} if len(micro_batches(graph, request)) > 1 else set()
        found |= {"streamed"} if request.stream_inputs else set()
    assert found == {
        "accumulators", "bits", "coupled", "fan-out", "fixed batch", "fixed forward", "fused",
        "in place", "infer", "label", "recomputable forward", "saved slice", "several masks",
        "several micro-batches", "slices", "state", "streamed", "symbolic batch", "train",
        "two layers", "two outputs", "workspace",
    }  # fmt: skip


def _features(graph: OpGraph) -> set[str]:
    found = {graph.mode, "symbolic batch" if graph.batch_symbolic else "fixed batch"}
    readers: dict[str, int] = {}
    for operation in graph.operations:
        for way in operation.alternatives:
            found |= {"in place"} if way.in_place else set()
            found |= {"workspace"} if way.workspace_bytes.at(1) else set()
            found |= {name for name in ("bits", "fused") if way.name == name}
            found |= {"saved slice"} if way.name == "saved_slice" else set()
        for operand in operation.alternatives[0].reads:
            readers[operand.tensor] = readers.get(operand.tensor, 0) + 1
        if operation.phase == "forward":
            found.add("recomputable forward" if operation.recomputable else "fixed forward")
        found |= {"accumulators"} if operation.phase == "accumulate" else set()
        found |= {"two outputs"} if len(operation.writes) > 1 else set()
    roles = {tensor.role for tensor in graph.tensors}
    found |= {name for name in ("label", "state") if name in roles}
    found |= {"fan-out"} if any(readers.get(f"h{i}", 0) > 1 for i in range(3)) else set()
    found |= {"coupled"} if graph.batch_coupled_by else set()
    found |= {"slices"} if any(layer.axes for layer in graph.layers) else set()
    found |= {"two layers"} if len(graph.layers) > 1 else set()
    return found
