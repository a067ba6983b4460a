import torch
from torch import nn

from memplan.ir.graph import PhantomArgument
from memplan.tracing.passes.phantoms import UNREAD, phantom_operands
from tests.support.passes import labels_for, same_step


def test_values_that_are_never_read_are_no_operands() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 3)
    )
    without, graph = same_step(
        module, (torch.randn(4, 3, 6, 6),), phantom_operands, labels=labels_for(4, 3)
    )
    for operation in graph.operations:
        plain = operation.alternatives[0]
        for position in UNREAD.get(plain.target, ()):
            assert isinstance(plain.arguments[position], PhantomArgument), operation.id
    pooled = next(op for op in graph.operations if op.id.endswith("avg_pool2d_backward"))
    before = next(op for op in without.operations if op.id.endswith("avg_pool2d_backward"))
    assert len(pooled.alternatives[0].reads) == len(before.alternatives[0].reads) - 1
