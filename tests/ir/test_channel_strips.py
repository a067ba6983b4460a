from __future__ import annotations

import pytest
import torch

from memplan.ir.channel_strips import ChannelStrips, Window, Workspace


def same(kernel: int, dilation: int = 1) -> Window:
    """A window that leaves the size as it is."""
    padding = dilation * (kernel - 1) // 2
    return Window((kernel, kernel), (1, 1), (padding, padding), (dilation, dilation))


def test_the_size_behind_a_window() -> None:
    window = Window((3, 5), (2, 1), (1, 0), (1, 2))
    assert window.output((9, 12)) == (5, 4)
    assert same(7).output((3, 4)) == (3, 4)


@pytest.mark.parametrize(
    ("window", "size", "layout"),
    [
        (same(3), (8, 8), Workspace(plane=0, ring=64, ring_rows=2, row=80, elements=85)),
        (same(3), (3, 8), Workspace(plane=0, ring=24, ring_rows=2, row=40, elements=45)),
        # A ring would be no smaller than the plane.
        (same(7), (4, 4), Workspace(plane=16, ring=0, ring_rows=0, row=32, elements=37)),
        (
            Window((3, 3), (2, 2), (1, 1), (1, 1)),
            (8, 8),
            Workspace(plane=64, ring=0, ring_rows=0, row=80, elements=85),
        ),
        (
            Window((3, 3), (1, 1), (0, 0), (1, 1)),
            (8, 8),
            Workspace(plane=64, ring=0, ring_rows=0, row=100, elements=105),
        ),
    ],
)
def test_workspaces_are_exact(window: Window, size: tuple[int, int], layout: Workspace) -> None:
    assert Workspace.of(window, size, 5) == layout


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (5, 1), (7, 1), (3, 2), (1, 1)])
def test_the_ring_is_long_enough(kernel: int, dilation: int) -> None:
    """The order of the contract, row by row in one plane, in bytes that begin as NaN."""
    window, (height, width) = same(kernel, dilation), (9, 6)
    layout = Workspace.of(window, (height, width), 0)
    assert layout.ring_rows
    generator = torch.Generator().manual_seed(kernel)
    gradient = torch.randn(height, width, generator=generator)
    weight = torch.randn(kernel, kernel, generator=generator)
    space = torch.full((layout.elements,), float("nan"))
    plane = space[: height * width].view(height, width)
    ring = space[layout.ring :].view(layout.ring_rows, width)
    plane.copy_(gradient)
    reach = window.padding[0]
    for row in range(height):
        ring[row % layout.ring_rows].copy_(plane[row])
        plane[row] = float("nan")
        result = torch.zeros(width)
        for i in range(kernel):
            above = row + reach - i * dilation
            if not 0 <= above < height:
                continue
            source = ring[above % layout.ring_rows] if above <= row else plane[above]
            for j in range(kernel):
                shift = window.padding[1] - j * dilation
                for column in range(width):
                    if 0 <= column + shift < width:
                        result[column] += weight[i, j] * source[column + shift]
        plane[row].copy_(result)
    expected = torch.nn.functional.conv_transpose2d(
        gradient[None, None], weight[None, None], padding=reach, dilation=dilation
    )
    torch.testing.assert_close(plane, expected[0, 0])


def arguments() -> list[object]:
    return [
        "gy", "w2", None, None, "wd", None, None, "w1", None, "x", None, None,
        (1, 1), (1, 1), (1, 1), None, ["memplan.accumulate"], ("memplan.sgd", 0.1),
    ]  # fmt: skip


def test_arguments_keep_their_places() -> None:
    strips = ChannelStrips.of(arguments())
    assert strips.expand_weight is not None
    assert strips.expand_weight.rest == (0.1,)
    assert [update.target for update in strips.updates] == ["memplan.accumulate", "memplan.sgd"]
    assert ChannelStrips.of(strips.as_arguments()) == strips


@pytest.mark.parametrize(
    ("index", "value", "message"),
    [
        (9, None, "x goes with"),
        (10, 0.5, "go together"),
        (12, (0, 1), "stride"),
        (13, (1, -1), "padding"),
        (14, (1,), "dilation"),
        (15, (), "null or"),
        (17, ("aten.add.Tensor",), "begins with its target"),
    ],
)
def test_other_arguments_are_refused(index: int, value: object, message: str) -> None:
    given = arguments()
    given[index] = value
    with pytest.raises(ValueError, match=message):
        ChannelStrips.of(given)


def test_too_few_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="18 arguments"):
        ChannelStrips.of(arguments()[:-1])
