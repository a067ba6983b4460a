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
}


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """How a model is traced.

    Raises:
        RequestError: a word that is none of those allowed, or a batch or a learning rate that is
            not positive.
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

    def __post_init__(self) -> None:
        for name, allowed in _WORDS.items():
            if (value := getattr(self, name)) not in allowed:
                raise RequestError(f"{name} {value!r}: use one of {', '.join(allowed)}")
        if self.batch is not None and not 1 <= self.batch <= MAX_BATCH:
            raise RequestError(f"batch {self.batch}: use 1 to {MAX_BATCH}")
        if not 0 < self.learning_rate < float("inf"):
            raise RequestError(f"learning rate {self.learning_rate}: use a positive number")

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
