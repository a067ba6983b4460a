from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from memplan.ir.device import Device, Rates, Region
from memplan.ir.errors import RequestError
from memplan.ir.graph import OpGraph
from memplan.ir.request import LayerUpdate
from memplan.solver.build_instance import build_instance, fix_mask
from tests.solver.problems import instance_of, request
from tests.support.hand_graphs import block, chain, inference, pictures, statistics, two_layers

INPUT_HALF = LayerUpdate(layer="l2", bias=True, weight="input", channels=(0, 1))


def test_one_trip_runs_updates_and_has_no_accumulators() -> None:
    instance = instance_of(chain(), batch=2)
    phases = {work.phase for work in instance.works}
    assert phases == {"forward", "backward", "update"}
    assert {store.tensor for store in instance.stores} == {"w", "b"}
    assert instance.trips == 1
    assert instance.outside_operations == ()


def test_several_trips_accumulate_and_keep_the_batch_resident() -> None:
    instance = instance_of(chain(), batch=4, samples=2)
    assert {work.phase for work in instance.works} == {"forward", "backward", "accumulate"}
    assert {store.tensor: store.size_bytes for store in instance.stores} == {
        "w": (32,),
        "acc.w": (32,),
        "b": (8,),
        "acc.b": (8,),
        "x": (4 * 64,),
        "y": (4 * 8,),
    }
    assert not any(item.given for item in instance.items)
    assert instance.outside_operations == ("clear.w", "apply.w", "clear.b", "apply.b")
    assert max(sizes for _, sizes in instance.outside_workspace_bytes) == (48,)


def test_streamed_inputs_are_items_of_the_body() -> None:
    instance = instance_of(chain(), batch=4, samples=2, stream_inputs=True)
    given = {item.tensor: item.size_bytes for item in instance.items if item.given}
    assert given == {"x": (128,), "y": (16,)}


def test_sizes_follow_the_options_of_a_layer() -> None:
    instance = instance_of(two_layers(), update="auto", slice_divisors=(2,))
    choice = next(c for c in instance.choices if c.layer == "l2")
    weight = next(store for store in instance.stores if store.tensor == "w2")
    by_option = dict(zip(choice.options, weight.size_bytes, strict=True))
    assert by_option[None] == 0
    assert by_option[LayerUpdate(layer="l2", bias=True)] == 0
    assert by_option[INPUT_HALF] == 32
    assert by_option[LayerUpdate(layer="l2", bias=True, weight="whole")] == 64
    gathered = next(item for item in instance.items if item.tensor == "slice1")
    assert dict(zip(choice.options, gathered.size_bytes, strict=True))[INPUT_HALF] == 160


def test_ways_that_an_option_forbids_have_no_time() -> None:
    instance = instance_of(two_layers(), update="auto", slice_divisors=(2,))
    choice = next(c for c in instance.choices if c.layer == "l2")
    work = next(w for w in instance.works if w.operation == "linear2.weight_gradient")
    plain, saved = work.ways
    for option, whole, sliced in zip(choice.options, plain.time_ns, saved.time_ns, strict=True):
        kind = None if option is None else option.weight
        assert (whole is not None) == (kind in ("whole", "output"))
        assert (sliced is not None) == (kind == "input")


def test_updates_are_demanded_by_the_options_that_update() -> None:
    instance = instance_of(two_layers(), update="auto", slice_divisors=())
    choice = next(c for c in instance.choices if c.layer == "l1")
    demanded = {w.operation: w.demanded for w in instance.works if w.choice >= 0}
    kinds = [None if o is None else o.weight for o in choice.options]
    assert kinds == [None, "none", "whole"]
    assert demanded["update.w1"] == (False, False, True)
    assert demanded["update.b1"] == (False, True, True)


def test_statistics_are_demanded_whatever_the_mask() -> None:
    instance = instance_of(statistics(), update="auto")
    work = next(w for w in instance.works if w.operation == "bn.statistics")
    assert all(work.demanded)
    assert any(s.tensor == "running_mean" and s.size_bytes == (16,) for s in instance.stores)


