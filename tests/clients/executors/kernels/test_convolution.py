"""Convolutions and their gradients, whole and in slices of channels."""

from __future__ import annotations

import pytest

from memplan.ir.request import LayerUpdate
from tests.clients.executors.calls import close, execute, whole
from tests.clients.executors.kernels.convolutions import CONVOLUTIONS, Convolution, expect


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution_and_its_gradients(case: Convolution) -> None:
    x, w, bias, y, gy, gx, gw = expect(case)
    geometry = case.geometry
    (result,) = execute("aten.convolution.default", [x, w, bias, *geometry], [y.shape])
    close(result, y)
    (result,) = execute("aten.convolution.default", [x, w, None, *geometry], [y.shape])
    close(result, y - bias.view(1, -1, 1, 1))
    (result,) = execute("memplan.conv_input_gradient", [gy, w, list(x.shape), *geometry], [x.shape])
    close(result, gx)
    (result,) = execute(
        "memplan.conv_weight_gradient", [gy, x, list(w.shape), *geometry], [w.shape],
        update=whole(),
    )  # fmt: skip
    close(result, gw)


@pytest.mark.parametrize("channels", [(0, 2), (1, 2), (3,)])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_slices_of_a_convolution(case: Convolution, channels: tuple[int, ...]) -> None:
    x, w, _, _, gy, _, gw = expect(case)
    chosen = list(channels)
    arguments = [list(w.shape), *case.geometry]
    depthwise = case.groups == w.shape[0]
    output = LayerUpdate(layer="l", weight="output", channels=channels)
    expected = gw[:, chosen] if case.transposed else gw[chosen]
    (result,) = execute(
        "memplan.conv_weight_gradient", [gy, x, *arguments], [expected.shape], update=output
    )
    close(result, expected)
    if depthwise:
        gathered = [gy, x[:, chosen].contiguous(), *arguments]
        for axis in ("output", "input"):
            mask = LayerUpdate(layer="l", weight=axis, channels=channels)
            (result,) = execute(
                "memplan.conv_weight_gradient", gathered, [expected.shape], update=mask
            )
            close(result, expected)
    elif case.groups == 1:
        mask = LayerUpdate(layer="l", weight="input", channels=channels)
        expected = gw[chosen] if case.transposed else gw[:, chosen]
        for inputs in (x, x[:, chosen].contiguous()):
            (result,) = execute(
                "memplan.conv_weight_gradient", [gy, inputs, *arguments], [expected.shape],
                update=mask,
            )  # fmt: skip
            close(result, expected)
