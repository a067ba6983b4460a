"""The update mask chosen first: by importance, under an additive estimate of its memory.

This is how MCUNetV3 (Lin et al., NeurIPS 2022, eq. 5) and TinyTrain (Kwon et al., ICML 2024)
choose what to train: before, and without, a schedule or addresses.  The estimate of a mask is

    max over updated layers l of reach(l)  +  sum over updated layers l of own(l, option)

``own``: the analytic rule: the persistent bytes of the option (updated weights, optimizer state)
plus the saved tensors of the layer's weight gradient (for an input-channel slice, its slice).

``reach``: what getting the gradient to layer l takes, whatever else is updated: the peak of live
bytes of the plain step (traced order, nothing computed twice, 1-bit masks where they save bytes)
that updates only the cheapest option of l.  The papers put less here (MCUNetV3: the bits of the
masks; TinyTrain: the largest input and output of the forward pass), so that their estimates are
too low for a total budget; this one is seldom exceeded.

Under the estimate the choice is a multiple-choice knapsack: by the hulls of its relaxation, less
than one option from exact, and unless there are many options by CP-SAT from there, mostly exact.
That is at least as good as MCUNetV3's evolutionary search and TinyTrain's prefix of the ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from ortools.sat.python import cp_model

from memplan.ir.baseline import plain_operations
from memplan.ir.graph import Operation
from memplan.ir.request import LayerUpdate
from memplan.ir.sizes import alternative_allowed, tensor_bytes, updated_parameters
from memplan.solver.build_instance import fix_mask
from memplan.solver.instance import Choice, Instance
from memplan.solver.masks.knapsack import fill
from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.orders import starting_schedules

__all__ = ["MemoryEstimate", "OptionCost", "choose_mask", "estimate_memory", "sampled_steps"]

Mask = dict[str, LayerUpdate]

#: CP-SAT's deterministic time.  The most importance is mostly proved within a fraction of it
#: (0.15 s of real time on ResNet-50); which of equally important masks takes least is not always.
_MOST_SECONDS, _TIE_SECONDS = 1.0, 0.3
#: Of layers that take more than so many budgets to reach few are updated: they are measured last.
_MOST_OF_BUDGET = 2
#: With more options CP-SAT takes seconds to minutes, and may end with less than the quick way.
_MANY_OPTIONS = 200


@dataclass(frozen=True, slots=True)
class OptionCost:
    """One option of one layer: what it is worth and what it takes by itself."""

    update: LayerUpdate
    importance: int
    #: Persistent bytes and saved tensors.
    own_bytes: int
    #: Live bytes of the step that brings the gradient to the layer.
    reach_bytes: int


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """The additive estimate for one graph and micro-batch; the budget plays no part in it."""

    #: Stores that are there under every mask (running statistics, a resident batch).
    fixed_bytes: int
    #: Per layer, in traced order, its options.
    layers: tuple[tuple[OptionCost, ...], ...]

    def of(self, mask: Mapping[str, LayerUpdate]) -> int:
        """Return the estimated bytes of a mask of these options."""
        chosen = self.chosen(mask).values()
        reach = max((option.reach_bytes for option in chosen), default=0)
        return self.fixed_bytes + reach + sum(option.own_bytes for option in chosen)

    def chosen(self, mask: Mapping[str, LayerUpdate]) -> dict[str, OptionCost]:
        """Return the options of a mask, by layer; what is none of these options is left out."""
        chosen = {}
        for options in self.layers:
            update = mask.get(options[0].update.layer) if options else None
            if update is not None:
                for option in options:
                    # Of equal updates most are the same, and comparing others takes long.
                    if option.update is update or option.update == update:
                        chosen[update.layer] = option
        return chosen


def estimate_memory(
    instance: Instance, reach_samples: int | None = None, measured: dict[int, int] | None = None
) -> MemoryEstimate:
    """Return the estimate for an instance with open update options.

    Args:
        reach_samples: measure ``reach`` at so many layers only, which takes long on large graphs;
            None: at every layer.
        measured: what was measured of this instance before; what is measured now is added.
    """
    saved = _SavedBytes(instance)
    reaches = _reaches(instance, reach_samples, {} if measured is None else measured)
    return MemoryEstimate(
        fixed_bytes=sum(
            instance.aligned(store.size_bytes[0]) for store in instance.stores if store.choice < 0
        ),
        layers=tuple(
            _option_costs(instance, index, choice, reaches[index], saved)
            for index, choice in enumerate(instance.choices)
        ),
    )


def _reaches(instance: Instance, samples: int | None, measured: dict[int, int]) -> list[int]:
    """Return the reach of each layer, in traced order; see ``sampled_steps``."""
    cheapest = [  # the first option is
        next((update for update in choice.options if update is not None), None)
        for choice in instance.choices
    ]
    layers = [update for update in cheapest if update is not None]
    reaches = iter(
        sampled_steps(
            len(layers),
            samples,
            lambda layer: _reach_bytes(instance, layers[layer]),
            _MOST_OF_BUDGET * instance.capacity_bytes,
            measured,
        )
    )
    return [0 if update is None else next(reaches) for update in cheapest]


def sampled_steps(
    count: int,
    samples: int | None,
    measure: Callable[[int], int],
    most: int,
    known: dict[int, int],
) -> list[int]:
    """Return ``measure`` of 0 .. count - 1, which changes by steps, from so many samples of it.

    Half of the samples are spread evenly.  The rest goes to where the largest steps are below
    ``most``, then to the widest gaps there, then to the largest steps above.  What lies between two
    samples has the value of the one before it.

    Args:
        samples: None: everything is measured.
        most: values above it matter less.
        known: what was measured before, which counts among the samples; the new ones are added.
    """
    if not count:
        return []
    samples = count if samples is None else min(samples, count)
    even = samples if samples == count else max(1, samples // 2)
    if len(known) < 2:
        places = {number * (count - 1) // max(1, even - 1) for number in range(even)}
        for place in sorted(places - known.keys()):
            known[place] = measure(place)
    while len(known) < samples:
        taken = sorted(known)
        gaps = [
            (
                min(known[left], known[right]) < most,
                abs(min(most, known[left]) - min(most, known[right])),
                abs(known[left] - known[right]),
                right - left,
                -left,
            )
            for left, right in pairwise(taken)
            if right - left > 1
        ]
        is_near, _, step, width, minus_left = max(gaps, default=(False, 0, 0, 0, 0))
        if not is_near and not step:
            break
        middle = width // 2 - minus_left
        known[middle] = measure(middle)
    values = [known[0]]
    for place in range(1, count):
        values.append(known.get(place, values[-1]))
    return values


def _option_costs(
    instance: Instance, index: int, choice: Choice, reach: int, saved: _SavedBytes
) -> tuple[OptionCost, ...]:
    costs = []
    for number, (update, units) in enumerate(zip(choice.options, choice.units, strict=True)):
        if update is None:
            continue
        persistent = sum(
            instance.aligned(store.size_bytes[number])
            for store in instance.stores
            if store.choice == index
        )
        costs.append(OptionCost(update, units, persistent + saved.of(update), reach))
    return tuple(costs)


def _reach_bytes(instance: Instance, update: LayerUpdate) -> int:
    table = Table.of(fix_mask(instance, {update.layer: update}))
    peaks = [live_peak(table, steps) for steps in starting_schedules(table)]
    return min(peak for peak in peaks if peak is not None)


class _SavedBytes:
    """The bytes of forward results that a layer's own gradients read."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        #: Backward operations of the plain step by what is updated: the same for every slice.
        self.backward: dict[frozenset[str], list[Operation]] = {}

    def of(self, update: LayerUpdate) -> int:
        """Return the bytes for one option of one layer."""
        instance = self.instance
        graph, samples = instance.graph, instance.samples
        mask = {update.layer: update}
        updated = updated_parameters(graph, mask)
        if updated not in self.backward:
            self.backward[updated] = [
                operation
                for operation in plain_operations(graph, updated)
                if operation.layer == update.layer and operation.phase == "backward"
            ]
        return sum(
            min(
                sum(
                    instance.aligned(tensor_bytes(graph.tensor[name], samples, mask))
                    for name in {operand.tensor for operand in alternative.reads}
                    if graph.tensor[name].role in ("activation", "input")
                )
                for alternative in operation.alternatives
                if alternative_allowed(operation, alternative, mask)
            )
            for operation in self.backward[updated]
        )


