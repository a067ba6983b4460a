"""One bit per element: where a gradient passes."""

from __future__ import annotations

from memplan.clients.export.c.call import Call, UnsupportedError, dense, floats
from memplan.clients.export.c.code import Code, number
from memplan.clients.export.c.loops import broadcast_strides
from memplan.clients.export.c.views import View

__all__ = ["apply_bits", "range_bits"]


def range_bits(call: Call, code: Code) -> list[str]:
    """``memplan.range_bits(y, low, high)``."""
    y, low, high = call.arguments
    (bits,) = call.writes
    dense(y)
    code.use("bits")
    samples, length = _samples(y)
    if y.dtype == "int8":
        kernel, limits = (
            "memplan_range_bits_int8",
            [_whole_limit(low, -129), _whole_limit(high, 128)],
        )
    else:
        floats(y)
        kernel = "memplan_range_bits"
        limits = [
            number(limit if limit is not None else missing)
            for limit, missing in ((low, float("-inf")), (high, float("inf")))
        ]
    rest = ", ".join([str(samples), str(length), *limits])
    return [f"{kernel}({y.pointer}, {rest}, {bits.pointer});"]


def _whole_limit(limit: float | None, missing: int) -> str:
    if limit is not None and limit != int(limit):
        raise UnsupportedError(f"an int8 limit of {limit}")
    return str(missing if limit is None else int(limit))


def apply_bits(call: Call, code: Code) -> list[str]:
    """``memplan.apply_bits(gy, bits)``."""
    gy, bits = call.arguments
    (out,) = call.writes
    floats(gy, out)
    samples, length = _samples(out)
    if gy.is_dense and out.is_dense:
        code.use("bits")
        return [
            f"memplan_apply_bits({gy.pointer}, {bits.pointer}, {samples}, {length}, {out.pointer});"
        ]
    return _strided(gy, bits, out)


def _samples(view: View) -> tuple[int, int]:
    samples = view.shape[0] if view.shape else 1
    return samples, view.count // max(samples, 1)


def _strided(gy: View, bits: View, out: View) -> list[str]:
    """Return loops over every dimension; bits are counted in row-major order."""
    strides = broadcast_strides(gy, out.shape)
    lines = [
        f"const float *x = {gy.pointer};",
        f"const uint8_t *bits = {bits.pointer};",
        f"float *y = {out.pointer};",
    ]
    indices = [f"i{dim}" for dim in range(len(out.shape))]
    for depth, (index, size) in enumerate(zip(indices, out.shape, strict=True)):
        lines.append(f"{'    ' * depth}for (int32_t {index} = 0; {index} < {size}; ++{index}) {{")
        if depth == 0:
            lines.append("    int32_t bit = 0;")
    inner = "    " * len(indices)
    source = " + ".join(f"{i} * {s}" for i, s in zip(indices, strides, strict=True) if s) or "0"
    place = " + ".join(f"{i} * {s}" for i, s in zip(indices, out.strides, strict=True) if s)
    passes = "((bits[bit >> 3] >> (bit & 7)) & 1) != 0"
    lines += [
        f"{inner}y[{place or '0'}] = {passes} ? x[{source}] : 0.0f;",
        f"{inner}++bit;",
    ]
    closing = ["    " * depth + "}" for depth in reversed(range(len(indices)))]
    row_bytes = -(-_samples(out)[1] // 8)
    closing.insert(len(closing) - 1, f"    bits += {row_bytes};")
    return lines + closing
