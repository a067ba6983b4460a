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
from memplan.clients.executors.torch.kernels.call import (
    RUNNING,
    Call,
    Covered,
    Kernel,
    Run,
    RunState,
)
from memplan.clients.executors.torch.kernels.channel_strips import channel_strips
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
from memplan.clients.executors.torch.kernels.int8 import (
    add_int8,
    avg_pool_int8,
    conv_int8,
    dequantize,
    mean_int8,
    quantize,
)
from memplan.clients.executors.torch.kernels.int8_training import (
    conv_input_gradient_int8w,
    conv_weight_gradient_int8x,
    range_backward,
    sgd_int8,
)
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
from memplan.clients.executors.torch.kernels.row_strips import row_strips
from memplan.clients.executors.torch.kernels.update import accumulate, adam, clear, momentum, sgd

__all__ = ["KERNELS", "RUNNING", "Call", "Covered", "Kernel", "Run", "RunState", "bind"]


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
    "memplan.add_int8": add_int8,
    "memplan.apply_bits": apply_bits,
    "memplan.avg_pool_int8": avg_pool_int8,
    "memplan.batch_norm_train": batch_norm_train,
    "memplan.channel_strips": partial(channel_strips, bind),
    "memplan.clear": clear,
    "memplan.conv_input_gradient": conv_input_gradient,
    "memplan.conv_input_gradient_int8w": conv_input_gradient_int8w,
    "memplan.conv_int8": conv_int8,
    "memplan.conv_weight_gradient": conv_weight_gradient,
    "memplan.conv_weight_gradient_int8x": conv_weight_gradient_int8x,
    "memplan.dequantize": dequantize,
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
    "memplan.mean_int8": mean_int8,
    "memplan.momentum": momentum,
    "memplan.quantize": quantize,
    "memplan.range_backward": range_backward,
    "memplan.range_bits": range_bits,
    "memplan.row_strips": partial(row_strips, bind),
    "memplan.sgd": sgd,
    "memplan.sgd_int8": sgd_int8,
    "memplan.update_running_statistics": update_running_statistics,
}
