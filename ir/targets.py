"""Operations of ours, beside ATen's: what each computes.  Tracing emits them, executors run them.

An ATen target ``aten.<packet>.<overload>`` is called with the alternative's ``arguments`` and
``keywords``, in the schema's order, and its results go to ``writes`` in the schema's order (all of
them).  The operations below are called in the same way; ``reads`` are their operands in this
order unless said otherwise.  ``mask`` stands for the update mask of the operation's layer.

Gradients of parameters.  Under a mask with an axis they compute the slice only:

``memplan.conv_weight_gradient(gy, x, weight_shape, stride, padding, dilation, transposed,
output_padding, groups)``
    Gradient of a convolution's weight.  Axis ``output``: of the chosen output channels (``gy``
    is indexed).  Axis ``input``: ``x`` *is* the gathered slice already (alternative
    ``saved_slice``).  Depthwise (one channel per group): the chosen channels are those of both;
    ``x`` is the gathered slice and ``gy`` is indexed.
``memplan.linear_weight_gradient(gy, x)``
    ``gy``: (rows, out), ``x``: (rows, in) -> (out, in).  Slices as above.
``memplan.embedding_weight_gradient(gy, indices, num_weights, padding_idx)``
    Axis ``output``: columns of the table.
``memplan.conv_input_gradient(gy, w, input_shape, stride, padding, dilation, transposed,
output_padding, groups)``
    Gradient of a convolution's input.  ``w`` whole, put together where it is partly updated.
``memplan.layer_norm_input_gradient(gy, x, mean, rstd, weight | None, normalized_shape)``,
``memplan.layer_norm_weight_gradient(gy, x, mean, rstd, normalized_shape)``,
``memplan.layer_norm_bias_gradient(gy, normalized_shape)``
    The three results of ``aten.native_layer_norm_backward`` by themselves.

Saving less for the backward:

``memplan.gather_channels(x, dim)``
    The mask's input channels of ``x`` along ``dim``, contiguous.
``memplan.range_bits(y, low, high)``
    Mask with bit 1 where ``low < y < high`` (null: no limit); each sample (slice along the first
    dimension) starts a byte, least significant bit first.
``memplan.apply_bits(gy, bits)``
    ``gy`` where the bit is 1, else 0.
``memplan.max_pool_positions(x, kernel, stride, padding, dilation, ceil_mode)``
    For each output of a max-pool over the last dimensions of ``x`` (as many as ``kernel`` has: 2
    or 3) the row-major position of the maximum in its window, as uint8: of equal values the first,
    of NaN the last.  At most 256 positions.
``memplan.max_pool_input_gradient(gy, positions, input_shape, kernel, stride, padding, dilation,
ceil_mode)``
    Gradient of a max-pool's input; what reaches an element from several windows adds up in the
    row-major order of ``gy``.

Randomness that does not depend on order, micro-batch or recomputation:

``memplan.dropout(x, probability, salt)``, ``memplan.dropout_backward(gy, probability, salt)``
    Zero with ``probability``, else times 1 / (1 - probability).  The decision for an element
    depends on the run's seed, ``salt`` and the index of the element in the whole batch only.

Batch norm over batch statistics (mode ``--batch-norm train``):

``memplan.batch_norm_train(x, weight | None, bias | None, epsilon)``
    -> output, mean, rstd.
``memplan.update_running_statistics(running_mean, running_var, mean, rstd, momentum, count,
epsilon)``
    Mutates both, as ``torch.nn.BatchNorm`` does; ``count``: elements per channel.  Also adds 1 to
    a third mutated tensor ``num_batches_tracked`` where there is one.

Updates.  ``g`` is the gradient, or the accumulator in the epilogue.  A partly updated parameter's
buffer holds the slice alone, in ascending channel order:

``memplan.sgd(w, g, learning_rate)``
    w -= learning_rate * g.
``memplan.momentum(w, g, velocity, learning_rate, momentum)``
    velocity = momentum * velocity + g; w -= learning_rate * velocity (``torch.optim.SGD``).
``memplan.adam(w, g, first, second, step, learning_rate, beta1, beta2, epsilon)``
    ``torch.optim.Adam``; ``step`` is an int64 state of its own per parameter, incremented first.
    Computed in chunks of ``workspace_bytes``.
``memplan.clear(accumulator)``
    accumulator = 0.
``memplan.accumulate(accumulator, g)``
    accumulator += g / trips, so that the sum is the gradient of the whole batch's mean loss.
``memplan.fused(target_of_the_update, target_of_the_gradient, [arguments of the update],
[arguments of the gradient])``
    An update or accumulation whose gradient never exists whole: it is computed in chunks along
    the first dimension of the parameter, each in ``workspace_bytes``.  In the update's arguments
    the gradient is ``{"running": true}``.

Element-wise chains:

``memplan.elementwise([target, [arguments], {keywords}], ...)``
    A program over one running value: the first entry computes it, each later one reads it as
    ``{"running": true}``; element types and shape stay the same, so it is computed in the
    output's own bytes.
"""

from typing import Final

__all__ = ["TARGETS", "is_known"]

#: Operations of ours, by name.
TARGETS: Final = frozenset(
    "memplan." + name
    for name in (
        "accumulate",
        "adam",
        "apply_bits",
        "batch_norm_train",
        "clear",
        "conv_input_gradient",
        "conv_weight_gradient",
        "dropout",
        "dropout_backward",
        "elementwise",
        "embedding_weight_gradient",
        "fused",
        "gather_channels",
        "layer_norm_bias_gradient",
        "layer_norm_input_gradient",
        "layer_norm_weight_gradient",
        "linear_weight_gradient",
        "max_pool_input_gradient",
        "max_pool_positions",
        "momentum",
        "range_bits",
        "sgd",
        "update_running_statistics",
    )
)


def is_known(target: str) -> bool:
    """Tell whether a target is one of ours or has the form of an ATen overload."""
    return target in TARGETS or (target.startswith("aten.") and target.count(".") == 2)
