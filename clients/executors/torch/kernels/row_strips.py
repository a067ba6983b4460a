"""Chains of spatially local operations, a row at a time, with line buffers in the workspace.

The order of rows and the place of each are the program's (``memplan.ir.targets``).  What computes
one row is looked up by target: convolutions add one product per place in the kernel, element-wise
operations run on rows as they are, and any other runs on the rows of its window as on a little
image without padding above and below, which is outside of the arena.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import torch

from memplan.clients.executors.torch.kernels.call import Call, Kernel, Run
from memplan.ir.graph import LocalArgument
from memplan.ir.row_strips import INPUT_ROWS, StripEntry, read_program, ring_fault, row_order

__all__ = ["row_strips"]

#: Computes one row of an entry, by its index.
ComputeRow = Callable[[int], None]


def row_strips(bind: Kernel, call: Call) -> Run:
    """``memplan.row_strips(entry, ...)``."""
    (out,) = call.writes
    try:
        entries = read_program(call.arguments)
    except ValueError as error:
        raise call.fail(str(error)) from error
    if out.dim() != 4 or tuple(out.shape[1:]) != entries[-1].shape:
        raise call.fail(f"its last entry is {entries[-1].shape}, its result {tuple(out.shape)}")
    order = row_order(entries)
    _require_rows(call, entries, order)
    bound = [_bind_sample(bind, call, entries, sample) for sample in range(out.shape[0])]
    samples = [computes for computes, _ in bound]

    def run() -> None:
        for computes in samples:
            for index, row in order:
                computes[index](row)

    if entries[-1].place is None:
        return run
    last = len(entries) - 1

    def run_and_keep() -> None:
        """Keep finished rows until everything is read: outside of the arena, for simplicity."""
        kept = torch.empty_like(out)
        for sample, (computes, rings) in enumerate(bound):
            for index, row in order:
                computes[index](row)
                if index == last:
                    kept[sample, :, row] = rings[last][row % len(rings[last])]
        out.copy_(kept)

    return run_and_keep


def _require_rows(
    call: Call, entries: Sequence[StripEntry], order: Sequence[tuple[int, int]]
) -> None:
    """Refuse a program that needs a row after another took its place."""
    for index, entry in enumerate(entries):
        in_place = any(entries[source].place == entry.place for source in entry.locals())
        if in_place and entry.target in _WINDOWED:
            raise call.fail(f"entry {index} ({entry.target}) cannot be computed in place")
    fault = ring_fault(entries, order)
    if fault is not None:
        raise call.fail(fault)


def _bind_sample(
    bind: Kernel, call: Call, entries: Sequence[StripEntry], sample: int
) -> tuple[list[ComputeRow], list[list[torch.Tensor]]]:
    """Return what computes a row of each entry, and where its rows lie, for one sample."""
    slots = [_slots(call, entry, sample) for entry in entries]
    computes = [
        _WINDOWED.get(entry.target, _elementwise)(_Entry(bind, call, entries, index, sample, slots))
        for index, entry in enumerate(entries)
    ]
    return computes, slots


def _slots(call: Call, entry: StripEntry, sample: int) -> list[torch.Tensor]:
    """Return the rows of an entry's place, each (channels, columns)."""
    channels, _, width = entry.shape
    if entry.place is None:
        rows = call.writes[0][sample]
        if tuple(rows.shape) != entry.shape or rows.dtype != entry.dtype:
            raise call.fail("an entry without a place is not of the output's shape and type")
        return list(rows.unbind(1))
    count, start = entry.place.rows, entry.place.offset_bytes
    end = start + count * channels * width * entry.dtype.itemsize
    if call.workspace is None or end > call.workspace.numel():
        raise call.fail(f"its line buffers need {end} bytes of workspace")
    ring = call.workspace[start:end].view(entry.dtype)
    return list(ring.view(count, channels, width).unbind(0))


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry at one sample, and what it can see."""

    bind: Kernel
    call: Call
    entries: Sequence[StripEntry]
    index: int
    sample: int
    #: The rows of each entry's place.
    slots: Sequence[Sequence[torch.Tensor]]

    @property
    def own(self) -> StripEntry:
        return self.entries[self.index]

    def out(self, row: int) -> torch.Tensor:
        slots = self.slots[self.index]
        return slots[row % len(slots)]

    def row_of(self, argument: Any, row: int) -> Any:
        """Return an argument tree with each operand's row in place of the operand."""
        if isinstance(argument, LocalArgument):
            slots = self.slots[argument.local]
            return slots[row % len(slots)]
        if isinstance(argument, torch.Tensor) and argument.dim() > 1:
            rows = argument.select(-2, row if argument.shape[-2] > 1 else 0)
            if argument.dim() == 4:
                rows = rows[self.sample if argument.shape[0] > 1 else 0]
            return rows
        if isinstance(argument, list | tuple):
            return [self.row_of(part, row) for part in argument]
        return argument

    def rows_below(self, row: int) -> list[torch.Tensor | None]:
        """Return the rows of a windowed operation's operand; None: padding."""
        x = self.own.arguments[0]
        local = isinstance(x, LocalArgument)
        height = self.entries[x.local].shape[1] if local else x.shape[2]
        return [
            self.row_of(x, needed) if 0 <= needed < height else None
            for needed in self.own.window.rows(row)
        ]

    def padding_row(self, value: float) -> torch.Tensor:
        """Return a row of padding of a windowed operation's operand."""
        return torch.full_like(self.row_of(self.own.arguments[0], 0), value)

    def execute(self, arguments: Sequence[Any], keywords: Mapping[str, Any], out: Any) -> None:
        """Execute the entry's operation on these arguments."""
        call = replace(
            self.call,
            target=self.own.target,
            arguments=tuple(arguments),
            keywords=keywords,
            writes=(out,),
            workspace=None,
        )
        self.bind(call)()


