from __future__ import annotations

from itertools import product

import pytest

from memplan.solver.bounds import lower_bound
from memplan.solver.build_instance import build_instance, fix_mask
from memplan.solver.micro_batches import allowed_micro_batches
from memplan.solver.restrict import restrict
from tests.solver.problems import instance_of
from tests.support.hand_graphs import two_layers
from tests.support.random_graphs import random_graph, random_request


def test_all_options_are_the_instance_itself() -> None:
    instance = instance_of(two_layers(), update="auto", slice_divisors=(2,))
    everything = [range(len(choice.options)) for choice in instance.choices]
    assert restrict(instance, everything) == instance


def test_options_that_are_left_keep_their_sizes_and_times() -> None:
    instance = instance_of(two_layers(), update="auto", slice_divisors=(2,))
    kept = [tuple(reversed(range(1, len(choice.options)))) for choice in instance.choices]
    cut = restrict(instance, kept)
    for whole, part, at in zip(instance.choices, cut.choices, kept, strict=True):
        assert part.options == tuple(whole.options[option] for option in at)
        assert part.units == tuple(whole.units[option] for option in at)
    sliced = [store for store in instance.stores if len(store.size_bytes) > 1]
    assert sliced
    for store, part_of in zip(instance.stores, cut.stores, strict=True):
        if store in sliced:
            assert part_of.size_bytes == tuple(store.size_bytes[o] for o in kept[store.choice])
    for work, part_work in zip(instance.works, cut.works, strict=True):
        assert work.choice < 0 or len(part_work.demanded) == len(kept[work.choice])


@pytest.mark.parametrize("seed", range(12))
def test_one_option_of_each_layer_is_bounded_as_its_mask(seed: int) -> None:
    graph = random_graph(seed, "train", tiny=True)
    asked = random_request(seed, graph, tiny=True).model_copy(update={"update": "auto"})
    for samples in allowed_micro_batches(graph, asked):
        instance = build_instance(graph, asked, samples)
        open_bound = lower_bound(instance).bytes
        for chosen in product(*(range(len(choice.options)) for choice in instance.choices)):
            mask = {
                choice.layer: update
                for choice, option in zip(instance.choices, chosen, strict=True)
                if (update := choice.options[option]) is not None
            }
            if not mask:
                continue
            one = lower_bound(restrict(instance, [(option,) for option in chosen]))
            assert one.bytes == lower_bound(fix_mask(instance, mask)).bytes >= open_bound