def choose_mask(estimate: MemoryEstimate, budget_bytes: int) -> Mask:
    """Return the mask of most importance whose estimate is within the budget.

    Of several, the one of the least estimate that is found.  Where no mask is within the budget,
    the mask of the least estimate: recomputation may still make it fit.  With very many options
    what is found is less than one option from the most (``mask_knapsack``).
    """
    quick = _mask_by_hulls(estimate, budget_bytes)
    if sum(len(layer) for layer in estimate.layers) > _MANY_OPTIONS:
        return quick
    model = _Knapsack(estimate)
    most = model.best_importance(budget_bytes, quick)
    return model.least_bytes(most or 0)


def _mask_by_hulls(estimate: MemoryEstimate, budget_bytes: int) -> Mask:
    """Solve a knapsack for each bound on reach; return the best mask of all."""
    options = [option for layer in estimate.layers for option in layer]
    least = min(options, key=lambda option: option.reach_bytes + option.own_bytes)
    best: Mask = {least.update.layer: least.update}
    most = 0
    for reach in sorted({option.reach_bytes for option in options}):
        layers = [
            [option for option in layer if option.reach_bytes <= reach] for layer in estimate.layers
        ]
        groups = [[(option.own_bytes, option.importance) for option in layer] for layer in layers]
        chosen = fill(groups, budget_bytes - estimate.fixed_bytes - reach)
        taken = [layer[number] for layer, number in zip(layers, chosen, strict=True) if number >= 0]
        worth = sum(option.importance for option in taken)
        if worth > most:
            best, most = {option.update.layer: option.update for option in taken}, worth
    return best


