"""The torch executor: runs a plan in one preallocated byte arena, and compares it with autograd."""

from memplan.clients.executors.torch.compare import (
    Comparison,
    ParameterComparison,
    compare,
)
from memplan.clients.executors.torch.executor import ArenaExecutor, OnGradient, OnOutputs
from memplan.clients.executors.torch.model import model_outputs, model_step
from memplan.clients.executors.torch.reference import Reference, autograd_step, forward_outputs
from memplan.clients.executors.torch.result import StepResult
from memplan.clients.executors.torch.run import run_step
from memplan.clients.executors.torch.scratch import OperationScratch, ScratchReport
from memplan.clients.executors.torch.sound import sound_weights

__all__ = [
    "ArenaExecutor",
    "Comparison",
    "OnGradient",
    "OnOutputs",
    "OperationScratch",
    "ParameterComparison",
    "Reference",
    "ScratchReport",
    "StepResult",
    "autograd_step",
    "compare",
    "forward_outputs",
    "model_outputs",
    "model_step",
    "run_step",
    "sound_weights",
]