def _input_rows(entry: _Entry) -> ComputeRow:
    """``memplan.input_rows``: what the host gives."""
    (name,) = entry.own.arguments
    call, sample = entry.call, entry.sample

    def compute(row: int) -> None:
        state = call.state
        entry.out(row).copy_(state.inputs[name][state.trip * call.micro_batch + sample, :, row])

    return compute


def _elementwise(entry: _Entry) -> ComputeRow:
    """Any operation whose result has at each place what its operands have there."""
    arguments, keywords = entry.own.arguments, entry.own.keywords

    def compute(row: int) -> None:
        entry.execute(
            entry.row_of(arguments, row),
            {name: entry.row_of(value, row) for name, value in keywords},
            entry.out(row),
        )

    return compute


def _windowed(
    padding_value: Callable[[_Entry], float], dilation: int | None, entry: _Entry
) -> ComputeRow:
    """An operation on a window of rows, as on an image of these rows alone.

    ``stride`` and ``padding`` stand before ``dilation`` among the arguments (without one, at 2).
    """
    arguments = list(entry.own.arguments)
    first = 2 if dilation is None else dilation - 2
    arguments[first + 1] = [0, arguments[first + 1][1]]
    if dilation is not None:
        arguments[dilation] = [1, arguments[dilation][1]]
    keywords = dict(entry.own.keywords)
    blank = entry.padding_row(padding_value(entry))

    def compute(row: int) -> None:
        rows = [blank if one is None else one for one in entry.rows_below(row)]
        arguments[0] = torch.stack(rows, 1).unsqueeze(0)
        entry.execute(arguments, keywords, entry.out(row).unsqueeze(1).unsqueeze(0))

    return compute


def _convolution(entry: _Entry) -> ComputeRow:
    """``aten.convolution``: the bias, then one product per place in the kernel, in place."""
    x, w, bias, stride, padding, dilation, _, _, groups = entry.own.arguments
    columns = (entry.entries[x.local].shape if isinstance(x, LocalArgument) else x.shape[1:])[2]
    step, start, spread = stride[1], padding[1], dilation[1]
    taps: list[tuple[int, int, slice, slice]] = []
    for i, j in product(range(w.shape[2]), range(w.shape[3])):
        shift = j * spread - start  # column = column of the result * step + shift
        first = max(0, -(shift // step))
        stop = min(entry.own.shape[2], (columns - 1 - shift) // step + 1)
        if first < stop:
            inputs = slice(first * step + shift, (stop - 1) * step + shift + 1, step)
            taps.append((i, j, slice(first, stop), inputs))
    depthwise = w.shape[1] == 1 and w.shape[0] == groups
    inside, outside = w.shape[1], w.shape[0] // groups
    base = None if bias is None else bias.unsqueeze(1)

    def compute(row: int) -> None:
        rows, out = entry.rows_below(row), entry.out(row)
        if base is None:
            out.zero_()
        else:
            out.copy_(base.expand_as(out))
        for i, j, outputs, inputs in taps:
            operand = rows[i]
            if operand is None:
                continue
            total, values, weights = out[:, outputs], operand[:, inputs], w[:, :, i, j]
            if depthwise:
                torch.addcmul(total, weights, values, out=total)
                continue
            for group in range(groups):
                part = total.narrow(0, group * outside, outside)
                read = values.narrow(0, group * inside, inside)
                torch.addmm(part, weights.narrow(0, group * outside, outside), read, out=part)

    return compute


def _average_pool(entry: _Entry) -> ComputeRow:
    """``aten.avg_pool2d``: the mean over the rows that count."""
    given = list(entry.own.arguments)
    # What ATen takes where the last arguments are left out.
    x, kernel, stride, padding, ceil, padding_counts, divisor = (
        given + [None, None, [], [0, 0], False, True, None][len(given) :]
    )
    stride = stride or kernel
    height = entry.entries[x.local].shape[1] if isinstance(x, LocalArgument) else x.shape[2]

    def compute(row: int) -> None:
        rows = [one for one in entry.rows_below(row) if one is not None]
        image = torch.stack(rows, 1).unsqueeze(0)
        mean = torch.ops.aten.avg_pool2d(
            image, [len(rows), kernel[1]], [1, stride[1]], [0, padding[1]], ceil, padding_counts,
            divisor,
        )  # fmt: skip
        if padding_counts and divisor is None:
            first = row * stride[0] - padding[0]
            counted = min(first + kernel[0], height + padding[0]) - first
            mean = mean * (len(rows) / counted)
        entry.out(row).copy_(mean[0, :, 0])

    return compute


def _least(entry: _Entry) -> float:
    dtype = entry.own.dtype
    return -math.inf if dtype.is_floating_point else torch.iinfo(dtype).min


#: All that is not element by element: what computes a row of each.
_WINDOWED: Mapping[str, Callable[[_Entry], ComputeRow]] = {
    INPUT_ROWS: _input_rows,
    "aten.avg_pool2d.default": _average_pool,
    "aten.convolution.default": _convolution,
    "aten.max_pool2d.default": partial(_windowed, _least, 4),
    "memplan.avg_pool_int8": partial(_windowed, lambda entry: entry.own.arguments[6], None),
    "memplan.conv_int8": partial(_windowed, lambda entry: entry.own.arguments[9], 5),
}