class _Knapsack:
    def __init__(self, estimate: MemoryEstimate) -> None:
        self.estimate = estimate
        self.model = cp_model.CpModel()
        self.chosen: list[tuple[OptionCost, cp_model.IntVar]] = []
        self.hint: list[bool] = []
        most = max((option.reach_bytes for layer in estimate.layers for option in layer), default=0)
        reach = self.model.new_int_var(0, most, "reach")
        for number, layer in enumerate(estimate.layers):
            literals = [self.model.new_bool_var(f"{number}.{o}") for o in range(len(layer))]
            self.model.add_at_most_one(literals)
            for option, literal in zip(layer, literals, strict=True):
                self.model.add(reach >= option.reach_bytes).only_enforce_if(literal)
                self.chosen.append((option, literal))
        self.model.add_at_least_one([literal for _, literal in self.chosen])
        self.bytes = (
            estimate.fixed_bytes
            + reach
            + sum(option.own_bytes * literal for option, literal in self.chosen)
        )
        self.importance = sum(option.importance * literal for option, literal in self.chosen)

    def best_importance(self, budget_bytes: int, quick: Mask) -> int | None:
        """Return the most importance within the budget, or None if no mask is within it.

        Args:
            quick: a mask to begin with, if it is within the budget.
        """
        most = None
        model = self.model.clone()
        model.add(self.bytes <= budget_bytes)
        model.maximize(self.importance)
        if self.estimate.of(quick) <= budget_bytes:
            self.hint = [quick.get(o.update.layer) == o.update for o, _ in self.chosen]
            pairs = zip(self.chosen, self.hint, strict=True)
            most = sum(option.importance for (option, _), taken in pairs if taken)
            for (_, literal), taken in zip(self.chosen, self.hint, strict=True):
                model.add_hint(literal, taken)
        solver = _solver(_MOST_SECONDS)
        if solver.solve(model) in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            found = round(solver.objective_value)
            if most is None or found > most:
                most = found
                self.hint = [solver.boolean_value(literal) for _, literal in self.chosen]
        return most

    def least_bytes(self, importance: int) -> Mask:
        """Return the mask of the least estimate that has at least this importance."""
        model = self.model.clone()
        model.add(self.importance >= importance)
        model.minimize(self.bytes)
        for (_, literal), value in zip(self.chosen, self.hint, strict=bool(self.hint)):
            model.add_hint(literal, value)
        solver = _solver(_TIE_SECONDS)
        status = solver.solve(model)
        is_solved = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
        assert is_solved or self.hint, "every graph has a mask"
        taken = (
            [solver.boolean_value(literal) for _, literal in self.chosen]
            if is_solved
            else self.hint
        )
        return {
            option.update.layer: option.update
            for (option, _), is_taken in zip(self.chosen, taken, strict=True)
            if is_taken
        }


def _solver(seconds: float) -> cp_model.CpSolver:
    solver = cp_model.CpSolver()
    # CP-SAT would leave the process with the default handler, and Ctrl-C would lose the plan.
    solver.parameters.catch_sigint_signal = False
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.max_deterministic_time = seconds
    return solver
