"""Rewrites of the forward graph, before autograd sees it.

What is rewritten here changes what is trained or what is random; everything that only changes
how the step is computed is a pass over the draft (the folder above).
"""

from __future__ import annotations

from collections.abc import Callable

from memplan.tracing.capture_forward import Forward
from memplan.tracing.passes.forward.attention import spell_out_attention_dropout
from memplan.tracing.passes.forward.batch_norm import treat_batch_norm
from memplan.tracing.passes.forward.dropout import treat_dropout
from memplan.tracing.passes.forward.in_place import in_place_to_functional
from memplan.tracing.passes.forward.instance_norm import instance_norm_to_group_norm
from memplan.tracing.passes.forward.recurrent_dropout import spell_out_recurrent_dropout
from memplan.tracing.settings import TraceSettings

__all__ = ["FORWARD_PASSES"]

FORWARD_PASSES: tuple[Callable[[Forward, TraceSettings], None], ...] = (
    instance_norm_to_group_norm,
    treat_batch_norm,
    spell_out_attention_dropout,
    spell_out_recurrent_dropout,
    treat_dropout,
    in_place_to_functional,
)
