"""Small abstract graphs in few lines: bytes and dependencies, no numerics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from memplan.ir.graph import (
    Alternative,
    AxisName,
    AxisSize,
    ChannelAxis,
    DtypeArgument,
    InPlacePair,
    Layer,
    Loss,
    Mode,
    Operand,
    OperandArgument,
    Operation,
    OpGraph,
    Optimizer,
    Phase,
    Role,
    Tensor,
    UpdatedAxis,
)
from memplan.ir.row_strips import ROW_STRIPS, Place, RowWindow, StripEntry
from memplan.ir.units import Affine

__all__ = ["Amount", "Cut", "GraphBuilder", "Image", "alternative", "used_up_alternative"]

#: Channels, rows, columns of a sample of single bytes.
Image = tuple[int, int, int]

Amount = int | tuple[int, int] | Affine
#: Axis and channels: which part of a tensor or cost follows the mask.
Cut = tuple[AxisName, int]


def affine(amount: Amount) -> Affine:
    """Return ``fixed``, or ``(fixed, per_sample)``, as a size."""
    if isinstance(amount, Affine):
        return amount
    return Affine(amount) if isinstance(amount, int) else Affine(*amount)


def alternative(
    reads: Iterable[str],
    name: str = "plain",
    target: str = "aten.relu.default",
    in_place: Iterable[tuple[int, int]] = (),
    workspace: Amount = 0,
    macs: Amount = 0,
    moved: Amount = 0,
    cuts: Iterable[Cut] = (),
    axes: Sequence[UpdatedAxis] | None = None,
    covers: Sequence[str] = (),
) -> Alternative:
    """Return one way to execute an operation."""
    return Alternative(
        name=name,
        target=target,
        reads=tuple(Operand(tensor=tensor) for tensor in reads),
        in_place=tuple(InPlacePair(read=read, write=write) for read, write in in_place),
        workspace_bytes=affine(workspace),
        macs=affine(macs),
        moved_bytes=affine(moved),
        slices=tuple(AxisSize(axis=axis, channels=channels) for axis, channels in cuts),
        axes=None if axes is None else tuple(axes),
        covers=tuple(covers),
    )


def used_up_alternative(
    reads: Iterable[str],
    image: Image,
    name: str = "rows_used_up",
    stride: int = 1,
    macs: Amount = 0,
    moved: Amount = 0,
) -> Alternative:
    """Return a way that uses up the first of what it reads.

    Row r of the result, a picture of this shape, needs the operand's rows below ``stride * (r +
    1)``; it waits in a row of workspace, then in the operand.
    """
    channels, _, width = image
    entry = StripEntry(
        "aten.relu.default",
        (OperandArgument(operand=0),),
        (),
        RowWindow(stride, stride),
        image,
        DtypeArgument(dtype="int8"),
        Place(0, 1),
    )
    plain = alternative(reads, name, ROW_STRIPS, (), channels * width, macs, moved)
    return plain.model_copy(update={"arguments": (entry.as_argument(),), "uses_up": 0})


class GraphBuilder:
    """Collects tensors, operations and layers in the order in which they are named."""

    def __init__(
        self,
        name: str,
        mode: Mode = "train",
        traced_batch: int = 2,
        symbolic: bool = True,
        coupled_by: str = "",
    ) -> None:
        self.name = name
        self.mode = mode
        self.traced_batch = traced_batch
        self.symbolic = symbolic
        self.coupled_by = coupled_by
        self.tensors: list[Tensor] = []
        self.operations: list[Operation] = []
        self.layers: list[Layer] = []

    def tensor(
        self,
        name: str,
        role: Role,
        size: Amount,
        layer: str | None = None,
        cuts: Iterable[Cut] = (),
        image: Image | None = None,
    ) -> str:
        """Add a tensor of so many bytes and return its name.

        Args:
            image: the shape of a sample; all samples are of the same size then.
        """
        size_bytes = affine(size)
        shape: tuple[Affine, ...] = (size_bytes,)
        strides: tuple[Affine, ...] = (Affine(1),)
        if image is not None:
            channels, height, width = image
            sample = channels * height * width
            samples = Affine(size_bytes.fixed // sample, size_bytes.per_sample // sample)
            shape = (samples, *map(Affine, image))
            strides = tuple(map(Affine, (sample, height * width, width, 1)))
        self.tensors.append(
            Tensor(
                id=name,
                role=role,
                dtype="int8",
                shape=shape,
                strides=strides,
                size_bytes=size_bytes,
                layer=layer,
                slices=tuple(
                    AxisSize(axis=axis, channels=channels, dim=0) for axis, channels in cuts
                ),
            )
        )
        return name

    def operation(
        self,
        name: str,
        phase: Phase,
        alternatives: Alternative | Sequence[Alternative],
        writes: Iterable[str] = (),
        mutates: Iterable[str] = (),
        layer: str | None = None,
        parameter: str | None = None,
        recomputable: bool = False,
    ) -> None:
        """Add an operation."""
        ways = (alternatives,) if isinstance(alternatives, Alternative) else tuple(alternatives)
        self.operations.append(
            Operation(
                id=name,
                phase=phase,
                layer=layer,
                parameter=parameter,
                writes=tuple(writes),
                mutates=tuple(mutates),
                alternatives=ways,
                recomputable=recomputable,
            )
        )

    def forward(
        self,
        name: str,
        result: str,
        size: Amount,
        way: Alternative,
        layer: str | None = None,
        recomputable: bool = True,
    ) -> None:
        """Add an activation and the forward operation that writes it."""
        self.tensor(result, "activation", size)
        self.operation(name, "forward", way, [result], layer=layer, recomputable=recomputable)

    def backward(
        self,
        name: str,
        result: str,
        size: Amount,
        ways: Alternative | Sequence[Alternative],
        layer: str | None = None,
    ) -> None:
        """Add a gradient and the backward operation that writes it."""
        self.tensor(result, "gradient", size)
        self.operation(name, "backward", ways, [result], layer=layer)

    def layer(
        self,
        name: str,
        weight: str | None,
        bias: str | None = None,
        parameters: int = 1,
        bias_parameters: int = 0,
        macs: Amount = 1,
        axes: Iterable[Cut] = (),
        fisher: float | None = None,
    ) -> str:
        """Add a layer and return its name."""
        self.layers.append(
            Layer(
                id=name,
                kind="linear",
                weight=weight,
                bias=bias,
                parameter_count=parameters,
                bias_parameters=bias_parameters,
                forward_macs=affine(macs),
                axes=tuple(ChannelAxis(name=axis, channels=channels) for axis, channels in axes),
                fisher=fisher,
            )
        )
        return name

    def updates(
        self,
        parameter: str,
        update: Alternative | Sequence[Alternative],
        accumulate: Alternative | Sequence[Alternative] | None = None,
        accumulator_size: Amount = 0,
        layer: str | None = None,
        cuts: Iterable[Cut] = (),
        states: Iterable[str] = (),
        apply_workspace: Amount = 0,
    ) -> None:
        """Add what updates a parameter: with one trip, and with several if ``accumulate``.

        ``accumulate`` reads the tensor ``acc.<parameter>`` first.
        """
        states = tuple(states)
        self.operation(
            f"update.{parameter}",
            "update",
            update,
            mutates=(parameter, *states),
            layer=layer,
            parameter=parameter,
        )
        if accumulate is None:
            return
        total = self.tensor(f"acc.{parameter}", "accumulator", accumulator_size, layer, cuts)
        self.operation(
            f"clear.{parameter}",
            "clear",
            alternative([total], target="memplan.clear", moved=1),
            mutates=(total,),
            layer=layer,
            parameter=parameter,
        )
        self.operation(
            f"accumulate.{parameter}",
            "accumulate",
            accumulate,
            mutates=(total,),
            layer=layer,
            parameter=parameter,
        )
        self.operation(
            f"apply.{parameter}",
            "apply",
            alternative(
                [parameter, total, *states],
                target="memplan.sgd",
                moved=8,
                workspace=apply_workspace,
            ),
            mutates=(parameter, *states),
            layer=layer,
            parameter=parameter,
        )

    def sgd(
        self,
        parameter: str,
        gradient: str,
        size: int,
        layer: str,
        cuts: Iterable[Cut] = (),
        states: Sequence[str] = (),
        apply_workspace: Amount = 0,
        also: Callable[[str], Sequence[Alternative]] = lambda target: (),
    ) -> None:
        """Add the updates of a parameter whose gradient is a tensor of the same size.

        Args:
            also: gives further alternatives, for the tensor that they change.
        """
        cuts, moved, total = tuple(cuts), 3 * size, f"acc.{parameter}"
        step = alternative(
            [parameter, gradient, *states], target="memplan.sgd", moved=moved, cuts=cuts
        )
        sum_ = alternative([total, gradient], target="memplan.accumulate", moved=moved, cuts=cuts)
        self.updates(
            parameter,
            [step, *also(parameter)],
            [sum_, *also(total)],
            accumulator_size=size,
            layer=layer,
            cuts=cuts,
            states=states,
            apply_workspace=apply_workspace,
        )

    def build(self, outputs: Iterable[str]) -> OpGraph:
        """Return the graph, validated."""
        train = self.mode == "train"
        return OpGraph(
            name=self.name,
            mode=self.mode,
            loss=Loss(kind="cross_entropy", target="labels") if train else None,
            optimizer=Optimizer(kind="sgd", learning_rate=0.1) if train else None,
            traced_batch=self.traced_batch,
            batch_symbolic=self.symbolic,
            batch_coupled_by=self.coupled_by,
            tensors=tuple(self.tensors),
            operations=tuple(self.operations),
            layers=tuple(self.layers),
            outputs=tuple(outputs),
        )
