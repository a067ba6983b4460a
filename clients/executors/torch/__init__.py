"""The torch executor: runs a plan in one preallocated byte arena, and compares it with autograd."""

from memplan.clients.executors.torch.compare import (
    SMALLEST,
    Comparison,
    ParameterComparison,
    compare,
)
from memplan.clients.executors.torch.conditioning import Conditioning, examine
from memplan.clients.executors.torch.executor import ArenaExecutor, OnGradient, OnOutputs
from memplan.clients.executors.torch.model import model_outputs, model_step
from memplan.clients.executors.torch.reference import (
    Precision,
    Reference,
    autograd_step,
    forward_outputs,
)
from memplan.clients.executors.torch.result import StepResult
from memplan.clients.executors.torch.run import run_step
from memplan.clients.executors.torch.scratch import OperationScratch, ScratchReport
from memplan.clients.executors.torch.sound import sound_originals, sound_weights

__all__ = [
    "SMALLEST",
    "ArenaExecutor",
    "Comparison",
    "Conditioning",
    "OnGradient",
    "OnOutputs",
    "OperationScratch",
    "ParameterComparison",
    "Precision",
    "Reference",
    "ScratchReport",
    "StepResult",
    "autograd_step",
    "compare",
    "examine",
    "forward_outputs",
    "model_outputs",
    "model_step",
    "run_step",
    "sound_originals",
    "sound_weights",
]
