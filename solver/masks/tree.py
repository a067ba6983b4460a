"""The update masks that bytes do not exclude, in the order of their importance.

Best first over a tree: a node leaves each layer some of its options, and is worth the most of them.
A node whose byte bound exceeds the budget (``memplan.solver.bounds``, which holds for every order,
number of computations and way) is cut off; another is split by the most important option of one of
its layers.  So the first mask that comes out has the most importance that the bound leaves: no plan
has more.  Where a plan of it is found, that is proved to be the most.

What stays in memory for the whole plan (updated weights, gradients that are added up, state) comes
to whatever else is live, so a node is worth no more than the linear relaxation of a knapsack with
what is left for it.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memplan.ir.request import LayerUpdate
from memplan.solver.bounds import ByteBound, excess_at
from memplan.solver.clock import WALL, Clock
from memplan.solver.instance import Instance
from memplan.solver.masks.knapsack import most_value
from memplan.solver.restrict import restrict

__all__ = ["MaskTree", "PossibleMask", "seconds_of_node"]

#: What a node takes beside looking back, per operation; measured.
_SECONDS_PER_WORK = 2e-5
#: As many works are remembered that excluded masks.
_MOST_LIKELY = 4
#: Seconds for the bound of a node.
_NODE_SECONDS = 0.3


def seconds_of_node(instances: Sequence[Instance]) -> float:
    """Return what a node takes at least, where every micro-batch is left."""
    return _SECONDS_PER_WORK * sum(len(instance.works) for instance in instances)


@dataclass(frozen=True, slots=True)
class PossibleMask:
    """A mask that the byte bound does not exclude at some micro-batches."""

    mask: Mapping[str, LayerUpdate]
    importance: int
    #: Samples of these micro-batches.
    micro_batches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Node:
    #: Indices of the options that are left of each layer, the most important first.
    options: tuple[tuple[int, ...], ...]
    #: Positions of the micro-batches that are left.
    sides: tuple[int, ...]


class MaskTree:
    """Hands out masks, the most important first."""

    def __init__(
        self,
        instances: Sequence[Instance],
        bounds: Sequence[ByteBound],
        clock: Clock = WALL,
        *,
        look_back: bool = True,
    ) -> None:
        """Begin with all masks.

        Args:
            instances: of one request with an open mask, one for each micro-batch.
            bounds: their byte bounds.
            look_back: what the byte bound of a node may use.
        """
        self.instances, self.clock, self.look_back = instances, clock, look_back
        self.request = instances[0].request
        self.choices = instances[0].choices
        #: What was handed out.
        self.possible: list[PossibleMask] = []
        self._rooms = [_Room(each, bound) for each, bound in zip(instances, bounds, strict=True)]
        #: Layers of much importance first: what excludes masks is then seen early.
        self._order = sorted(
            range(len(self.choices)), key=lambda index: -max(self.choices[index].units)
        )
        options = tuple(
            tuple(sorted(range(len(choice.units)), key=lambda o: (-choice.units[o], o)))
            for choice in self.choices
        )
        self._nodes = 0
        #: Works at which masks were excluded, the latest first.
        self._likely: list[int] = []
        self._heap: list[tuple[int, int, _Node]] = []
        most = sum(max(choice.units) for choice in self.choices)
        self._push(_Node(options, tuple(range(len(instances)))), most)

    @property
    def most(self) -> int:
        """No plan updates more importance; -1 where none fits at all."""
        open_most = -self._heap[0][0] if self._heap else -1
        return max((open_most, *(each.importance for each in self.possible)))

    def of_importance(self, importance: int) -> list[PossibleMask] | None:
        """Return all possible masks of this importance; None where they are not known yet."""
        if self._heap and -self._heap[0][0] >= importance:
            return None
        return [each for each in self.possible if each.importance == importance]

    def next(self, until: float, least: int = 0) -> PossibleMask | None:
        """Return the next possible mask; None where there is none, or time is over before it.

        Args:
            least: masks of less importance are not looked for.
        """
        while self._heap and -self._heap[0][0] >= least and not self.clock.over(until):
            minus_most, _, node = heapq.heappop(self._heap)
            sides = tuple(side for side in node.sides if not self._is_excluded(node, side))
            if not sides:
                continue
            layer = next((index for index in self._order if len(node.options[index]) > 1), None)
            if layer is None:
                found = self._possible(node.options, sides)
                if found.mask or self.instances[0].graph.mode != "train":
                    self.possible.append(found)
                    return found
                continue
            first, *rest = node.options[layer]
            for part in ((first,), tuple(rest)):
                options = (*node.options[:layer], part, *node.options[layer + 1 :])
                self._push(_Node(options, sides), -minus_most)
        return None

    def _push(self, node: _Node, most: int) -> None:
        """Add a node that is worth ``most`` at most."""
        units = [
            [choice.units[option] for option in kept]
            for choice, kept in zip(self.choices, node.options, strict=True)
        ]
        most = min(most, sum(each[0] for each in units))
        most = min(most, max(self._rooms[side].most(node.options, units) for side in node.sides))
        self._nodes += 1
        # Of equals the one that is decided the furthest: masks come out early.
        heapq.heappush(self._heap, (-most, -self._nodes, node))

    def _is_excluded(self, node: _Node, side: int) -> bool:
        """Tell whether bytes exclude all masks of a node at a micro-batch.

        Of a single mask thoroughly; of others by the works that excluded masks before, and by those
        that take most, which is nearly as good and several times as fast.
        """
        instance = self.instances[side]
        self.clock.spend(seconds_of_node([instance]))
        at = excess_at(
            restrict(instance, node.options),
            self.request.budget_bytes,
            _NODE_SECONDS,
            self.clock,
            look_back=self.look_back,
            likely=self._likely,
            thorough=all(len(kept) == 1 for kept in node.options),
        )
        if at is not None and at >= 0:
            self._likely = [at, *(other for other in self._likely if other != at)][:_MOST_LIKELY]
        return at is not None

    def _possible(self, options: Sequence[Sequence[int]], sides: Sequence[int]) -> PossibleMask:
        mask, importance = {}, 0
        for choice, (only,) in zip(self.choices, options, strict=True):
            importance += choice.units[only]
            update = choice.options[only]
            if update is not None:
                mask[choice.layer] = update
        return PossibleMask(mask, importance, tuple(self.instances[side].samples for side in sides))


class _Room:
    """What the budget leaves, at one micro-batch, for what stays in memory because of the mask."""

    def __init__(self, instance: Instance, bound: ByteBound) -> None:
        #: Per layer and option.
        self.bytes = [[0] * len(choice.options) for choice in instance.choices]
        for store in instance.stores:
            if store.choice >= 0 and len(store.size_bytes) > 1:
                for option, size in enumerate(store.size_bytes):
                    self.bytes[store.choice][option] += size
        # The bound counts the least of it, and with one layer updated at least.
        least = sum(min(sizes) for sizes in self.bytes)
        one = min(
            (
                size - min(sizes)
                for sizes, choice in zip(self.bytes, instance.choices, strict=True)
                for size, update in zip(sizes, choice.options, strict=True)
                if update is not None
            ),
            default=0,
        )
        self.capacity_bytes = instance.request.budget_bytes - bound.bytes + least + one

    def most(self, options: Sequence[Sequence[int]], units: Sequence[Sequence[int]]) -> int:
        """Return importance that no mask of these options exceeds; -1 where none has room."""
        groups = [
            [(sizes[option], worth) for option, worth in zip(kept, values, strict=True)]
            for sizes, kept, values in zip(self.bytes, options, units, strict=True)
        ]
        return most_value(groups, self.capacity_bytes)
