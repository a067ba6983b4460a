"""Shapes of inputs as users write them."""

from __future__ import annotations

import pytest
import torch

from memplan.ir.errors import RequestError
from memplan.tracing.loaded import InputSpec
from memplan.tracing.loaders.inputs import parse_input, parse_inputs, sample_inputs


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("2x3x32x32:float32", InputSpec("input_0", (2, 3, 32, 32), torch.float32)),
        ("4", InputSpec("input_0", (4,), torch.float32)),
        (" input_ids=2x16:int64 ", InputSpec("input_ids", (2, 16), torch.int64)),
        ("mask=1x1:bool", InputSpec("mask", (1, 1), torch.bool)),
    ],
)
def test_what_is_read(text: str, spec: InputSpec) -> None:
    assert parse_input(text) == spec


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "2x", "x2", "2by3", "2x3:", "2x3:float", "2x3:os.system", "0x3", "-1x3",
        "2x100000000000", "3000000x1", "999999999999999x2", "2x3:float32:x", "1" * 30, "2x3,4x5",
        "a-b=2x3", "x".join(["1"] * 20), "٢x٣",
    ],
)  # fmt: skip
def test_what_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(RequestError, match="--input") as caught:
        parse_input(text)
    assert "\n" not in str(caught.value)


def test_several_inputs_have_names_of_their_own() -> None:
    specs = parse_inputs(["2x3", "mask=2x3:bool"])
    assert [spec.name for spec in specs] == ["input_0", "mask"]
    with pytest.raises(RequestError, match="called 'a'"):
        parse_inputs(["a=2x3", "a=2x4"])


def test_samples_have_the_shapes_and_repeat() -> None:
    specs = parse_inputs(["2x3", "ids=2x5:int64", "mask=2x5:bool"])
    samples = sample_inputs(specs, seed=4)
    assert [tuple(sample.shape) for sample in samples] == [(2, 3), (2, 5), (2, 5)]
    assert [sample.dtype for sample in samples] == [torch.float32, torch.int64, torch.bool]
    again = sample_inputs(specs, seed=4)
    assert all(torch.equal(one, other) for one, other in zip(samples, again, strict=True))
