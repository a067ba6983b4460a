"""Matrix products and the gradient of a linear layer's weight."""

from __future__ import annotations

from memplan.clients.export.c.call import Call, UnsupportedError, floats, whole
from memplan.clients.export.c.code import Code
from memplan.clients.export.c.loops import broadcast_strides
from memplan.clients.export.c.names import identifier
from memplan.clients.export.c.views import Geometry, View

__all__ = ["addmm", "bmm", "linear_weight_gradient_rows", "matmul", "mm", "outer_product"]


def mm(call: Call, code: Code) -> list[str]:
    """``aten.mm(a, b)``."""
    a, b = call.arguments[:2]
    return _product(call, code, _batch(a), _batch(b), None)


def bmm(call: Call, code: Code) -> list[str]:
    """``aten.bmm(a, b)``."""
    a, b = call.arguments[:2]
    return _product(call, code, a, b, None)


def addmm(call: Call, code: Code) -> list[str]:
    """``aten.addmm(bias, a, b)``, with factors 1."""
    bias, a, b = call.arguments[:3]
    if any(call.keywords.get(name, 1) != 1 for name in ("alpha", "beta")):
        raise UnsupportedError("factors other than 1")
    return _product(call, code, _batch(a), _batch(b), bias)


def _product(call: Call, code: Code, a: View, b: View, bias: View | None) -> list[str]:
    """(n, p, c) times (n, c, r) plus bias."""
    floats(a, b, bias, *call.writes)
    whole(bias)
    (out,) = call.writes
    out = _batch(out) if len(out.shape) == 2 else out
    rows, columns = out.shape[1], out.shape[2]
    hint = identifier(call.operation)
    bias_strides = (0, 0) if bias is None else broadcast_strides(bias, out.shape[1:])
    if a.split is not None and b.split is not None:
        raise UnsupportedError("two partly updated operands")
    # One factor plays the weight, the other the image whose pixels are taken four at a time.
    if b.split is None and (a.split is not None or columns > rows):
        return matmul(code, hint, b, a, (1, 2), bias, out, bias_strides)
    turned = _transposed(out)
    return matmul(
        code, hint, _transposed(a), b, (2, 1), bias, turned, (bias_strides[1], bias_strides[0])
    )


def matmul(
    code: Code,
    hint: str,
    x: View,
    w: View,
    dims: tuple[int, int],
    bias: View | None,
    out: View,
    bias_strides: tuple[int, int] | tuple[int, ...] = (1, 0),
) -> list[str]:
    """y[n][r][p] = bias[r][p] + sum over c of w[n][r][c] * x[n][c][p].

    Args:
        code: where constants go.
        hint: what they are named after.
        x: (n, c, p).
        w: the weight; of three dimensions if it differs between samples.
        dims: its dimensions that are r and c.
        bias: its strides over r and p are ``bias_strides``.
        out: (n, r, p).
    """
    code.use("matmul")
    sample = w.strides[0] if len(w.shape) == 3 and w.shape[0] > 1 else 0
    fields = {
        "samples": out.shape[0], "rows": out.shape[1], "columns": x.shape[1],
        "pixels": out.shape[2],
        "w_sample": sample, "w_row": w.strides[dims[0]], "w_column": w.strides[dims[1]],
        "x_sample": x.strides[0], "x_column": x.strides[1], "x_pixel": x.strides[2],
        "y_sample": out.strides[0], "y_row": out.strides[1], "y_pixel": out.strides[2],
        "bias_row": bias_strides[0], "bias_pixel": bias_strides[1],
    }  # fmt: skip
    if w.split is not None:
        if w.split.dim not in dims or sample:
            raise UnsupportedError("a weight that is cut along another dimension")
        strides = w.split.geometry.strides
        fields["slice_row"], fields["slice_column"] = strides[dims[0]], strides[dims[1]]
        fields["cuts_rows"] = int(w.split.dim == dims[0])
        if w.split.geometry.offset or w.geometry.offset:
            raise UnsupportedError("part of a partly updated weight")
    geometry = code.struct("memplan_matmul", f"{hint}_geometry", fields)
    start = "NULL" if bias is None else bias.pointer
    return [
        f"memplan_matmul({geometry}, {x.pointer},",
        f"    {_weight(code, w, hint)},",
        f"    {start}, {out.pointer});",
    ]


def linear_weight_gradient_rows(
    call: Call, code: Code, out: str, first: str, count: str
) -> list[str]:
    """``memplan.linear_weight_gradient(gy, x)``: rows of the gradient; see the convolution's."""
    gy, x = call.arguments[:2]
    floats(gy, x)
    hint = identifier(call.operation)
    chosen_rows = chosen_columns = None
    columns = x.shape[1]
    if call.axis == "output" and gy.shape[1] != len(call.channels):
        chosen_rows = call.channels
    if call.axis == "input":
        columns = len(call.channels)
        if x.shape[1] != columns:
            chosen_columns = call.channels
    outputs = code.channels(hint, chosen_rows, first, count)
    inputs = code.channels(f"{hint}_inputs", chosen_columns, "0", str(columns))
    # Rows of the matrices are what the product sums over: the pixels of one sample.
    left, right = _batch(_transposed(gy)), _batch(_transposed(x))
    return outer_product(code, hint, left, right, outputs, inputs, out)


def outer_product(
    code: Code, hint: str, gy: View, x: View, outputs: str, inputs: str, out: str
) -> list[str]:
    """gw[o][i] = sum over n and p of gy[n][o][p] * x[n][i][p]."""
    code.use("matmul")
    geometry = code.struct(
        "memplan_outer_product",
        f"{hint}_geometry",
        {
            "samples": x.shape[0], "pixels": x.shape[2],
            "gy_sample": gy.strides[0], "gy_channel": gy.strides[1], "gy_pixel": gy.strides[2],
            "x_sample": x.strides[0], "x_channel": x.strides[1], "x_pixel": x.strides[2],
        },
    )  # fmt: skip
    return [
        f"memplan_outer_product({geometry}, {gy.pointer}, {x.pointer},",
        f"    {outputs}, {inputs}, {out});",
    ]


def _weight(code: Code, w: View, hint: str) -> str:
    if w.split is None:
        return code.weight(w, hint)
    # The kernel goes by strides; position and slice are all that it needs.
    split = w.split
    position = [-1] * split.total
    for place, channel in enumerate(split.channels):
        position[channel] = place
    code.use("weight")
    table = code.table("int16_t", f"{hint}_position", position)
    return (
        "&(const struct memplan_split_weight){"
        f".frozen = {w.pointer}, .slice = {split.pointer}, .position = {table}}}"
    )


def _batch(view: View) -> View:
    """Return (1, a, b) of a matrix."""
    (a, b), (s, t), split = view.shape, view.strides, view.split
    if split is not None:
        inner = split.geometry
        moved = Geometry((1, *inner.shape), (0, *inner.strides), inner.offset)
        split = type(split)(split.pointer, moved, split.dim + 1, split.channels, split.total)
    geometry = Geometry((1, a, b), (0, s, t), view.geometry.offset)
    return View(view.base, view.dtype, geometry, split, view.skip)


def _transposed(view: View) -> View:
    """Return a view with its last two dimensions exchanged; it is read whole."""
    *head, a, b = view.shape
    *first, s, t = view.strides
    geometry = Geometry((*head, b, a), (*first, t, s), view.geometry.offset)
    return View(view.base, view.dtype, geometry, view.split, view.skip)
