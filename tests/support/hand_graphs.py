"""Graphs small enough to plan on paper."""

from __future__ import annotations

from memplan.ir.graph import Alternative, OpGraph
from tests.support.graph_builder import Cut, GraphBuilder, alternative, used_up_alternative

__all__ = [
    "HAND_GRAPHS",
    "block",
    "chain",
    "diamond",
    "inference",
    "pictures",
    "statistics",
    "two_layers",
]


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
        way = alternative([last], macs=(0, 10), moved=(0, 2 * per_sample), in_place=[(0, 0)])
        build.forward(f"f{i}", f"h{i}", (0, per_sample), way)
        last = f"h{i}"
    build.forward(
        "head",
        "logits",
        (0, 16),
        alternative([last, "w"], target="aten.mm.default", macs=(0, 100), moved=(0, 100)),
        layer="head",
    )
    _loss_of_logits(build, "g.logits")
    build.backward(
        "head.input_gradient",
        f"g.h{length - 1}",
        (0, per_sample),
        alternative(["g.logits", "w"], macs=(0, 100), moved=(0, 100)),
    )
    build.backward(
        "head.weight_gradient",
        "g.w",
        32,
        alternative(["g.logits", last], macs=(0, 100), moved=(0, 100), workspace=16),
        layer="head",
    )
    states = ["velocity"] if state else []
    build.sgd("w", "g.w", 32, "head", states=states, apply_workspace=48)
    for i in reversed(range(1, length)):
        build.backward(
            f"f{i}.back",
            f"g.h{i - 1}",
            (0, per_sample),
            alternative([f"g.h{i}", f"h{i}"], macs=(0, 10), moved=(0, 100), in_place=[(0, 0)]),
        )
    # An input layer's bias: keeps the whole backward chain needed.
    build.tensor("b", "parameter", 8)
    build.layer("stem", weight=None, bias="b", parameters=8, bias_parameters=8, macs=(0, 10))
    build.backward(
        "stem.bias_gradient",
        "g.b",
        8,
        alternative(["g.h0"], moved=(0, per_sample)),
        layer="stem",
    )
    build.sgd("b", "g.b", 8, "stem")
    return build.build(["loss"])


def _loss_of_logits(build: GraphBuilder, gradient: str) -> None:
    """Add the loss of 16 bytes of logits per sample, and its gradient over their bytes."""
    way = alternative(["logits", "y"], moved=(0, 20))
    build.forward("loss", "loss", 4, way, recomputable=False)
    way = alternative(["logits", "y"], moved=(0, 32), in_place=[(0, 0)])
    build.backward("loss.back", gradient, (0, 16), way)


def block(covers: tuple[str, ...] = ("w1", "b1")) -> OpGraph:
    """Return a layer whose wide gradient need not exist: strips give what it is needed for.

    ``narrow`` (layer ``l0``), ``wide`` (``l1``, 16 bytes a sample) and back.  The gradient of
    ``wide`` takes 200 bytes a sample; from it come the input gradient and those of ``w1`` and
    ``b1``.  An alternative of the input gradient does without and covers both updates.
    """
    build = GraphBuilder("block")
    build.tensor("x", "input", (0, 16))
    build.tensor("y", "label", (0, 8))
    for name, size in (("w0", 32), ("w1", 24), ("b1", 8)):
        build.tensor(name, "parameter", size)
    build.layer("l0", weight="w0", parameters=32, macs=(0, 20))
    build.layer("l1", weight="w1", bias="b1", parameters=32, bias_parameters=8, macs=(0, 40))
    build.forward("f0", "narrow", (0, 16), alternative(["x", "w0"], macs=(0, 20)), "l0")
    way = alternative(["narrow", "w1", "b1"], macs=(0, 40))
    build.forward("f1", "logits", (0, 16), way, "l1")
    _loss_of_logits(build, "g.logits")
    way = alternative(["g.logits"], macs=(0, 30), moved=(0, 200))
    build.backward("widen", "g.wide", (0, 200), way)
    strips = {
        phase: alternative(
            ["g.logits", "narrow", "w1"],
            f"strips_{phase}",
            macs=(0, 70),
            moved=(0, 60),
            workspace=24,
            covers=[f"{phase}.{name}" for name in covers],
        )
        for phase in ("update", "accumulate")
    }
    plain = alternative(["g.wide", "w1"], macs=(0, 40), moved=(0, 200))
    build.backward("narrow.back", "g.narrow", (0, 16), [plain, *strips.values()], "l1")
    for name, size, operands in (("w1", 24, ["g.wide", "narrow"]), ("b1", 8, ["g.wide"])):
        way = alternative(operands, macs=(0, 40), moved=(0, 200))
        build.backward(f"{name}.back", f"g.{name}", size, way, "l1")
        build.sgd(name, f"g.{name}", size, "l1")
    way = alternative(["g.narrow", "x"], macs=(0, 20), moved=(0, 32))
    build.backward("w0.back", "g.w0", 32, way, "l0")
    build.sgd("w0", "g.w0", 32, "l0")
    return build.build(["loss"])


