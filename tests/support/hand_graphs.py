"""Graphs small enough to plan on paper."""

from __future__ import annotations

from memplan.ir.graph import OpGraph
from tests.support.graph_builder import Cut, GraphBuilder, alternative

__all__ = ["HAND_GRAPHS", "chain", "diamond", "inference", "statistics", "two_layers"]


#: Channels of the layers of ``two_layers``.
INPUT: tuple[Cut, ...] = (("input", 4),)
OUTPUT: tuple[Cut, ...] = (("output", 8),)
BOTH = INPUT + OUTPUT


def chain(length: int = 4, per_sample: int = 64, state: bool = False) -> OpGraph:
    """Return a chain of element-wise operations, a head with one weight, and their backward.

    Every backward operation reads the forward result beside it, so that keeping all of them is
    what the plain step pays; recomputing the chain from its start is cheap.
    """
    build = GraphBuilder("chain")
    build.tensor("x", "input", (0, per_sample))
    build.tensor("y", "label", (0, 8))
    build.tensor("w", "parameter", 32)
    if state:
        build.tensor("velocity", "state", 32)
    build.layer("head", weight="w", parameters=32, macs=(0, 100))
    last = "x"
    for i in range(length):
        build.tensor(f"h{i}", "activation", (0, per_sample))
        build.operation(
            f"f{i}",
            "forward",
            alternative([last], macs=(0, 10), moved=(0, 2 * per_sample), in_place=[(0, 0)]),
            writes=[f"h{i}"],
            recomputable=True,
        )
        last = f"h{i}"
    build.tensor("logits", "activation", (0, 16))
    build.operation(
        "head",
        "forward",
        alternative([last, "w"], target="aten.mm.default", macs=(0, 100), moved=(0, 100)),
        writes=["logits"],
        layer="head",
        recomputable=True,
    )
    build.tensor("loss", "activation", 4)
    build.operation("loss", "forward", alternative(["logits", "y"], moved=(0, 20)), writes=["loss"])
    build.tensor("g.logits", "gradient", (0, 16))
    build.operation(
        "loss.back",
        "backward",
        alternative(["logits", "y"], moved=(0, 32), in_place=[(0, 0)]),
        writes=["g.logits"],
    )
    build.tensor(f"g.h{length - 1}", "gradient", (0, per_sample))
    build.operation(
        "head.input_gradient",
        "backward",
        alternative(["g.logits", "w"], macs=(0, 100), moved=(0, 100)),
        writes=[f"g.h{length - 1}"],
    )
    build.tensor("g.w", "gradient", 32)
    build.operation(
        "head.weight_gradient",
        "backward",
        alternative(["g.logits", last], macs=(0, 100), moved=(0, 100), workspace=16),
        writes=["g.w"],
        layer="head",
    )
    states = ["velocity"] if state else []
    build.updates(
        "w",
        alternative(["w", "g.w", *states], target="memplan.sgd", moved=96),
        alternative(["acc.w", "g.w"], target="memplan.accumulate", moved=96),
        accumulator_size=32,
        layer="head",
        states=states,
        apply_workspace=48,
    )
    for i in reversed(range(1, length)):
        build.tensor(f"g.h{i - 1}", "gradient", (0, per_sample))
        build.operation(
            f"f{i}.back",
            "backward",
            alternative([f"g.h{i}", f"h{i}"], macs=(0, 10), moved=(0, 100), in_place=[(0, 0)]),
            writes=[f"g.h{i - 1}"],
        )
    # An input layer's bias: keeps the whole backward chain needed.
    build.tensor("b", "parameter", 8)
    build.layer("stem", weight=None, bias="b", parameters=8, bias_parameters=8, macs=(0, 10))
    build.tensor("g.b", "gradient", 8)
    build.operation(
        "stem.bias_gradient",
        "backward",
        alternative(["g.h0"], moved=(0, per_sample)),
        writes=["g.b"],
        layer="stem",
    )
    build.updates(
        "b",
        alternative(["b", "g.b"], target="memplan.sgd", moved=24),
        alternative(["acc.b", "g.b"], target="memplan.accumulate", moved=24),
        accumulator_size=8,
        layer="stem",
    )
    return build.build(["loss"])


