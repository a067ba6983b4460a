from __future__ import annotations

from memplan.solver.build_instance import fix_mask
from memplan.solver.masks.model import masks_by_model
from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule
from tests.solver.problems import PLENTY, instance_of, skip
from tests.support.hand_graphs import two_layers


def test_with_plenty_everything_is_updated() -> None:
    instance = instance_of(two_layers(), PLENTY, update="auto")
    assert masks_by_model(instance, 4.0, 0) == [
        {choice.layer: choice.options[-1] for choice in instance.choices}
    ]


def test_masks_grow_as_the_budget_is_inflated() -> None:
    graph = two_layers()
    instance = instance_of(graph, 620, update="auto", slice_divisors=(2,))
    masks = masks_by_model(instance, 8.0, 0)
    units = {
        (choice.layer, option): worth
        for choice in instance.choices
        for option, worth in zip(choice.options, choice.units, strict=True)
    }
    values = [sum(units[layer, option] for layer, option in mask.items()) for mask in masks]
    assert values == sorted(values)
    assert len(masks) > 1


def test_the_first_mask_fits_without_recomputation() -> None:
    graph = two_layers()
    instance = instance_of(graph, 620, update="auto", slice_divisors=(2,), computations=1)
    mask = masks_by_model(instance, 8.0, 0)[0]
    table = Table.of(fix_mask(instance, mask))
    stores = table.instance.store_bytes
    plain = live_peak(table, needed_schedule(table, fastest_ways(table)))
    assert plain is not None
    # Ways and in-place are the model's choice; the fastest are no better than those.
    assert mask
    assert stores < 620


def test_no_choice_no_mask() -> None:
    assert masks_by_model(instance_of(skip()), 1.0, 0) == []


def test_below_the_smallest_plan_there_may_be_none() -> None:
    assert masks_by_model(instance_of(two_layers(), 20, update="auto"), 1.0, 0) == []
