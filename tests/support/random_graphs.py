"""Tiny random graphs, abstract but valid, small enough for brute force.

A training graph is a chain of two or three forward operations with a residual read now and
then, a loss, the backward of as much as the layers need, and updates.  Between them they have
all that a plan may choose: recomputation with fan-out, in-place pairs, bit masks or the
activation itself, gathered slices, fused updates, slices along both axes, several trips,
workspace, sizes that do not divide by the alignment.  Infer graphs are random layered graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import strategies as st

from memplan.ir.graph import Alternative, Operation, OpGraph, Tensor
from memplan.ir.request import PlanRequest
from memplan.ir.units import Affine
from tests.support.graph_builder import Amount, Cut, GraphBuilder, alternative, used_up_alternative

__all__ = ["graphs", "random_graph", "random_request", "with_used_up"]

INPUT: tuple[Cut, ...] = (("input", 2),)
OUTPUT: tuple[Cut, ...] = (("output", 4),)
BOTH = INPUT + OUTPUT


def graphs(mode: str | None = None, tiny: bool = False) -> st.SearchStrategy[OpGraph]:
    """Return a Hypothesis strategy for random graphs."""
    return st.integers(0, 2**32 - 1).map(lambda seed: random_graph(seed, mode, tiny))


def random_graph(seed: int, mode: str | None = None, tiny: bool = False) -> OpGraph:
    """Return the graph of a seed.

    Args:
        seed: the same seed gives the same graph.
        mode: ``train`` or ``infer``; drawn if None.
        tiny: at most four operations of phases forward and backward, with few alternatives.
    """
    draw = _Draw(Random(seed), tiny)
    if (mode or draw.random.choice(("train", "train", "train", "infer"))) == "infer":
        return _infer(f"infer{seed}", draw)
    return _train(f"train{seed}", draw)


def with_used_up(graph: OpGraph, seed: int) -> OpGraph:
    """Return the graph with further ways that use up what an operation reads first.

    What they read and write becomes a picture of one column.  It is the same graph where no
    operation has a result that fits into its first operand.
    """
    random = Random(seed)
    pictures: set[str] = set()
    operations = []
    for operation in graph.operations:
        operand = graph.tensor[operation.alternatives[0].reads[0].tensor]
        rows = _rows_that_fit(graph, operation, operand)
        if rows and random.random() < 0.7:
            plain = operation.alternatives[0]
            names = [read.tensor for read in plain.reads]
            way = used_up_alternative(names, (1, rows, 1))
            way = way.model_copy(update={"macs": plain.macs, "moved_bytes": plain.moved_bytes})
            pictures |= {operand.id, operation.writes[0]}
            operation = operation.model_copy(
                update={"alternatives": (*operation.alternatives, way)}
            )
        operations.append(operation)
    tensors = [_column(t) if t.id in pictures else t for t in graph.tensors]
    changes = {"operations": tuple(operations), "tensors": tuple(tensors)}
    return OpGraph.from_json(graph.model_copy(update=changes).to_json())


def _rows_that_fit(graph: OpGraph, operation: Operation, operand: Tensor) -> int:
    """Return the bytes of a sample of the result, or 0 where it cannot lie in the operand."""
    if len(operation.writes) != 1 or operation.mutates:
        return 0
    result = graph.tensor[operation.writes[0]]
    for tensor in (operand, result):
        if tensor.role not in ("input", "activation", "gradient") or tensor.slices:
            return 0
    if result.id in graph.outputs:
        return 0
    sizes = [(t.size_bytes.fixed, t.size_bytes.per_sample) for t in (operand, result)]
    varies = sizes[0][1] > 0
    if (sizes[1][1] > 0) != varies or any(fixed and each for fixed, each in sizes):
        return 0
    have, wanted = (size[varies] for size in sizes)
    return wanted if wanted <= have else 0


def _column(tensor: Tensor) -> Tensor:
    """Return a tensor of single bytes as (samples, 1, bytes of a sample, 1)."""
    size = tensor.size_bytes
    rows = size.per_sample or size.fixed
    samples = Affine(0, 1) if size.per_sample else Affine(1)
    shape = (samples, Affine(1), Affine(rows), Affine(1))
    strides = (Affine(rows), Affine(rows), Affine(1), Affine(1))
    return tensor.model_copy(update={"shape": shape, "strides": strides})


def random_request(
    seed: int, graph: OpGraph, budget_bytes: int = 2**30, tiny: bool = False
) -> PlanRequest:
    """Return a request that ``graph`` can be planned for, budget aside."""
    random = Random(seed)
    batch = graph.traced_batch
    if graph.batch_symbolic:
        batch = random.choice((1, 2, 2, 4) if not tiny else (1, 2))
    return PlanRequest(
        budget_bytes=budget_bytes,
        batch=batch,
        update=random.choice(("auto", "auto", "full", "last-layer")),
        criterion=random.choice(("tinytrain", "uniform")),
        slice_divisors=random.choice(((2,), ())),
        compute_limit=random.choice((1.0, 1.0, 0.5, 0.0, None)),
        computations=2 if tiny else random.choice((2, 2, 3)),
        stream_inputs=random.random() < 0.3,
        alignment_bytes=random.choice((1, 4, 8, 16)),
        seed=seed % 2**31,
    )


class _Draw:
    """Random figures of the sizes that make choices matter."""

    def __init__(self, random: Random, tiny: bool) -> None:
        self.random = random
        self.tiny = tiny
        self.symbolic = random.random() < 0.6
        #: Operations beyond the plain chain that may still be added: brute force is exponential.
        self.extras = 0 if tiny else random.choice((1, 2, 3))

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def extra(self, probability: float) -> bool:
        """Tell whether to add one more operation."""
        adds = self.extras > 0 and self.chance(probability)
        self.extras -= adds
        return adds

    def size(self, cut: int = 1) -> Amount:
        """Return bytes of an activation, divisible by ``cut``."""
        size = self.random.choice((8, 12, 16, 20, 24, 32, 48)) * cut
        return (0, size) if self.symbolic else size

    def cost(self) -> Amount:
        cost = self.random.randrange(0, 60)
        return (self.random.randrange(0, 9), cost) if self.symbolic else cost

    def workspace(self) -> Amount:
        return self.random.choice((4, 8, 16, 30)) if self.chance(0.25) else 0

    def way(
        self,
        reads: Sequence[str],
        name: str = "plain",
        target: str = "aten.relu.default",
        in_place: Sequence[tuple[int, int]] = (),
        cuts: Sequence[Cut] = (),
        axes: Sequence[str] | None = None,
        macs: bool = True,
    ) -> Alternative:
        """Return an alternative with random costs; costs that are cut divide by all channels."""
        factor = 8 if cuts else 1
        return alternative(
            reads,
            name,
            target,
            in_place=in_place,
            workspace=0 if cuts else self.workspace(),
            macs=_times(self.cost(), factor) if macs else 0,
            moved=_times(self.cost(), factor),
            cuts=cuts,
            axes=None if axes is None else [a for a in ("input", "output", "whole") if a in axes],
        )


def _times(amount: Amount, factor: int) -> Amount:
    if isinstance(amount, tuple):
        return amount[0] * factor, amount[1] * factor
    assert isinstance(amount, int)
    return amount * factor


def _infer(name: str, draw: _Draw) -> OpGraph:
    build = GraphBuilder(name, mode="infer", traced_batch=2, symbolic=draw.symbolic)
    available = [build.tensor("x", "input", draw.size())]
    build.tensor("w", "parameter", 24)
    build.layer("only", weight="w", parameters=24, macs=10)
    length = draw.random.randrange(2, 4) if draw.tiny else draw.random.randrange(3, 7)
    for i in range(length):
        reads = _some(draw, available)
        size = build_size(build, reads[0]) if draw.chance(0.5) else draw.size()
        outputs = [build.tensor(f"t{i}", "activation", size)]
        if draw.chance(0.15):
            outputs.append(build.tensor(f"u{i}", "activation", draw.size()))
        fits = [(k, 0) for k, r in enumerate(reads) if build_size(build, r) == size]
        in_place = fits if draw.chance(0.6) else []
        plain = draw.way(reads + (["w"] if draw.chance(0.3) else []), in_place=in_place)
        ways = [plain]
        if draw.chance(0.2):
            ways.append(draw.way(reads, "other"))
        build.operation(
            f"f{i}", "forward", ways, outputs, layer="only", recomputable=draw.chance(0.75)
        )
        available += outputs
    last = [f"t{length - 1}"]
    if draw.chance(0.25):
        last.append(draw.random.choice([t for t in available if t not in ("x", *last)]))
    return build.build(last)


def _some(draw: _Draw, available: list[str]) -> list[str]:
    """Return one or two tensors, the newest among them more often than not."""
    reads = [available[-1]] if draw.chance(0.7) else [draw.random.choice(available)]
    if len(available) > 1 and draw.chance(0.4):
        reads.append(draw.random.choice([t for t in available if t not in reads]))
    return reads


def build_size(build: GraphBuilder, name: str) -> Amount:
    """Return the size of a tensor that was added before."""
    return next(tensor.size_bytes for tensor in build.tensors if tensor.id == name)


def _train(name: str, draw: _Draw) -> OpGraph:
    coupled = "statistics of the batch" if draw.symbolic and draw.chance(0.1) else ""
    build = GraphBuilder(
        name, traced_batch=draw.random.choice((1, 2)), symbolic=draw.symbolic, coupled_by=coupled
    )
    length = 1 if draw.tiny else draw.random.choice((1, 2, 2, 3))
    build.tensor("x", "input", draw.size(2))
    labelled = draw.chance(0.6)
    if labelled:
        build.tensor("y", "label", draw.size())
    # One or two layers; the head of the chain always trains, so that the backward matters.
    trained = {0, length - 1} if length > 1 and draw.extra(0.5) else {0}
    for i in sorted(trained):
        _layer(build, draw, i)
    saved = _forward(build, draw, length, trained)
    last = f"h{length - 1}"
    build.tensor("loss", "activation", 4)
    build.operation(
        "loss",
        "forward",
        draw.way([last, "y"] if labelled else [last]),
        ["loss"],
        recomputable=draw.chance(0.2),
    )
    _backward(build, draw, length, trained, saved, labelled)
    return build.build(["loss"])


def _layer(build: GraphBuilder, draw: _Draw, i: int) -> None:
    size = draw.random.choice((16, 24, 40, 96))
    build.tensor(f"w{i}", "parameter", size, f"l{i}", BOTH)
    bias = None
    if draw.extra(0.2):
        bias = build.tensor(f"b{i}", "parameter", 6)
    axes = () if draw.chance(0.4) else (INPUT if draw.chance(0.5) else BOTH)
    build.layer(
        f"l{i}",
        weight=f"w{i}",
        bias=bias,
        parameters=size + 6,
        bias_parameters=6 if bias else 0,
        macs=draw.random.randrange(1, 50),
        axes=axes,
        fisher=draw.random.choice((None, 1.0, 2.5)),
    )


def axes_of(build: GraphBuilder, i: int) -> list[str]:
    """Return the axes along which layer ``i`` may be cut."""
    layer = next(layer for layer in build.layers if layer.id == f"l{i}")
    return [axis.name for axis in layer.axes]


def _forward(
    build: GraphBuilder, draw: _Draw, length: int, trained: set[int]
) -> dict[int, dict[str, str]]:
    """Add h0, h1, ... and what is saved beside them; return what was saved of each."""
    saved: dict[int, dict[str, str]] = {}
    for i in range(length):
        source = "x" if i == 0 else f"h{i - 1}"
        saved[i] = {}
        same = draw.chance(0.5)
        size = build_size(build, source) if same else draw.size(2)
        build.tensor(f"h{i}", "activation", size)
        reads = [source] + ([f"w{i}"] if i in trained else [])
        if i > 1 and draw.chance(0.4):
            reads.append(f"h{i - 2}")
        in_place = [(0, 0)] if same and draw.chance(0.6) else []
        build.operation(
            f"f{i}",
            "forward",
            draw.way(reads, in_place=in_place),
            [f"h{i}"],
            layer=f"l{i}" if i in trained else None,
            recomputable=draw.chance(0.8),
        )
        if draw.extra(0.4):
            small = (2, 1) if draw.symbolic else 3
            saved[i]["bits"] = build.tensor(f"bits{i}", "activation", small)
            build.operation(
                f"bits{i}",
                "forward",
                draw.way([f"h{i}"], target="memplan.range_bits", macs=False),
                [f"bits{i}"],
                recomputable=True,
            )
        if i in trained and axes_of(build, i) and draw.extra(0.7):
            whole = build_size(build, source)
            saved[i]["slice"] = build.tensor(f"slice{i}", "activation", whole, f"l{i}", INPUT)
            build.operation(
                f"gather{i}",
                "forward",
                draw.way([source], target="memplan.gather_channels", cuts=INPUT),
                [f"slice{i}"],
                layer=f"l{i}",
                recomputable=True,
            )
    return saved


def _backward(
    build: GraphBuilder,
    draw: _Draw,
    length: int,
    trained: set[int],
    saved: dict[int, dict[str, str]],
    labelled: bool,
) -> None:
    last = f"h{length - 1}"
    gradient = build.tensor(f"g{length - 1}", "gradient", build_size(build, last))
    build.operation(
        "loss.back",
        "backward",
        draw.way([last, "y"] if labelled else [last], in_place=[(0, 0)] * draw.chance(0.6)),
        [gradient],
    )
    for i in reversed(range(length)):
        source = "x" if i == 0 else f"h{i - 1}"
        if "bits" in saved[i] or draw.extra(0.3):
            masked = build.tensor(f"m{i}", "gradient", build_size(build, f"h{i}"))
            in_place = [(0, 0)] * draw.chance(0.7)
            ways = [draw.way([gradient, f"h{i}"], in_place=in_place, macs=False)]
            if "bits" in saved[i]:
                ways.append(
                    draw.way([gradient, saved[i]["bits"]], "bits", in_place=in_place, macs=False)
                )
            build.operation(f"mask{i}.back", "backward", ways, [masked])
            gradient = masked
        if i > 0:
            below = build.tensor(f"g{i - 1}", "gradient", build_size(build, source))
            same = build_size(build, source) == build_size(build, gradient) and i not in trained
            reads = [gradient, f"w{i}" if i in trained else f"h{i}"]
            build.operation(
                f"f{i}.back",
                "backward",
                draw.way(reads, in_place=[(0, 0)] * (same and draw.chance(0.6))),
                [below],
            )
        if i in trained:
            _weight(build, draw, i, gradient, source, saved[i].get("slice"))
        if i > 0:
            gradient = f"g{i - 1}"


def _weight(
    build: GraphBuilder, draw: _Draw, i: int, gradient: str, source: str, gathered: str | None
) -> None:
    layer = next(layer for layer in build.layers if layer.id == f"l{i}")
    size = build_size(build, f"w{i}")
    build.tensor(f"gw{i}", "gradient", size, f"l{i}", BOTH)
    plain_axes = None if gathered is None else ["whole", "output"]
    ways = [draw.way([gradient, source], cuts=OUTPUT if gathered else BOTH, axes=plain_axes)]
    if gathered is not None:
        ways.append(draw.way([gradient, gathered], "saved_slice", cuts=INPUT, axes=["input"]))
    build.operation(f"gw{i}", "backward", ways, [f"gw{i}"], layer=f"l{i}")
    accumulates = build.symbolic and not build.coupled_by
    update = [draw.way([f"w{i}", f"gw{i}"], target="memplan.sgd", cuts=BOTH, macs=False)]
    accumulate = [draw.way([f"acc.w{i}", f"gw{i}"], cuts=BOTH, macs=False)]
    if not draw.tiny and draw.chance(0.35):
        update.append(draw.way([f"w{i}", gradient, source], "fused", target="memplan.fused"))
        accumulate.append(
            draw.way([f"acc.w{i}", gradient, source], "fused", target="memplan.fused")
        )
    states = []
    if draw.chance(0.2):
        states.append(build.tensor(f"v{i}", "state", size, f"l{i}", BOTH))
        update = [_also_reads(way, states) for way in update]
    build.updates(
        f"w{i}",
        update,
        accumulate if accumulates else None,
        accumulator_size=size,
        layer=f"l{i}",
        cuts=BOTH,
        states=states,
        apply_workspace=draw.workspace(),
    )
    if layer.bias is not None:
        build.tensor(f"gb{i}", "gradient", 6)
        build.operation(f"gb{i}", "backward", draw.way([gradient]), [f"gb{i}"], layer=f"l{i}")
        build.updates(
            f"b{i}",
            draw.way([f"b{i}", f"gb{i}"], macs=False),
            draw.way([f"acc.b{i}", f"gb{i}"], macs=False) if accumulates else None,
            accumulator_size=6,
            layer=f"l{i}",
        )


def _also_reads(way: Alternative, names: Sequence[str]) -> Alternative:
    more = alternative(names).reads
    return way.model_copy(update={"reads": way.reads + more})