def pictures() -> OpGraph:
    """Return two layers of pictures, each of whose results may lie where its operand was.

    96 bytes a sample, again 96, then 48: beside each other they need 144 and more, but 112 where
    the second layer uses its operand up (and 112 in the first, where the input is used up).  The
    weight of layer ``l1`` needs that operand in the backward.
    """
    build = GraphBuilder("pictures")
    build.tensor("x", "input", (0, 96), image=(2, 6, 8))
    build.tensor("y", "label", (0, 8))
    for name, size in (("w1", 24), ("w2", 32)):
        build.tensor(name, "parameter", size)
    build.layer("l1", weight="w1", parameters=24, macs=(0, 20))
    build.layer("l2", weight="w2", parameters=32, macs=(0, 40))
    build.tensor("h0", "activation", (0, 96), image=(2, 6, 8))
    ways = [
        alternative(["x"], macs=(0, 20), moved=(0, 192)),
        used_up_alternative(["x"], (2, 6, 8), macs=(0, 20), moved=(0, 192)),
    ]
    build.operation("f0", "forward", ways, ["h0"], recomputable=True)
    build.tensor("h1", "activation", (0, 48), image=(2, 3, 8))
    ways = [
        alternative(["h0", "w1"], macs=(0, 20), moved=(0, 144)),
        used_up_alternative(["h0", "w1"], (2, 3, 8), stride=2, macs=(0, 20), moved=(0, 150)),
    ]
    build.operation("f1", "forward", ways, ["h1"], layer="l1", recomputable=True)
    way = alternative(["h1", "w2"], macs=(0, 40), moved=(0, 64))
    build.forward("head", "logits", (0, 16), way, layer="l2")
    _loss_of_logits(build, "g.logits")
    way = alternative(["g.logits", "h1"], macs=(0, 40), moved=(0, 64))
    build.backward("w2.back", "g.w2", 32, way, layer="l2")
    way = alternative(["g.logits", "w2"], macs=(0, 40), moved=(0, 64))
    build.backward("head.back", "g.h1", (0, 48), way, layer="l2")
    build.sgd("w2", "g.w2", 32, "l2")
    way = alternative(["g.h1", "h0"], macs=(0, 20), moved=(0, 144))
    build.backward("w1.back", "g.w1", 24, way, layer="l1")
    build.sgd("w1", "g.w1", 24, "l1")
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
    _forward_of_two_layers(build)
    _loss_of_logits(build, "g2")
    _backward_of_the_second(build)
    build.backward(
        "relu1.back",
        "g1",
        (0, 80),
        [
            alternative(["gr1", "r1"], moved=(0, 240), in_place=[(0, 0)]),
            alternative(["gr1", "bits1"], "bits", moved=(0, 180), in_place=[(0, 0)]),
        ],
    )
    _backward_of_the_first(build)
    return build.build(["loss"])