def two_layers() -> OpGraph:
    """Return two linear layers with slices along both axes.

    The second layer's weight gradient has an alternative for input channels that reads a
    gathered slice of the activation, so that the activation itself need not be saved; the first
    layer's update has a fused alternative whose gradient never exists.
    """
    build = GraphBuilder("two_layers", traced_batch=4)
    build.tensor("x", "input", (0, 40))
    build.tensor("y", "label", (0, 8))
    for i, size in ((1, 80), (2, 64)):
        build.tensor(f"w{i}", "parameter", size, f"l{i}", BOTH)
        build.tensor(f"b{i}", "parameter", 8)
        build.layer(
            f"l{i}",
            weight=f"w{i}",
            bias=f"b{i}",
            parameters=size + 8,
            bias_parameters=8,
            macs=(0, 100 * i),
            axes=BOTH,
        )
    build.tensor("h1", "activation", (0, 80))
    build.operation(
        "linear1",
        "forward",
        alternative(["x", "w1", "b1"], macs=(0, 100), moved=(0, 120)),
        writes=["h1"],
        layer="l1",
        recomputable=True,
    )
    build.tensor("r1", "activation", (0, 80))
    build.operation(
        "relu1",
        "forward",
        alternative(["h1"], moved=(0, 160), in_place=[(0, 0)]),
        writes=["r1"],
        recomputable=True,
    )
    build.tensor("bits1", "activation", (0, 12))
    build.operation(
        "bits1",
        "forward",
        alternative(["r1"], target="memplan.range_bits", moved=(0, 90)),
        writes=["bits1"],
        recomputable=True,
    )
    build.tensor("slice1", "activation", (0, 80), "l2", INPUT)
    build.operation(
        "gather1",
        "forward",
        alternative(["r1"], target="memplan.gather_channels", moved=(0, 160), cuts=INPUT),
        writes=["slice1"],
        layer="l2",
        recomputable=True,
    )
    build.tensor("logits", "activation", (0, 16))
    build.operation(
        "linear2",
        "forward",
        alternative(["r1", "w2", "b2"], macs=(0, 200), moved=(0, 120)),
        writes=["logits"],
        layer="l2",
        recomputable=True,
    )
    build.tensor("loss", "activation", 4)
    build.operation("loss", "forward", alternative(["logits", "y"], moved=(0, 20)), writes=["loss"])
    build.tensor("g2", "gradient", (0, 16))
    build.operation(
        "loss.back",
        "backward",
        alternative(["logits", "y"], moved=(0, 32), in_place=[(0, 0)]),
        writes=["g2"],
    )
    build.tensor("gr1", "gradient", (0, 80))
    build.operation(
        "linear2.input_gradient",
        "backward",
        alternative(["g2", "w2"], macs=(0, 200), moved=(0, 100)),
        writes=["gr1"],
        layer="l2",
    )
    build.tensor("gw2", "gradient", 64, "l2", BOTH)
    build.operation(
        "linear2.weight_gradient",
        "backward",
        [
            alternative(
                ["g2", "r1"],
                macs=(0, 200),
                moved=(0, 160),
                workspace=32,
                cuts=OUTPUT,
                axes=["whole", "output"],
            ),
            alternative(
                ["g2", "slice1"],
                "saved_slice",
                macs=(0, 200),
                moved=(0, 160),
                cuts=INPUT,
                axes=["input"],
            ),
        ],
        writes=["gw2"],
        layer="l2",
    )
    build.updates(
        "w2",
        alternative(["w2", "gw2"], target="memplan.sgd", moved=192, cuts=BOTH),
        alternative(["acc.w2", "gw2"], target="memplan.accumulate", moved=192, cuts=BOTH),
        accumulator_size=64,
        layer="l2",
        cuts=BOTH,
    )
    build.tensor("gb2", "gradient", 8)
    build.operation(
        "linear2.bias_gradient",
        "backward",
        alternative(["g2"], moved=(0, 20)),
        writes=["gb2"],
        layer="l2",
    )
    build.updates(
        "b2",
        alternative(["b2", "gb2"], target="memplan.sgd", moved=24),
        alternative(["acc.b2", "gb2"], target="memplan.accumulate", moved=24),
        accumulator_size=8,
        layer="l2",
    )
    build.tensor("g1", "gradient", (0, 80))
    build.operation(
        "relu1.back",
        "backward",
        [
            alternative(["gr1", "r1"], moved=(0, 240), in_place=[(0, 0)]),
            alternative(["gr1", "bits1"], "bits", moved=(0, 180), in_place=[(0, 0)]),
        ],
        writes=["g1"],
    )
    build.tensor("gw1", "gradient", 80, "l1", BOTH)
    build.operation(
        "linear1.weight_gradient",
        "backward",
        alternative(["g1", "x"], macs=(0, 100), moved=(0, 160), cuts=BOTH),
        writes=["gw1"],
        layer="l1",
    )
    build.updates(
        "w1",
        [
            alternative(["w1", "gw1"], target="memplan.sgd", moved=240, cuts=BOTH),
            alternative(
                ["w1", "g1", "x"],
                "fused",
                target="memplan.fused",
                macs=(0, 100),
                moved=(160, 160),
                workspace=16,
                cuts=BOTH,
            ),
        ],
        [
            alternative(["acc.w1", "gw1"], target="memplan.accumulate", moved=240, cuts=BOTH),
            alternative(
                ["acc.w1", "g1", "x"],
                "fused",
                target="memplan.fused",
                macs=(0, 100),
                moved=(160, 160),
                workspace=16,
                cuts=BOTH,
            ),
        ],
        accumulator_size=80,
        layer="l1",
        cuts=BOTH,
    )
    build.tensor("gb1", "gradient", 8)
    build.operation(
        "linear1.bias_gradient",
        "backward",
        alternative(["g1"], moved=(0, 90)),
        writes=["gb1"],
        layer="l1",
    )
    build.updates(
        "b1",
        alternative(["b1", "gb1"], target="memplan.sgd", moved=24),
        alternative(["acc.b1", "gb1"], target="memplan.accumulate", moved=24),
        accumulator_size=8,
        layer="l1",
    )
    return build.build(["loss"])


