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

Integers (``--quantize int8``).  A tensor's ``quantization`` says what its integers stand for; every
number that an operation needs is among its arguments.  ``ir.fixed_point`` has the exact rule of
each rescaling; there is no other rounding in them, so all executors agree bit for bit:

``memplan.conv_int8(x, w, bias | None, stride, padding, dilation, groups, multipliers, shifts,
x_zero_point, y_zero_point, low, high)``
    x, w: int8; bias: int32.  The accumulator ``bias[o] + sum((x - x_zero_point) * w)`` fits an
    int32 (padding adds nothing); ``y = requantize(accumulator, multipliers[o], shifts[o],
    y_zero_point, low, high)``.  multipliers: int32, shifts: int8, one per output channel.  A ReLU
    or ReLU6 behind the convolution is in ``low`` and ``high``.
``memplan.add_int8(a, b, a_zero_point, b_zero_point, a_multiplier, b_multiplier, shift,
y_zero_point, low, high)``
    ``requantize_sum([a - a_zero_point, b - b_zero_point], [a_multiplier, b_multiplier], shift,
    y_zero_point, low, high)``; every intermediate value fits an int32.
``memplan.mean_int8(x, dims, keepdim, multiplier, shift, x_zero_point, y_zero_point, low, high)``,
``memplan.avg_pool_int8(x, kernel, stride, padding, multiplier, shift, x_zero_point,
y_zero_point, low, high)``
    ``requantize(sum(x - x_zero_point), multiplier, shift, y_zero_point, low, high)`` over ``dims``
    or over each window; the multiplier has the divisor in it, and padding adds nothing.
``memplan.quantize(x, scale, zero_point, low, high)``
    x: float32.  ``clamp(rint(x / scale) + zero_point, low, high)``, in float32, half to even.
``memplan.dequantize(x, scale, zero_point)``
    ``(x - zero_point) * scale``, one float32 product.
``aten.max_pool2d``, ``aten.max_pool3d``, ``memplan.max_pool_positions``, ``aten.constant_pad_nd``,
``aten.clone``, ``memplan.gather_channels``, ``memplan.range_bits``
    also take int8; padding of a max-pool is never the maximum, that of ``constant_pad_nd`` is the
    zero point (its ``value``).

Gradients of an int8 graph are float32 in real units (straight through every rounding):

``memplan.range_backward(gy, y, low, high)``
    y: int8.  ``gy`` where ``low < y < high``, else 0: what was clamped, or lies on a limit, passes
    no gradient.  With ``memplan.range_bits`` of y it is ``memplan.apply_bits``.
``memplan.conv_input_gradient_int8w(gy, w, input_shape, stride, padding, dilation, transposed,
output_padding, groups, scales)``
    As ``conv_input_gradient`` with the weight ``w * scales[o]``.
``memplan.conv_weight_gradient_int8x(gy, x, weight_shape, stride, padding, dilation, transposed,
output_padding, groups, x_scale, x_zero_point)``
    As ``conv_weight_gradient`` with the input ``(x - x_zero_point) * x_scale``; padding is 0.
    The gradient of the real weight.  Slices as there.
