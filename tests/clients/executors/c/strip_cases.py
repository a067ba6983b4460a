"""Calls of ``memplan.channel_strips``: windows, masks, gradients, weights, updates of each kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from memplan.ir.channel_strips import ChannelStrips, CoveredUpdate, Window, Workspace
from tests.clients.executors.c.kernel_program import Case, PartlyUpdated

__all__ = ["Block", "strip_case", "strip_cases"]

_GENERATOR = torch.Generator().manual_seed(1)

UPDATES: Mapping[str, tuple[Any, ...]] = {
    "sgd": ("memplan.sgd", 0.1),
    "momentum": ("memplan.momentum", 0.1, 0.9),
    "adam": ("memplan.adam", 0.01, 0.9, 0.999, 1e-8),
    "accumulate": ("memplan.accumulate",),
}


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(list(shape), generator=_GENERATOR)


@dataclass(frozen=True)
class Block:
    """Sizes of a block; more channels than the kernel takes at once."""

    samples: int = 2
    outputs: int = 18
    channels: int = 5
    inputs: int = 19
    size: tuple[int, int] = (7, 9)
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    update: str = "sgd"
    #: Of biases and weight, which are updated.
    wanted: tuple[bool, bool, bool] = (True, True, True)
    masks: tuple[bool, bool] = (True, True)
    #: Channels of x that are saved; (): all.
    saved: tuple[int, ...] = ()
    int8: bool = False
    #: Weights (project, depthwise, expand) that are partly updated: dimension and channels.
    split: Mapping[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    #: "mean", "rows" or "channels_last": the gradient's strides.
    gradient: str = ""
    scaling: bool = False

    @property
    def window(self) -> Window:
        return Window(self.kernel, self.stride, self.padding, self.dilation)


BLOCKS: dict[str, Block] = {
    # One plane with a ring of rows.
    "3x3": Block(),
    "5x5": Block(kernel=(5, 5), padding=(2, 2), size=(9, 12)),
    "7x7 on a small plane": Block(kernel=(7, 7), padding=(3, 3), size=(5, 4)),
    "dilated": Block(padding=(2, 2), dilation=(2, 2), size=(8, 16)),
    "of rows": Block(kernel=(3, 1), padding=(1, 0), size=(6, 5)),
    "of columns": Block(kernel=(1, 5), padding=(0, 2), size=(6, 8)),
    # Two planes.
    "1x1": Block(kernel=(1, 1), padding=(0, 0), size=(1, 1), samples=3),
    "of few rows": Block(kernel=(7, 7), padding=(3, 3), size=(4, 8)),
    "stride 2": Block(stride=(2, 2), size=(9, 10)),
    "stride 2, even, 5x5": Block(stride=(2, 2), kernel=(5, 5), padding=(2, 2), size=(12, 16)),
    "stride (1, 3)": Block(stride=(1, 3), padding=(1, 0), size=(6, 11)),
    "stride 3 over gaps": Block(stride=(3, 3), kernel=(2, 1), padding=(0, 0), size=(9, 8)),
    "stride 2, dilated": Block(stride=(2, 2), dilation=(3, 2), padding=(3, 2), size=(11, 13)),
    "without padding": Block(padding=(0, 0)),
    "with wide padding": Block(padding=(3, 4), size=(6, 7)),
    # Gradients and masks.
    "of a mean": Block(gradient="mean", size=(5, 5)),
    "of part of the rows": Block(gradient="rows"),
    "of channels last": Block(gradient="channels_last"),
    "without masks": Block(masks=(False, False)),
    "behind one mask": Block(masks=(False, True)),
    # Updates.
    "without updates": Block(wanted=(False, False, False)),
    "biases": Block(wanted=(True, True, False)),
    "a bias": Block(wanted=(False, True, False), update="momentum"),
    "a weight": Block(wanted=(False, False, True), stride=(2, 2)),
    "momentum": Block(update="momentum"),
    "adam": Block(update="adam"),
    "accumulation": Block(update="accumulate"),
    # Weights in two pieces, slices of x.
    "input channels": Block(saved=(0, 3, 17), split={"expand": (1, (0, 3, 17))}),
    "output channels": Block(
        wanted=(True, True, False),
        split={"project": (0, (1, 2, 17)), "depthwise": (0, (0, 4)), "expand": (0, (2, 3))},
    ),
    "a projection's input channels": Block(
        wanted=(True, True, False), split={"project": (1, (1, 3))}
    ),
    # Integers.
    "int8": Block(int8=True, kernel=(5, 5), padding=(2, 2)),
    "int8, scaled": Block(int8=True, scaling=True, stride=(2, 2)),
    "int8 accumulation": Block(int8=True, update="accumulate"),
    "int8, a large kernel": Block(int8=True, kernel=(8, 7), padding=(3, 3), size=(9, 8)),
    "int8 input channels": Block(
        int8=True, scaling=True, saved=(0, 3, 17),
        split={"project": (0, (1, 2)), "depthwise": (0, (0, 4)), "expand": (1, (0, 3, 17))},
    ),
    "int8 output channels": Block(
        int8=True, wanted=(True, True, False),
        split={"project": (1, (1, 4)), "expand": (0, (2, 3))},
    ),
    "int8 of a mean": Block(int8=True, gradient="mean", wanted=(False, False, False)),
}  # fmt: skip


def strip_cases() -> dict[str, Case]:
    return {f"channel strips, {name}": strip_case(block) for name, block in BLOCKS.items()}


def strip_case(block: Block) -> Case:
    """Return a call on random operands."""
    n, c, k = block.samples, block.channels, len(block.saved) or block.inputs
    inner = block.window.output(block.size)
    outer = block.size
    weights = {
        "project": _Weight.of(block, "project", block.outputs, c, 1, 1),
        "depthwise": _Weight.of(block, "depthwise", c, 1, *block.kernel),
        "expand": _Weight.of(block, "expand", c, block.inputs, 1, 1),
    }
    wants = block.wanted[2]
    served = _Served(block, weights["expand"])
    updates = [
        served.update((c,), 0.01) if block.wanted[0] else None,
        served.update((c,), 0.02) if block.wanted[1] else None,
        served.update((c, k, 1, 1), 1.0) if wants else None,
    ]
    strips = ChannelStrips(
        _gradient(block.gradient, n, block.outputs, *inner),
        weights["project"].value, weights["project"].scales,
        _bits(n, c, *inner) if block.masks[0] else None,
        weights["depthwise"].value, weights["depthwise"].scales,
        _bits(n, c, *outer) if block.masks[1] else None,
        weights["expand"].value, weights["expand"].scales,
        _saved(block, n, k) if wants else None,
        0.03 if block.int8 and wants else None, -7 if block.int8 and wants else None,
        block.stride, block.padding, block.dilation, *updates,
    )  # fmt: skip
    return Case(
        "memplan.channel_strips",
        strips.as_arguments(),
        ((n, block.inputs, *outer),),
        mutates=tuple(tensor for tensors in served.covered for tensor in tensors),
        covered=tuple(served.covered),
        workspace_bytes=4 * Workspace.of(block.window, outer, k if wants else 0).elements,
        trips=3,
    )


@dataclass(frozen=True)
class _Weight:
    value: torch.Tensor | PartlyUpdated
    scales: torch.Tensor | None

    @classmethod
    def of(cls, block: Block, name: str, *shape: int) -> _Weight:
        value, scales = randn(*shape), None
        if block.int8:
            value = _integers(*shape)
            scales = 0.01 * randn(shape[0]).abs() + 0.002
        if name in block.split:
            dim, channels = block.split[name]
            return cls(PartlyUpdated(value, dim, channels), scales)
        return cls(value, scales)


@dataclass
class _Served:
    """Parameters that the updates change, with their states."""

    block: Block
    expand: _Weight
    covered: list[tuple[torch.Tensor, ...]] = field(default_factory=list)

    def update(self, shape: tuple[int, ...], factor: float) -> CoveredUpdate:
        accumulates = self.block.update == "accumulate"
        value = randn(*shape)
        if self.block.int8 and not accumulates:
            value = _integers(*shape) if len(shape) > 1 else 9 * _integers(*shape).int()
        whole = self.expand.value
        if len(shape) > 1 and not accumulates and isinstance(whole, torch.Tensor):
            # The block reads the very weight that it updates.
            value = whole
        if self.block.int8 and not accumulates:
            # Steps of a few units, so that what is rounded shows.
            rate = 1e-4 if self.block.scaling else 20.0 / factor
            self.covered.append((value,))
            rest = (rate, self.expand.scales, factor, self.block.scaling)
            return CoveredUpdate("memplan.sgd_int8", rest)
        target, *others = UPDATES[self.block.update]
        states = {"memplan.momentum": 1, "memplan.adam": 2}.get(target, 0)
        tensors = [value, *(randn(*shape).abs() for _ in range(states))]
        if target == "memplan.adam":
            tensors.append(torch.tensor(len(self.covered)))
        self.covered.append(tuple(tensors))
        return CoveredUpdate(target, tuple(others))


def _integers(*shape: int) -> torch.Tensor:
    return torch.randint(-127, 128, list(shape), generator=_GENERATOR, dtype=torch.int8)


def _bits(samples: int, *sizes: int) -> torch.Tensor:
    count = -(-torch.Size(sizes).numel() // 8)
    shape = [samples * count]
    return torch.randint(0, 256, shape, generator=_GENERATOR, dtype=torch.uint8)


def _gradient(kind: str, n: int, channels: int, height: int, width: int) -> torch.Tensor:
    if kind == "mean":
        return randn(n, channels, 1, 1).expand(-1, -1, height, width)
    if kind == "rows":
        return randn(n, channels, height + 1, width + 2)[:, :, 1:, 1:-1]
    gy = randn(n, channels, height, width)
    return gy.to(memory_format=torch.channels_last) if kind == "channels_last" else gy


def _saved(block: Block, n: int, channels: int) -> torch.Tensor:
    shape = (n, channels, *block.size)
    return _integers(*shape) if block.int8 else randn(*shape)
