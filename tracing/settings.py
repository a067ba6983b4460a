"""What turns a model into a training step: mode, loss, optimizer, batch-norm treatment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from memplan.ir.errors import RequestError
from memplan.ir.graph import (
    BatchNorm,
    Loss,
    LossKind,
    LossTarget,
    Mode,
    Optimizer,
    OptimizerKind,
    QuantizationScheme,
)
from memplan.ir.limits import MAX_BATCH

__all__ = ["TraceSettings"]

#: What each setting may say.  Callers from Python are checked by nobody else.
_WORDS: dict[str, tuple[str, ...]] = {
    "mode": get_args(Mode),
    "loss": get_args(LossKind),
    "target": get_args(LossTarget),
    "optimizer": get_args(OptimizerKind),
    "batch_norm": get_args(BatchNorm),
    "quantize": get_args(QuantizationScheme),
}


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """How a model is traced.

    Raises:
        RequestError: a word that is none of those allowed, a batch or a learning rate that is
            not positive, or a combination that int8 does not have.
    """

    mode: Mode = "train"
    #: Samples per batch; None: the batch of the model's example inputs.
    batch: int | None = None
    loss: LossKind = "cross_entropy"
    #: What the loss compares the output with.
    target: LossTarget = "labels"
    optimizer: OptimizerKind = "sgd"
    learning_rate: float = 0.01
    #: ``frozen``: running statistics, folded into the layer before; ``train``: batch statistics.
    batch_norm: BatchNorm = "frozen"
    #: ``int8``: convolutions between them in integers; gradients and the head in float32.
    quantize: QuantizationScheme = "none"
    #: Scale updates of integers as those of the real weights they stand for (int8 only).
    quantization_aware_scaling: bool = True
    #: The rows of the input image come from the host one after the other, so that it is not
    #: resident.
    input_streamed: bool = False

    def __post_init__(self) -> None:
        for name, allowed in _WORDS.items():
            if (value := getattr(self, name)) not in allowed:
                raise RequestError(f"{name} {value!r}: use one of {', '.join(allowed)}")
        if self.batch is not None and not 1 <= self.batch <= MAX_BATCH:
            raise RequestError(f"batch {self.batch}: use 1 to {MAX_BATCH}")
        if not 0 < self.learning_rate < float("inf"):
            raise RequestError(f"learning rate {self.learning_rate}: use a positive number")
        if self.quantize == "none":
            return
        if self.trains and self.optimizer != "sgd":
            raise RequestError(
                f"optimizer {self.optimizer} has no form for int8 weights; use --optimizer sgd "
                "(which keeps no state, and MCUNetV3 found momentum of no use at batch 1)"
            )
        if self.trains and self.batch_norm == "train":
            raise RequestError(
                "int8 folds batch norm into the weights; use --batch-norm frozen with --quantize"
            )

    @property
    def trains(self) -> bool:
        """Whether the graph has a backward pass."""
        return self.mode == "train"

    def loss_contract(self) -> Loss | None:
        """Return the loss as a graph states it."""
        return Loss(kind=self.loss, target=self.target) if self.trains else None

    def optimizer_contract(self) -> Optimizer | None:
        """Return the optimizer as a graph states it."""
        if not self.trains:
            return None
        return Optimizer(kind=self.optimizer, learning_rate=self.learning_rate)