``memplan.sgd_int8(w, g, learning_rate, scales, factor, scaling)``
    w: int8 or int32, with ``scales[o] * factor`` the real size of a unit, o along dimension 0;
    g: float32, of the real parameter.  ``w -= rint(g * rate[o])``, half to even, then within
    [-127, 127] (int8) or [-2**30, 2**30] (int32).  With ``scaling`` (quantization-aware, MCUNetV3
    eq. 4: the integer's own gradient, ``unit * g``, times ``unit**-2``) ``rate[o] = learning_rate
    / (scales[o] * factor)``, else ``rate[o] = learning_rate * (scales[o] * factor)``.  Each
    operation in float32.

Element-wise chains:

``memplan.elementwise([target, [arguments], {keywords}], ...)``
    A program over one running value: the first entry computes it, each later one reads it as
    ``{"running": true}``; element types and shape stay the same, so it is computed in the
    output's own bytes.

Chains of spatially local operations, in row strips:

``memplan.row_strips(entry, ...)``
    Computes the last entry's result; those of the others never exist whole.  Everything is
    (samples, channels, rows, columns), row-major.  An entry is ``(target, arguments, keywords,
    window, shape, dtype, place)`` and gives one tensor:

    * ``target``, ``arguments``, ``keywords`` (pairs of name and value) as of the operation by
      itself; ``{"local": j}`` among them is the result of entry ``j``, an earlier one.  Windowed
      operations (convolutions, pools) have rows in their first argument; of an element-wise one
      every operand has rows, but those of one row (or stride 0) there, which are broadcast.
    * ``window``: ``(kernel, stride, padding, dilation)`` along the rows.  Row ``r`` of the result
      needs of each operand the rows ``r * stride - padding + i * dilation``, i = 0 .. kernel - 1;
      those outside of the operand are padding.  ``(1, 1, 0, 1)`` for element-wise operations.
    * ``shape``: (channels, height, width) of the result of one sample; ``dtype``: its element type.
    * ``place``: ``(offset_bytes, rows)``, a ring in the workspace: row ``h`` is a dense block
      [channels][width] at ``offset_bytes + (h % rows) * channels * width * element size``.  Null:
      row ``h`` lies where the output of the alternative has it.  An entry that has the place of one
      that it reads is computed in place (element-wise operations only).

    Rows of the host: an entry ``("memplan.input_rows", (name,), (), (1, 1, 0, 1), shape, dtype,
    place)`` stands for that input, which then needs no bytes: when a row of it is to be computed,
    the host puts it there (each once per execution, in ascending order).

    One sample after the other; for each, ``compute(last entry, r)`` for r = 0, 1, ... height - 1:

        compute(i, r):
            for each earlier entry j that entry i reads, in order of its arguments:
                while next[j] <= last row below row r of i, and next[j] < height[j]:
                    compute(j, next[j])
            compute row r of entry i from the rows that it needs; next[i] = r + 1

    So no row is computed twice, rows that nothing needs at the end of a result are not computed,
    and the rings are exactly as long as this order needs.  With an in-place pair the output's row
    ``r`` takes the bytes of row ``r`` of the operand: every other use of that row lies before it.

    A used-up operand (``Alternative.uses_up``): the last entry has a place, a ring of one row.  Its
    rows are kept, as they become ready, in bytes of the operand that no entry needs any more, where
    there is room for them: ``(r + 1) * bytes of a row <= spent[r] * bytes of a row of the operand``
    (all channels; ``ir.row_strips.spent_rows``), in each sample's own part.  When all are there,
    the result is written, wherever it lies.

Blocks of an expanding pointwise, a depthwise and a projecting pointwise convolution, backward:

``memplan.channel_strips(gy, w2, w2_scales, bits2, wd, wd_scales, bits1, w1, w1_scales, x, x_scale,
x_zero_point, stride, padding, dilation, bd_update, b1_update, w1_update)``
    The block is ``y = conv(w2, f2(depthwise(wd, f1(conv(w1, x)))))``, f1 and f2 clamps, C channels
    inside.  Computes the gradient gx of its input, channel by channel: the wide gradients never
    exist whole.  On the way it performs the updates that are not null (``Alternative.covers``).

    * gy: (n, O, h, w), any strides (a broadcast has strides of 0).  w2: (O, C, 1, 1); wd: (C, 1,
      kh, kw), with stride, padding and dilation as (rows, columns); w1: (C, I, 1, 1).  All whole,
      put together where they are partly updated.  gx: (n, I, H, W).
    * bits2, bits1: ``range_bits`` of what w2 and wd read, (n, C, h, w) and (n, C, H, W): element
      ``(c * h + row) * w + column`` of each sample.  Null: no mask.
    * scales: null, or of an int8 weight, whose real value is ``w * scales[its first dimension]``.
    * x: null without w1_update; else (n, I, H, W), or under a mask along ``input`` the gathered
      slice (n, I', H, W).  int8: ``(x - x_zero_point) * x_scale``, else these two are null.
    * An update is null or ``(target, rest...)``: that operation by itself, on channel c, called
      ``target(m, g, s..., rest...)``.  m and the states s are the step's mutated tensors: of the
      updates in this order (bias of the depthwise, of the expanding convolution, w1) those of
      each in its own order.  Of tensors with a row per channel (scales too) row c is meant; of
      Adam's ``step``, which it increments once, all of it.  Under a mask along ``input`` m and s
      of w1_update have I' columns.  No w1_update is cut along ``output``.

    In real numbers, sums in the order of indices, from 0::

        for c in channels:
            for each sample n:
                a[p] = sum over o of w2[o, c] * gy[n, o, p], or 0 where bits2 is 0
                gbd += sum of a
                b[r, q] = sum over (i, j) of wd[c, i, j] * a[(r + padding - i * dilation) / stride,
                          and columns likewise], of the places that are whole numbers inside of a;
                          or 0 where bits1 is 0
                gb1 += sum of b
                gw1[k] += sum over p of x[n, k, p] * b[p], for each k
                gx[n, k] += w1[c, k] * b, for each k (assigned where c is the first)
            the updates, with g = gbd, gb1 and the row gw1, which begin at 0 for each channel

    Executors may sum in another order.  No update is read again: row c of w1 is used up.
    Workspace, in elements of gx (``memplan.ir.channel_strips.Workspace``): b, H * W; then a, h * w;
    then with w1_update the row gw1, I.  Where the stride is 1, a has the size of b and ``padding +
    1 < H`` (rows), a and b are one plane, computed in place from row 0 down: behind it, in the
    place of a, is a ring of ``padding + 1`` rows of W; row r of a is copied to slot ``r % (padding
    + 1)`` before row r of b is written over it, so of a the rows up to r are read from the ring
    and those below from the plane.
"""

from typing import Final

__all__ = ["TARGETS", "is_known"]

#: Operations of ours, by name.
TARGETS: Final = frozenset(
    "memplan." + name
    for name in (
        "accumulate",
        "adam",
        "add_int8",
        "apply_bits",
        "avg_pool_int8",
        "batch_norm_train",
        "channel_strips",
        "clear",
        "conv_input_gradient",
        "conv_input_gradient_int8w",
        "conv_int8",
        "conv_weight_gradient",
        "conv_weight_gradient_int8x",
        "dequantize",
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
        "mean_int8",
        "momentum",
        "quantize",
        "range_backward",
        "range_bits",
        "row_strips",
        "sgd",
        "sgd_int8",
        "update_running_statistics",
    )
)


def is_known(target: str) -> bool:
    """Tell whether a target is one of ours or has the form of an ATen overload."""
    return target in TARGETS or (target.startswith("aten.") and target.count(".") == 2)
