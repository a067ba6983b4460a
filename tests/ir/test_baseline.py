"""The plain step worked out by hand."""

from __future__ import annotations

from memplan.ir.baseline import baseline_bytes, plain_operations
from tests.support.hand_graphs import chain, diamond, inference, statistics


def test_diamond() -> None:
    # w 24 and x 48 live; stem +48 = 120, x dies: 72; left +96 = 168; right +96 = 264, a dies:
    # 216; add +96 = 312, q dies: 216; loss +4 = 220; gradient +24 = 244.
    assert baseline_bytes(diamond(), 1) == 312


def test_chain_peaks_in_the_backward() -> None:
    # At a batch of 2.  w 32 and b 8 live, x 128, y 16: 184.  After the forward: 40 + h1 128 +
    # y 16 + logits 32 + loss 4 = 220.  loss.back +32 = 252, then logits and y die: 204.
    # Input gradient +128 = 332.  Weight gradient +32 and workspace 16 = 380; g.logits dies and
    # the update frees g.w: 300.  f1.back writes 128 beside h1 and g.h1: 428.
    assert baseline_bytes(chain(2), 2) == 428


def test_inference() -> None:
    # conv: x 64 + h 128 + workspace 24 = 216; relu: x + h + r = 320, w is outside; then s 64.
    assert baseline_bytes(inference(), 1) == 320


def test_running_statistics_live_always() -> None:
    # gamma 16, running_mean 16, x 64, y 8 = 104; h 64, mean 16: 184; loss 4: 188; its backward
    # 64 and workspace 16: 268; then h and y die: 180; g.gamma 16: 196.
    assert baseline_bytes(statistics(), 2) == 268


def test_plain_operations_follow_what_is_updated() -> None:
    graph = chain(3)
    whole = [operation.id for operation in plain_operations(graph, frozenset({"w", "b"}))]
    assert whole == [
        "f0", "f1", "f2", "head", "loss", "loss.back", "head.input_gradient",
        "head.weight_gradient", "update.w", "f2.back", "f1.back", "stem.bias_gradient", "update.b",
    ]  # fmt: skip
    head = [operation.id for operation in plain_operations(graph, frozenset({"w"}))]
    assert head == [
        "f0", "f1", "f2", "head", "loss", "loss.back", "head.weight_gradient", "update.w",
    ]  # fmt: skip
    assert [operation.id for operation in plain_operations(statistics(), frozenset())] == [
        "bn", "bn.statistics", "loss",
    ]  # fmt: skip
