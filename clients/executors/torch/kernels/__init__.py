"""How each operation is executed: one line per target, one function per line.

A kernel takes a resolved ``Call`` once and returns what is left to do at each step.  Targets of
ATen that are not listed go the generic way (``aten.generic``).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch

from memplan.clients.executors.torch.kernels.aten import generic, resolve
from memplan.clients.executors.torch.kernels.bits import apply_bits, range_bits
from memplan.clients.executors.torch.kernels.call import RUNNING, Call, Kernel, Run, RunState
from memplan.clients.executors.torch.kernels.convolution import (
    conv_input_gradient,
    conv_weight_gradient,
    convolution,
)
from memplan.clients.executors.torch.kernels.copies import (
    assign,
    constant_pad_nd,
    copy,
    fill,
    fill_constant,
    gather_channels,
    select_backward,
    slice_backward,
)
from memplan.clients.executors.torch.kernels.dropout import dropout
from memplan.clients.executors.torch.kernels.elementwise import elementwise, relu, scalar
from memplan.clients.executors.torch.kernels.embedding import (
    embedding,
    embedding_dense_backward,
    embedding_weight_gradient,
)
from memplan.clients.executors.torch.kernels.fused import fused
from memplan.clients.executors.torch.kernels.linear import linear_weight_gradient
from memplan.clients.executors.torch.kernels.normalization import (
    batch_norm_train,
    layer_norm_bias_gradient,
    layer_norm_input_gradient,
    layer_norm_weight_gradient,
    update_running_statistics,
)
from memplan.clients.executors.torch.kernels.pooling import (
    max_pool,
    max_pool_input_gradient,
    max_pool_positions,
)
from memplan.clients.executors.torch.kernels.update import accumulate, adam, clear, momentum, sgd

__all__ = ["KERNELS", "RUNNING", "Call", "Kernel", "Run", "RunState", "bind"]


def bind(call: Call) -> Run:
    """Return what executes ``call``.

    Raises:
        ModelError: nothing here executes its target, or not with these arguments.
    """
    kernel = KERNELS.get(call.target)
    if kernel is None:
        resolve(call.target)
        kernel = generic
    return kernel(call)


#: Targets with a way of their own.
KERNELS: Mapping[str, Kernel] = {
    "aten._to_copy.default": copy,
    "aten.add.Scalar": partial(scalar, torch.add),
    "aten.clone.default": copy,
    "aten.constant_pad_nd.default": constant_pad_nd,
    "aten.convolution.default": convolution,
    "aten.copy.default": assign,
    "aten.div.Scalar": partial(scalar, torch.div),
    "aten.embedding.default": embedding,
    "aten.embedding_dense_backward.default": embedding_dense_backward,
    "aten.fill.Scalar": fill,
    "aten.full.default": fill,
    "aten.full_like.default": fill,
    "aten.max_pool2d.default": max_pool,
    "aten.max_pool3d.default": max_pool,
    "aten.mul.Scalar": partial(scalar, torch.mul),
    "aten.ones.default": partial(fill_constant, 1),
    "aten.ones_like.default": partial(fill_constant, 1),
    "aten.relu.default": relu,
    "aten.select_backward.default": select_backward,
    "aten.slice_backward.default": slice_backward,
    "aten.sub.Scalar": partial(scalar, torch.sub),
    "aten.zeros.default": partial(fill_constant, 0),
    "aten.zeros_like.default": partial(fill_constant, 0),
    "memplan.accumulate": accumulate,
    "memplan.adam": adam,
    "memplan.apply_bits": apply_bits,
    "memplan.batch_norm_train": batch_norm_train,
    "memplan.clear": clear,
    "memplan.conv_input_gradient": conv_input_gradient,
    "memplan.conv_weight_gradient": conv_weight_gradient,
    "memplan.dropout": dropout,
    "memplan.dropout_backward": dropout,
    "memplan.elementwise": partial(elementwise, bind),
    "memplan.embedding_weight_gradient": embedding_weight_gradient,
    "memplan.fused": partial(fused, bind),
    "memplan.gather_channels": gather_channels,
    "memplan.layer_norm_bias_gradient": layer_norm_bias_gradient,
    "memplan.layer_norm_input_gradient": layer_norm_input_gradient,
    "memplan.layer_norm_weight_gradient": layer_norm_weight_gradient,
    "memplan.linear_weight_gradient": linear_weight_gradient,
    "memplan.max_pool_input_gradient": max_pool_input_gradient,
    "memplan.max_pool_positions": max_pool_positions,
    "memplan.momentum": momentum,
    "memplan.range_bits": range_bits,
    "memplan.sgd": sgd,
    "memplan.update_running_statistics": update_running_statistics,
}