def statistics() -> OpGraph:
    """Return a batch norm over batch statistics: samples are coupled, running means mutate."""
    build = GraphBuilder("statistics", coupled_by="bn uses batch statistics")
    build.tensor("x", "input", (0, 32))
    build.tensor("y", "label", (0, 4))
    build.tensor("gamma", "parameter", 16)
    build.tensor("running_mean", "state", 16)
    build.tensor("table", "constant", 20)
    build.layer("bn", weight="gamma", parameters=4, macs=(0, 8))
    build.tensor("h", "activation", (0, 32))
    build.tensor("mean", "activation", 16)
    build.operation(
        "bn",
        "forward",
        alternative(["x", "gamma"], target="memplan.batch_norm_train", moved=(0, 64)),
        writes=["h", "mean"],
        layer="bn",
        recomputable=True,
    )
    build.operation(
        "bn.statistics",
        "statistics",
        alternative(["running_mean", "mean"], moved=48),
        mutates=["running_mean"],
    )
    build.tensor("loss", "activation", 4)
    build.operation(
        "loss", "forward", alternative(["h", "y", "table"], moved=(0, 36)), writes=["loss"]
    )
    build.tensor("gh", "gradient", (0, 32))
    build.operation(
        "loss.back",
        "backward",
        alternative(["h", "y"], moved=(0, 36), workspace=(8, 4)),
        writes=["gh"],
    )
    build.tensor("g.gamma", "gradient", 16)
    build.operation(
        "bn.weight_gradient",
        "backward",
        alternative(["gh", "x", "mean"], moved=(0, 64)),
        writes=["g.gamma"],
        layer="bn",
    )
    build.updates("gamma", alternative(["gamma", "g.gamma"], moved=48), layer="bn")
    return build.build(["loss"])


def diamond() -> OpGraph:
    """Return two branches that are added, trained at their join; the batch is fixed."""
    build = GraphBuilder("diamond", symbolic=False, traced_batch=1)
    build.tensor("x", "input", 48)
    build.tensor("w", "parameter", 24)
    build.layer("join", weight="w", parameters=6, macs=50)
    for name, size in (("a", 48), ("p", 96), ("q", 96)):
        build.tensor(name, "activation", size)
    build.operation(
        "stem", "forward", alternative(["x"], macs=5, moved=96), ["a"], recomputable=True
    )
    build.operation(
        "left", "forward", alternative(["a"], macs=7, moved=144), ["p"], recomputable=True
    )
    build.operation(
        "right", "forward", alternative(["a"], macs=9, moved=144), ["q"], recomputable=True
    )
    build.tensor("sum", "activation", 96)
    build.operation(
        "add",
        "forward",
        alternative(["p", "q"], target="aten.add.Tensor", moved=288, in_place=[(0, 0), (1, 0)]),
        ["sum"],
        recomputable=True,
    )
    build.tensor("loss", "activation", 4)
    build.operation("loss", "forward", alternative(["sum", "w"], macs=50, moved=124), ["loss"])
    build.tensor("gw", "gradient", 24)
    build.operation(
        "join.weight_gradient",
        "backward",
        alternative(["sum", "p"], macs=50, moved=220),
        ["gw"],
        layer="join",
    )
    build.updates("w", alternative(["w", "gw"], moved=72), layer="join")
    return build.build(["loss"])


def inference() -> OpGraph:
    """Return a residual block in infer mode with symbolic batch."""
    build = GraphBuilder("inference", mode="infer")
    build.tensor("x", "input", (0, 64))
    build.tensor("w", "parameter", 40)
    build.layer("conv", weight="w", parameters=10, macs=(0, 300))
    build.tensor("h", "activation", (0, 128))
    build.operation(
        "conv",
        "forward",
        alternative(["x", "w"], macs=(0, 300), moved=(0, 200), workspace=(0, 24)),
        ["h"],
        layer="conv",
        recomputable=True,
    )
    build.tensor("r", "activation", (0, 128))
    build.operation(
        "relu",
        "forward",
        alternative(["h"], moved=(0, 256), in_place=[(0, 0)]),
        ["r"],
        recomputable=True,
    )
    build.tensor("s", "activation", (0, 64))
    build.operation(
        "project",
        "forward",
        alternative(["r", "x"], macs=(0, 90), moved=(0, 256)),
        ["s"],
        recomputable=True,
    )
    return build.build(["s"])


HAND_GRAPHS = {
    "chain": chain,
    "two_layers": two_layers,
    "statistics": statistics,
    "diamond": diamond,
    "inference": inference,
}
