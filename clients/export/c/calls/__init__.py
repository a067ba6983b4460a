"""How each operation becomes a C call: one line per target, one function per line.

A maker takes a resolved ``Call`` and the ``Code`` that its constants go into, and returns
statements.  Where there is no kernel for a call it raises ``UnsupportedError``; the exporter
collects these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from memplan.clients.export.c.call import Call, UnsupportedError
from memplan.clients.export.c.calls import copies, int8, linear, loss, normalization, pooling
from memplan.clients.export.c.calls.attention import attention, attention_backward
from memplan.clients.export.c.calls.bits import apply_bits, range_bits
from memplan.clients.export.c.calls.channel_strips import channel_strips
from memplan.clients.export.c.calls.convolution import conv_input_gradient
from memplan.clients.export.c.calls.dropout import dropout
from memplan.clients.export.c.calls.elementwise import EXPRESSIONS, elementwise, pointwise
from memplan.clients.export.c.calls.embedding import embedding, embedding_dense_backward
from memplan.clients.export.c.calls.in_place_depthwise import any_conv_int8, any_convolution
from memplan.clients.export.c.calls.int8_convolution import conv_input_gradient_int8w
from memplan.clients.export.c.calls.reduction import mean, sum_all, sum_dims
from memplan.clients.export.c.calls.row_strips import row_strips
from memplan.clients.export.c.calls.update import clear, fused, update, weight_gradient
from memplan.clients.export.c.code import Code

__all__ = ["CALLS", "Maker", "statements"]

Maker = Callable[[Call, Code], list[str]]


def statements(call: Call, code: Code) -> list[str]:
    """Return the C statements of a call.

    Raises:
        UnsupportedError: there is no kernel for it.
    """
    maker = CALLS.get(call.target)
    if maker is None:
        if call.target not in EXPRESSIONS:
            raise UnsupportedError("no kernel")
        maker = pointwise
    return maker(call, code)


#: Targets with a kernel; those of ``EXPRESSIONS`` need none, they become loops.
CALLS: Mapping[str, Maker] = {
    "aten._log_softmax.default": loss.log_softmax,
    "aten._log_softmax_backward_data.default": loss.log_softmax_backward,
    "aten._scaled_dot_product_flash_attention_for_cpu.default": attention,
    "aten._scaled_dot_product_flash_attention_for_cpu_backward.default": attention_backward,
    "aten._softmax.default": loss.softmax,
    "aten._softmax_backward_data.default": loss.softmax_backward,
    "aten._to_copy.default": copies.copy,
    "aten.addmm.default": linear.addmm,
    "aten.avg_pool2d.default": pooling.avg_pool2d,
    "aten.avg_pool2d_backward.default": pooling.avg_pool2d_backward,
    "aten.bmm.default": linear.bmm,
    "aten.cat.default": copies.cat,
    "aten.clone.default": copies.copy,
    "aten.constant_pad_nd.default": copies.constant_pad,
    "aten.convolution.default": any_convolution,
    "aten.embedding.default": embedding,
    "aten.embedding_dense_backward.default": embedding_dense_backward,
    "aten.fill.Scalar": copies.fill,
    "aten.full.default": copies.fill,
    "aten.full_like.default": copies.fill,
    "aten.max_pool2d.default": pooling.max_pool2d,
    "aten.mean.default": mean,
    "aten.mean.dim": mean,
    "aten.mm.default": linear.mm,
    "aten.mse_loss.default": loss.mse_loss,
    "aten.mse_loss_backward.default": loss.mse_loss_backward,
    "aten.native_layer_norm.default": normalization.layer_norm,
    "aten.nll_loss2d_backward.default": loss.nll_loss_backward,
    "aten.nll_loss2d_forward.default": loss.nll_loss,
    "aten.nll_loss_backward.default": loss.nll_loss_backward,
    "aten.nll_loss_forward.default": loss.nll_loss,
    "aten.ones_like.default": copies.ones,
    "aten.select_backward.default": copies.select_backward,
    "aten.slice_backward.default": copies.slice_backward,
    "aten.stack.default": copies.stack,
    "aten.sum.default": sum_all,
    "aten.sum.dim_IntList": sum_dims,
    "aten.zeros.default": copies.zeros,
    "aten.zeros_like.default": copies.zeros,
    "memplan.accumulate": update,
    "memplan.adam": update,
    "memplan.add_int8": int8.add_int8,
    "memplan.apply_bits": apply_bits,
    "memplan.avg_pool_int8": int8.avg_pool_int8,
    "memplan.channel_strips": channel_strips,
    "memplan.clear": clear,
    "memplan.conv_input_gradient": conv_input_gradient,
    "memplan.conv_input_gradient_int8w": conv_input_gradient_int8w,
    "memplan.conv_int8": any_conv_int8,
    "memplan.conv_weight_gradient": weight_gradient,
    "memplan.conv_weight_gradient_int8x": weight_gradient,
    "memplan.dequantize": int8.dequantize,
    "memplan.dropout": dropout,
    "memplan.dropout_backward": dropout,
    "memplan.elementwise": elementwise,
    "memplan.embedding_weight_gradient": weight_gradient,
    "memplan.fused": fused,
    "memplan.gather_channels": copies.gather_channels,
    "memplan.layer_norm_bias_gradient": normalization.layer_norm_bias_gradient,
    "memplan.layer_norm_input_gradient": normalization.layer_norm_input_gradient,
    "memplan.layer_norm_weight_gradient": normalization.layer_norm_weight_gradient,
    "memplan.linear_weight_gradient": weight_gradient,
    "memplan.max_pool_input_gradient": pooling.max_pool_input_gradient,
    "memplan.max_pool_positions": pooling.max_pool_positions,
    "memplan.mean_int8": int8.mean_int8,
    "memplan.momentum": update,
    "memplan.quantize": int8.quantize,
    "memplan.range_backward": int8.range_backward,
    "memplan.range_bits": range_bits,
    "memplan.row_strips": row_strips,
    "memplan.sgd": update,
    "memplan.sgd_int8": update,
}
