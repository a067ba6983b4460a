from __future__ import annotations

import pytest

from memplan.ir.importance import importance_units
from memplan.solver.bounds import exceeds, lower_bound
from memplan.solver.build_instance import build_instance, fix_mask
from memplan.solver.clock import Clock
from memplan.solver.masks.tree import MaskTree, PossibleMask
from memplan.solver.micro_batches import allowed_micro_batches
from tests.solver.problems import PLENTY, instance_of
from tests.support.brute_force import brute_force, masks, smallest_arena
from tests.support.hand_graphs import two_layers
from tests.support.random_graphs import random_graph, random_request

FOREVER = 1e12


def tree_of(budget: int, *, look_back: bool = True) -> MaskTree:
    instance = instance_of(
        two_layers(), budget, update="auto", slice_divisors=(4, 2), criterion="uniform"
    )
    return MaskTree([instance], [lower_bound(instance)], look_back=look_back)


def all_of(tree: MaskTree, least: int = 0) -> list[PossibleMask]:
    found = []
    while (each := tree.next(FOREVER, least)) is not None:
        found.append(each)
    return found


def test_with_plenty_all_masks_come_in_the_order_of_their_importance() -> None:
    tree = tree_of(PLENTY)
    assert tree.most == 1_000_000
    found = all_of(tree)
    importances = [each.importance for each in found]
    assert importances == sorted(importances, reverse=True)
    graph, asked = tree.instances[0].graph, tree.request
    wanted = {frozenset(mask) for mask in masks(graph, asked)}
    assert {frozenset(each.mask.values()) for each in found} == wanted
    assert len(found) == len(wanted)
    for each in found:
        units = importance_units(graph, asked, tuple(each.mask.values()))
        assert each.importance == sum(units.values())


@pytest.mark.parametrize("budget", [500, 600, 650])
@pytest.mark.parametrize("look_back", [True, False])
def test_what_is_left_out_exceeds_the_budget(budget: int, look_back: bool) -> None:
    tree = tree_of(budget, look_back=look_back)
    (instance,) = tree.instances
    left = {
        frozenset(mask)
        for mask in masks(instance.graph, tree.request)
        if not exceeds(
            fix_mask(instance, {update.layer: update for update in mask}),
            budget,
            look_back=look_back,
        )
    }
    found = {frozenset(each.mask.values()) for each in all_of(tree)}
    assert found == left
    assert len(found) < len(masks(instance.graph, tree.request))


def test_masks_of_less_importance_are_not_looked_for() -> None:
    tree = tree_of(650)
    first = tree.next(FOREVER)
    assert first is not None
    assert tree.most == first.importance < 1_000_000
    assert tree.of_importance(0) is None  # not yet
    rest = all_of(tree, first.importance)
    assert {each.importance for each in (first, *rest)} == {first.importance}
    assert tree.of_importance(first.importance) == [first, *rest]
    assert all_of(tree)  # of less there are some


def test_time_ends_it() -> None:
    tree = tree_of(650)
    most = tree.most
    assert tree.next(Clock().now() - 1.0) is None
    assert tree.most == most > all_of(tree)[0].importance


def test_nothing_is_left_of_a_budget_below_the_bound() -> None:
    tree = tree_of(60)
    assert all_of(tree) == []
    assert tree.most == -1


@pytest.mark.parametrize("seed", range(40))
def test_no_plan_of_random_graphs_has_more_importance(seed: int) -> None:
    graph = random_graph(seed, "train", tiny=True)
    asked = random_request(seed, graph, tiny=True).model_copy(update={"update": "auto"})
    least, roomy = smallest_arena(graph, asked), brute_force(graph, asked)
    assert least is not None and roomy is not None
    for budget in {least, (least + roomy.arena_bytes) // 2}:
        tight = asked.model_copy(update={"budget_bytes": budget})
        instances = [
            build_instance(graph, tight, samples) for samples in allowed_micro_batches(graph, tight)
        ]
        tree = MaskTree(instances, [lower_bound(instance) for instance in instances])
        best = brute_force(graph, tight)
        assert best is not None
        found = all_of(tree, best.importance)
        assert tree.most >= best.importance
        # Of the best mask, at its micro-batch, nothing may be excluded.
        (own,) = [each for each in found if frozenset(each.mask.values()) == frozenset(best.mask)]
        assert best.micro_batch in own.micro_batches