def test_fixing_the_mask_leaves_one_option_each() -> None:
    graph = two_layers()
    open_instance = instance_of(graph, update="auto", slice_divisors=(2,))
    assert not open_instance.fixed
    fixed = fix_mask(open_instance, {"l2": INPUT_HALF})
    assert fixed.fixed
    assert fixed.mask() == {"l2": INPUT_HALF}
    assert fix_mask(fixed, {"l2": INPUT_HALF}) is fixed
    work = next(w for w in fixed.works if w.operation == "linear2.weight_gradient")
    assert [way.name for way in work.ways] == ["saved_slice"]


@pytest.mark.parametrize("make", [two_layers, statistics, block, pictures, chain])
@pytest.mark.parametrize("samples", [2, 1])
def test_a_mask_fixed_later_is_as_if_it_had_been_given(
    make: Callable[[], OpGraph], samples: int
) -> None:
    graph = make()
    open_instance = instance_of(
        graph, batch=2, samples=samples, update="auto", slice_divisors=(4, 2)
    )
    asked = open_instance.request
    rng = random.Random(0)
    layers = [(choice.layer, choice.options) for choice in open_instance.choices]
    masks = [
        {layer: option for layer, options in layers if (option := rng.choice(options)) is not None}
        for _ in range(20)
    ]
    for mask in masks:
        assert fix_mask(open_instance, mask) == build_instance(graph, asked, samples, mask)
    assert len({frozenset(mask.values()) for mask in masks}) > 1


def test_a_mask_of_other_channels_than_were_asked_for() -> None:
    graph = two_layers()
    open_instance = instance_of(graph, update="auto", slice_divisors=())
    assert open_instance.chosen({"l2": INPUT_HALF}) is None
    fixed = fix_mask(open_instance, {"l2": INPUT_HALF})
    assert fixed.mask() == {"l2": INPUT_HALF}


def test_a_mask_that_does_not_fit_the_graph_is_refused() -> None:
    graph = two_layers()
    wrong = request(graph, update=(LayerUpdate(layer="l9", bias=True),))
    with pytest.raises(RequestError, match="l9"):
        build_instance(graph, wrong, graph.traced_batch)


def test_bytes_are_rounded_up_to_the_alignment() -> None:
    instance = instance_of(chain(), 1000, alignment_bytes=16)
    assert instance.aligned(1) == instance.aligned(16) == 16
    assert instance.store_bytes == 32 + 16
    # The topmost buffer may end unaligned: 952 B are left, and 960 B may be planned with.
    assert instance.room_bytes == 960


def test_compute_limit_counts_in_forward_passes() -> None:
    # conv 300 and project 90 per sample, two samples.
    instance = instance_of(inference(), batch=2, compute_limit=0.5)
    assert instance.forward_macs == 780
    assert instance.extra_macs_limit == 390
    assert instance_of(inference(), batch=2, compute_limit=None).extra_macs_limit is None


def _device(weights: str) -> Device:
    return Device.model_validate(
        {
            "name": "board",
            "regions": (
                Region(name="flash", kind="flash", size_bytes=4096),
                Region(name="dtcm", kind="ram", size_bytes=256),
                Region(
                    name="sram", kind="ram", size_bytes=1024, reserved_bytes=24, alignment_bytes=32
                ),
            ),
            "rates": Rates(macs_per_second=10**9, moved_bytes_per_second=10**9),
            "weights": weights,
        }
    )


def test_the_arena_lies_in_the_largest_region() -> None:
    instance = instance_of(inference(), 5000, device=_device("flash"), alignment_bytes=16)
    assert instance.region is not None and instance.region.name == "sram"
    assert instance.alignment_bytes == 32
    assert instance.capacity_bytes == instance.limit_bytes == 1000


def test_frozen_weights_in_ram_count_against_the_budget() -> None:
    instance = instance_of(inference(), 800, device=_device("ram"))
    assert instance.limit_bytes == 800 - 40
