"""Integer kernels against loops in Python's whole numbers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from memplan.ir.errors import ModelError
from memplan.ir.fixed_point import fixed_point, fixed_point_sum, requantize, requantize_sum
from memplan.ir.request import LayerUpdate
from tests.clients.executors.calls import close, execute, whole

LIMITS = (-128, 127)


def integers(*shape: int, seed: int = 0, most: int = 128) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-most, most, shape, generator=generator, dtype=torch.int8)


CONVOLUTIONS: list[dict[str, Any]] = [
    {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1},
    {"stride": [2, 1], "padding": [0, 2], "dilation": [1, 1], "groups": 2},
    {"stride": [1, 2], "padding": [2, 1], "dilation": [2, 1], "groups": 4},
]


@pytest.mark.parametrize("geometry", CONVOLUTIONS)
@pytest.mark.parametrize("biased", [True, False])
def test_convolution_is_exact(geometry: dict[str, Any], biased: bool) -> None:
    groups = geometry["groups"]
    x, w = integers(2, 4, 6, 5), integers(4, 4 // groups, 3, 2, seed=1, most=127)
    bias = torch.tensor([900, -70_000, 0, 3], dtype=torch.int32) if biased else None
    pairs = [fixed_point(factor) for factor in (1e-3, 2e-2, 3.7e-4, 1.0)]
    multipliers = torch.tensor([m for m, _ in pairs], dtype=torch.int32)
    shifts = torch.tensor([s for _, s in pairs], dtype=torch.int8)
    zero_in, zero_out, low, high = -7, 5, -100, 90
    (sh, sw), (ph, pw), (dh, dw) = (geometry[k] for k in ("stride", "padding", "dilation"))
    rows = (6 + 2 * ph - dh * 2 - 1) // sh + 1
    columns = (5 + 2 * pw - dw - 1) // sw + 1
    arguments = [x, w, bias, *geometry.values(), multipliers, shifts, zero_in, zero_out, low, high]
    (got,) = execute("memplan.conv_int8", arguments, [(2, 4, rows, columns)], dtype=torch.int8)
    per_group = 4 // groups
    for n, o, i, j in itertools.product(range(2), range(4), range(rows), range(columns)):
        total = 0 if bias is None else int(bias[o])
        for c, r, s in itertools.product(range(per_group), range(3), range(2)):
            y, z = i * sh - ph + r * dh, j * sw - pw + s * dw
            if 0 <= y < 6 and 0 <= z < 5:
                value = int(x[n, o // (4 // groups) * per_group + c, y, z])
                total += (value - zero_in) * int(w[o, c, r, s])
        assert int(got[n, o, i, j]) == requantize(total, *pairs[o], zero_out, low, high)


def test_large_sums_are_exact() -> None:
    """Sums beyond 2**24 are whole numbers that float32 cannot hold."""
    x = torch.full((1, 2049, 1, 1), 127, dtype=torch.int8)
    w = torch.full((1, 2049, 1, 1), 127, dtype=torch.int8)
    w[0, 0] = 126
    total = 255 * 127 * 2048 + 255 * 126
    multiplier, shift = fixed_point(2.0**-20)
    tables = [
        torch.tensor([multiplier], dtype=torch.int32), torch.tensor([shift], dtype=torch.int8)
    ]  # fmt: skip
    for bias in (0, -total, 1 - total, -total + 2**19, -total + 2**19 - 1):
        arguments = [
            x, w, torch.tensor([bias], dtype=torch.int32), [1, 1], [0, 0], [1, 1], 1, *tables,
            -128, 0, *LIMITS,
        ]  # fmt: skip
        (got,) = execute("memplan.conv_int8", arguments, [(1, 1, 1, 1)], dtype=torch.int8)
        assert int(got) == requantize(total + bias, multiplier, shift, 0, *LIMITS)


def test_sum_is_exact_and_may_take_an_operands_bytes() -> None:
    a, b = integers(3, 50), integers(3, 50, seed=1)
    multipliers, shift = fixed_point_sum([0.7, 1.9])
    numbers = [-3, 11, *multipliers, shift, 4, -120, 99]
    (got,) = execute("memplan.add_int8", [a, b, *numbers], [a.shape], dtype=torch.int8)
    expected = [
        requantize_sum([int(p) + 3, int(q) - 11], multipliers, shift, 4, -120, 99)
        for p, q in zip(a.flatten(), b.flatten(), strict=True)
    ]
    assert got.flatten().tolist() == expected
    (again,) = execute("memplan.add_int8", [a, b, *numbers], outs=[a], dtype=torch.int8)
    assert again.flatten().tolist() == expected


def test_means_and_average_pools_are_exact() -> None:
    x = integers(2, 3, 5, 4)
    multiplier, shift = fixed_point(1.3 / 20)
    numbers = [multiplier, shift, 9, -4, *LIMITS]
    (mean,) = execute(
        "memplan.mean_int8", [x, [2, 3], True, *numbers], [(2, 3, 1, 1)], dtype=torch.int8
    )
    for n, c in itertools.product(range(2), range(3)):
        total = sum(int(value) - 9 for value in x[n, c].flatten())
        assert int(mean[n, c]) == requantize(total, multiplier, shift, -4, *LIMITS)
    multiplier, shift = fixed_point(0.9 / 6)
    numbers = [multiplier, shift, 9, -4, *LIMITS]
    (pool,) = execute(
        "memplan.avg_pool_int8", [x, [3, 2], [2, 1], [1, 0], *numbers], [(2, 3, 3, 3)],
        dtype=torch.int8,
    )  # fmt: skip
    for n, c, i, j in itertools.product(range(2), range(3), range(3), range(3)):
        window = x[n, c, max(0, 2 * i - 1) : 2 * i + 2, j : j + 2]
        total = sum(int(value) - 9 for value in window.flatten())
        assert int(pool[n, c, i, j]) == requantize(total, multiplier, shift, -4, *LIMITS)


def test_quantizing_rounds_half_to_even_and_clamps() -> None:
    x = torch.tensor([0.25, 0.75, 1.25, -0.25, -100.0, 100.0, 0.0])
    (got,) = execute("memplan.quantize", [x, 0.5, 3, -100, 90], [x.shape], dtype=torch.int8)
    assert got.tolist() == [3, 5, 5, 3, -100, 90, 3]
    (back,) = execute("memplan.dequantize", [got, 0.5, 3], [x.shape])
    assert back.tolist() == [0.0, 1.0, 1.0, 0.0, -51.5, 43.5, 0.0]


def test_max_pools_of_integers_and_their_positions() -> None:
    x = integers(2, 3, 7, 6, most=4)
    x[0, 0] = -128  # all equal, and the least there is
    geometry = [[3, 2], [2, 2], [1, 1], [1, 1], False]
    expected = torch.nn.functional.max_pool2d(x.float(), (3, 2), 2, 1)
    shape = expected.shape
    (got,) = execute("aten.max_pool2d.default", [x, *geometry], [shape], dtype=torch.int8)
    assert torch.equal(got.float(), expected)
    (places,) = execute("memplan.max_pool_positions", [x, *geometry], [shape], dtype=torch.uint8)
    (floats,) = execute(
        "memplan.max_pool_positions", [x.float(), *geometry], [shape], dtype=torch.uint8
    )
    assert torch.equal(places, floats)


def test_gradients_pass_strictly_between_the_limits() -> None:
    y = torch.tensor([[-128, -127, 0, 126, 127]], dtype=torch.int8)
    gy = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    (got,) = execute("memplan.range_backward", [gy, y, -128, 127], [y.shape])
    assert got.tolist() == [[0.0, 2.0, 3.0, 4.0, 0.0]]
    (bits,) = execute("memplan.range_bits", [y, -128, 127], [(1,)], dtype=torch.uint8)
    (same,) = execute("memplan.apply_bits", [gy, bits], [y.shape])
    assert torch.equal(got, same)


def test_gradients_of_a_convolution_against_its_real_values() -> None:
    x, w = integers(2, 4, 6, 6), integers(5, 4, 3, 3, seed=1, most=127)
    scales = torch.tensor([0.01, 0.02, 0.5, 0.003, 0.1])
    gy = torch.randn(2, 5, 3, 3, generator=torch.Generator().manual_seed(2))
    geometry = [[2, 2], [1, 1], [1, 1], False, [0, 0], 1]
    real_x = ((x.double() + 20) * 0.05).requires_grad_()
    real_w = (w.double() * scales.double().view(-1, 1, 1, 1)).requires_grad_()
    y = torch.nn.functional.conv2d(real_x, real_w, None, 2, 1)
    gx, gw = torch.autograd.grad(y, [real_x, real_w], gy.double())
    (got,) = execute(
        "memplan.conv_input_gradient_int8w", [gy, w, list(x.shape), *geometry, scales], [x.shape]
    )
    close(got, gx.float())
    numbers = [list(w.shape), *geometry, 0.05, -20]
    (got,) = execute(
        "memplan.conv_weight_gradient_int8x", [gy, x, *numbers], [w.shape], update=whole()
    )
    close(got, gw.float())
    chosen = [1, 3]
    update = LayerUpdate(layer="l", weight="input", channels=tuple(chosen))
    (got,) = execute(
        "memplan.conv_weight_gradient_int8x",
        [gy, x[:, chosen].contiguous(), *numbers],
        [(5, 2, 3, 3)],
        update=update,
    )
    close(got, gw[:, chosen].float())


@pytest.mark.parametrize("scaling", [True, False])
def test_the_update_of_integers(scaling: bool) -> None:
    w = torch.tensor([[10, -10], [127, -127], [0, 0]], dtype=torch.int8)
    g = torch.tensor([[0.5, 1.5], [-9.0, 9.0], [1e9, -1e9]])
    scales = torch.tensor([0.5, 2.0, 1.0])
    execute("memplan.sgd_int8", [w, g, 0.5, scales, 1.0, scaling], outs=[], mutates=[w])
    if scaling:  # steps of 0.5 and 1.5 round to 0 and 2
        assert w.tolist() == [[10, -12], [127, -127], [-127, 127]]
    else:  # steps of 0.125 and 0.375
        assert w.tolist() == [[10, -10], [127, -127], [-127, 127]]
    bias = torch.tensor([5, -5, 2**30], dtype=torch.int32)
    g = torch.tensor([3.0, -3.0, -7.0])
    execute("memplan.sgd_int8", [bias, g, 0.5, scales, 0.25, True], outs=[], mutates=[bias])
    assert bias.tolist() == [5 - 12, -5 + 3, 2**30]


def test_the_update_of_chosen_output_channels_takes_their_scales() -> None:
    w = torch.zeros(2, 3, dtype=torch.int8)
    scales = torch.tensor([1.0, 0.5, 1.0, 0.25])
    update = LayerUpdate(layer="l", weight="output", channels=(1, 3))
    g = torch.full((2, 3), 2.0)
    execute("memplan.sgd_int8", [w, g, 1.0, scales, 1.0, True], outs=[], mutates=[w], update=update)
    assert w.tolist() == [[-4] * 3, [-8] * 3]


def test_a_fused_update_is_the_whole_one() -> None:
    x, gy = integers(2, 3, 6, 6), torch.randn(2, 8, 6, 6, generator=torch.Generator())
    scales = torch.linspace(0.01, 0.2, 8)
    shape = [8, 3, 3, 3]
    gradient_arguments = [
        gy, x, shape, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, 0.05, -20
    ]  # fmt: skip
    (g,) = execute(
        "memplan.conv_weight_gradient_int8x", gradient_arguments, [shape], update=whole()
    )
    plain = integers(*shape, seed=4, most=127)
    fused = plain.clone()
    execute("memplan.sgd_int8", [plain, g, 0.01, scales, 1.0, True], outs=[], mutates=[plain])
    from memplan.clients.executors.torch.kernels import RUNNING

    execute(
        "memplan.fused",
        [
            "memplan.sgd_int8", "memplan.conv_weight_gradient_int8x",
            [fused, RUNNING, 0.01, scales, 1.0, True], gradient_arguments,
        ],
        outs=[], mutates=[fused], workspace_bytes=3 * 27 * 4, update=whole(),
    )  # fmt: skip
    assert int((plain.int() - fused.int()).abs().max()) <= 1
    assert float((plain == fused).float().mean()) > 0.99
    with pytest.raises(ModelError, match="workspace"):
        execute(
            "memplan.fused",
            [
                "memplan.sgd_int8", "memplan.conv_weight_gradient_int8x",
                [fused, RUNNING, 0.01, scales, 1.0, True], gradient_arguments,
            ],
            outs=[], mutates=[fused], workspace_bytes=27, update=whole(),
        )  # fmt: skip