def _forward_of_two_layers(build: GraphBuilder) -> None:
    way = alternative(["x", "w1", "b1"], macs=(0, 100), moved=(0, 120))
    build.forward("linear1", "h1", (0, 80), way, layer="l1")
    way = alternative(["h1"], moved=(0, 160), in_place=[(0, 0)])
    build.forward("relu1", "r1", (0, 80), way)
    way = alternative(["r1"], target="memplan.range_bits", moved=(0, 90))
    build.forward("bits1", "bits1", (0, 12), way)
    build.tensor("slice1", "activation", (0, 80), "l2", INPUT)
    build.operation(
        "gather1",
        "forward",
        alternative(["r1"], target="memplan.gather_channels", moved=(0, 160), cuts=INPUT),
        writes=["slice1"],
        layer="l2",
        recomputable=True,
    )
    way = alternative(["r1", "w2", "b2"], macs=(0, 200), moved=(0, 120))
    build.forward("linear2", "logits", (0, 16), way, layer="l2")


def _backward_of_the_second(build: GraphBuilder) -> None:
    way = alternative(["g2", "w2"], macs=(0, 200), moved=(0, 100))
    build.backward("linear2.input_gradient", "gr1", (0, 80), way, layer="l2")
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
    build.sgd("w2", "gw2", 64, "l2", BOTH)
    way = alternative(["g2"], moved=(0, 20))
    build.backward("linear2.bias_gradient", "gb2", 8, way, layer="l2")
    build.sgd("b2", "gb2", 8, "l2")


def _backward_of_the_first(build: GraphBuilder) -> None:
    build.tensor("gw1", "gradient", 80, "l1", BOTH)
    build.operation(
        "linear1.weight_gradient",
        "backward",
        alternative(["g1", "x"], macs=(0, 100), moved=(0, 160), cuts=BOTH),
        writes=["gw1"],
        layer="l1",
    )

    def fused(target: str) -> list[Alternative]:
        return [
            alternative(
                [target, "g1", "x"],
                "fused",
                target="memplan.fused",
                macs=(0, 100),
                moved=(160, 160),
                workspace=16,
                cuts=BOTH,
            )
        ]

    build.sgd("w1", "gw1", 80, "l1", BOTH, also=fused)
    way = alternative(["g1"], moved=(0, 90))
    build.backward("linear1.bias_gradient", "gb1", 8, way, layer="l1")
    build.sgd("b1", "gb1", 8, "l1")


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
    way = alternative(["h", "y", "table"], moved=(0, 36))
    build.forward("loss", "loss", 4, way, recomputable=False)
    way = alternative(["h", "y"], moved=(0, 36), workspace=(8, 4))
    build.backward("loss.back", "gh", (0, 32), way)
    way = alternative(["gh", "x", "mean"], moved=(0, 64))
    build.backward("bn.weight_gradient", "g.gamma", 16, way, layer="bn")
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
    way = alternative(["p", "q"], target="aten.add.Tensor", moved=288, in_place=[(0, 0), (1, 0)])
    build.forward("add", "sum", 96, way)
    way = alternative(["sum", "w"], macs=50, moved=124)
    build.forward("loss", "loss", 4, way, recomputable=False)
    way = alternative(["sum", "p"], macs=50, moved=220)
    build.backward("join.weight_gradient", "gw", 24, way, layer="join")
    build.updates("w", alternative(["w", "gw"], moved=72), layer="join")
    return build.build(["loss"])


def inference() -> OpGraph:
    """Return a residual block in infer mode with symbolic batch."""
    build = GraphBuilder("inference", mode="infer")
    build.tensor("x", "input", (0, 64))
    build.tensor("w", "parameter", 40)
    build.layer("conv", weight="w", parameters=10, macs=(0, 300))
    way = alternative(["x", "w"], macs=(0, 300), moved=(0, 200), workspace=(0, 24))
    build.forward("conv", "h", (0, 128), way, layer="conv")
    way = alternative(["h"], moved=(0, 256), in_place=[(0, 0)])
    build.forward("relu", "r", (0, 128), way)
    way = alternative(["r", "x"], macs=(0, 90), moved=(0, 256))
    build.forward("project", "s", (0, 64), way)
    return build.build(["s"])


HAND_GRAPHS = {
    "chain": chain,
    "two_layers": two_layers,
    "statistics": statistics,
    "diamond": diamond,
    "inference": inference,
    "pictures": pictures,
}
