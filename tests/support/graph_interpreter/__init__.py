"""A simple, slow interpreter of graphs: one storage per tensor, operations in listed order.

It shares no code with the executors.  It runs what outputs and updates need, with the chosen
alternatives, any micro-batch and any update mask; storages begin as NaN.
"""

from __future__ import annotations

from tests.support.graph_interpreter.operations import dropout_mask
from tests.support.graph_interpreter.step import Outcome, full_mask, run_step
from tests.support.graph_interpreter.weights import initial_weights

__all__ = ["Outcome", "dropout_mask", "full_mask", "initial_weights", "run_step"]
