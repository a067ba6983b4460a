import torch

from memplan.tracing.passes.names import give_readable_names
from tests.support.models import MODELS
from tests.support.passes import graph_without


def test_ids_say_layer_and_operation() -> None:
    torch.manual_seed(0)
    module, inputs = MODELS["resnet"].build()
    graph = graph_without(module.eval(), tuple(inputs.values()))
    ids = set(graph.operation)
    assert {"0", "0.relu", "3.conv1", "3.conv1.relu", "3.conv2", "3.conv2.add", "7"} <= ids
    assert {"3.conv1.input_gradient", "3.conv1.weight.gradient", "7.bias.update"} <= ids
    assert all(graph.producer[name].id in name for name in graph.producer)
    plain = graph_without(module.eval(), tuple(inputs.values()), give_readable_names)
    assert [op.alternatives[0].target for op in plain.operations] == [
        op.alternatives[0].target for op in graph.operations
    ]
