"""From a graph and a request to integers: the instance at one micro-batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from memplan.ir.baseline import forward_macs
from memplan.ir.blocks import block_cost, cover_allowed, mutated_tensors
from memplan.ir.graph import Alternative, Layer, Operation, OpGraph
from memplan.ir.importance import importance_units
from memplan.ir.options import update_options
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.ir.sizes import (
    alternative_allowed,
    alternative_cost,
    input_bytes,
    tensor_bytes,
    workspace_bytes,
)
from memplan.solver.instance import Choice, Instance, Item, Store, Way, Work

__all__ = ["build_instance", "fix_mask"]


def build_instance(
    graph: OpGraph,
    request: PlanRequest,
    samples: int,
    mask: Mapping[str, LayerUpdate] | None = None,
) -> Instance:
    """Translate ``graph`` at a micro-batch of ``samples`` into integers.

    Args:
        mask: the update mask, where it is decided already; else every option of the request.

    Raises:
        RequestError: the request's update mask does not fit the graph.
    """
    if mask is None:
        options = update_options(graph, request)
    else:
        options = {layer.id: (mask.get(layer.id),) for layer in graph.layers}
    return _Builder(graph, request, samples, options).build()


def fix_mask(instance: Instance, mask: Mapping[str, LayerUpdate]) -> Instance:
    """Return the instance in which every layer has the option that ``mask`` gives it."""
    if instance.fixed and instance.mask() == dict(mask):
        return instance
    chosen = instance.chosen(mask)
    if chosen is None:
        return build_instance(instance.graph, instance.request, instance.samples, mask)
    options = {c.layer: (mask.get(c.layer),) for c in instance.choices}
    return _Builder(instance.graph, instance.request, instance.samples, options).of_open(
        instance, chosen
    )


class _Builder:
    """Collects what ``build_instance`` returns."""

    def __init__(
        self,
        graph: OpGraph,
        request: PlanRequest,
        samples: int,
        options: Mapping[str, tuple[LayerUpdate | None, ...]],
    ) -> None:
        self.graph, self.request, self.samples = graph, request, samples
        self.trips = request.batch // samples
        gains = importance_units(
            graph, request, (o for choices in options.values() for o in choices if o is not None)
        )
        self.choices = tuple(
            Choice(
                layer.id,
                options[layer.id],
                tuple(0 if o is None else gains[layer.id, o] for o in options[layer.id]),
            )
            for layer in graph.layers
        )
        self.choice_index = {choice.layer: index for index, choice in enumerate(self.choices)}
        #: One mask per option of a layer; sizes depend on the tensor's own layer alone.
        self.masks = [
            [{} if option is None else {choice.layer: option} for option in choice.options]
            for choice in self.choices
        ]
        #: Per parameter: its layer, and which options update it.
        self.demands: dict[str | None, tuple[int, tuple[bool, ...]]] = {}
        for index, (layer, masks) in enumerate(zip(graph.layers, self.masks, strict=True)):
            for name in (layer.weight, layer.bias):
                if name is not None and name not in self.demands:
                    self.demands[name] = (
                        index,
                        tuple(_updates(layer, mask.get(layer.id), name) for mask in masks),
                    )
        self.item_index: dict[str, int] = {}
        self.work_index: dict[str, int] = {}
        #: The whole mask, where it is decided.
        self.mask: dict[str, LayerUpdate] | None = None
        if all(len(choice.options) == 1 for choice in self.choices):
            self.mask = {c.layer: c.options[0] for c in self.choices if c.options[0] is not None}

    def build(self) -> Instance:
        graph = self.graph
        body = ("forward", "backward", "statistics", "update" if self.trips == 1 else "accumulate")
        operations = [operation for operation in graph.operations if operation.phase in body]
        items = self._items(operations)
        self.work_index = {operation.id: index for index, operation in enumerate(operations)}
        works = tuple(self._work(operation) for operation in operations)
        outside = [
            operation
            for operation in graph.operations
            if self.trips > 1 and operation.phase in ("clear", "apply")
        ]
        return Instance(
            graph=graph,
            request=self.request,
            samples=self.samples,
            trips=self.trips,
            choices=self.choices,
            items=items,
            stores=self._stores(operations + outside),
            works=works,
            outside_operations=tuple(operation.id for operation in outside),
            outside_time_ns=tuple(self._outside(op, "time") for op in outside),
            outside_macs=tuple(self._outside(op, "macs") for op in outside),
            outside_workspace_bytes=tuple(self._outside(op, "workspace") for op in outside),
            forward_macs=forward_macs(graph, self.request.batch, self.samples),
        )

    def of_open(self, instance: Instance, chosen: Sequence[int]) -> Instance:
        """Return what ``build`` does, from the instance with open choices, which is quicker.

        Args:
            chosen: which of its options each layer has.
        """
        self.item_index = {item.tensor: index for index, item in enumerate(instance.items)}
        self.work_index = {work.operation: index for index, work in enumerate(instance.works)}
        taken = [*chosen, 0]  # the last is that of choice -1

        def of_chosen(
            values: tuple[tuple[int, tuple[int, ...]], ...],
        ) -> tuple[tuple[int, tuple[int, ...]], ...]:
            return tuple((choice, (each[taken[choice]],)) for choice, each in values)

        return replace(
            instance,
            choices=self.choices,
            items=tuple(
                item
                if item.choice < 0
                else replace(item, size_bytes=(item.size_bytes[taken[item.choice]],))
                for item in instance.items
            ),
            stores=tuple(
                replace(store, size_bytes=(store.size_bytes[taken[store.choice]],))
                for store in instance.stores
            ),
            works=tuple(
                self._work(self.graph.operation[work.operation])
                if any(way.covers for way in work.ways)  # what these cost depends on many layers
                else instance.work_of_option(index, taken[work.choice])
                for index, work in enumerate(instance.works)
            ),
            outside_time_ns=of_chosen(instance.outside_time_ns),
            outside_macs=of_chosen(instance.outside_macs),
            outside_workspace_bytes=of_chosen(instance.outside_workspace_bytes),
        )

    def _masks_of(self, choice: int) -> list[dict[str, LayerUpdate]]:
        return self.masks[choice] if choice >= 0 else [{}]

    def _choice_of(self, layer: str | None) -> int:
        return -1 if layer is None else self.choice_index[layer]

    def _items(self, operations: list[Operation]) -> tuple[Item, ...]:
        resident = self.trips > 1 and not self.request.stream_inputs
        names = [
            tensor.id
            for tensor in self.graph.tensors
            if tensor.role in ("input", "label") and not resident
        ]
        given = len(names)
        names += [name for operation in operations for name in operation.writes]
        items = []
        for index, name in enumerate(names):
            tensor = self.graph.tensor[name]
            choice = self._choice_of(tensor.layer) if tensor.slices else -1
            sizes = tuple(tensor_bytes(tensor, self.samples, m) for m in self._masks_of(choice))
            self.item_index[name] = index
            items.append(Item(name, choice, sizes, index < given, name in self.graph.outputs))
        return tuple(items)

    def _stores(self, operations: list[Operation]) -> tuple[Store, ...]:
        stores = []
        for operation in operations:
            if operation.phase == "statistics":
                stores += [Store(n, -1, (self._size(n, {}),)) for n in operation.mutates]
            elif operation.phase in ("update", "clear", "apply"):
                known = {store.tensor for store in stores}
                choice, wanted = self._demand(operation)
                for name in operation.mutates:
                    if name not in known:
                        sizes = tuple(
                            self._size(name, mask) if want else 0
                            for mask, want in zip(self._masks_of(choice), wanted, strict=True)
                        )
                        stores.append(Store(name, choice, sizes))
        if self.trips > 1 and not self.request.stream_inputs:
            read = {
                operand.tensor
                for operation in operations
                for way in operation.alternatives
                for operand in way.reads
            }
            stores += [
                Store(t.id, -1, (input_bytes(t, self.request.batch, self.samples, False),))
                for t in self.graph.tensors
                if t.role in ("input", "label") and t.id in read
            ]
        return tuple(stores)

    def _size(self, name: str, mask: Mapping[str, LayerUpdate]) -> int:
        return tensor_bytes(self.graph.tensor[name], self.samples, mask)

    def _demand(self, operation: Operation) -> tuple[int, tuple[bool, ...]]:
        """Return the layer of the operation's parameter and which options update it."""
        if operation.parameter in self.demands:
            return self.demands[operation.parameter]
        return -1, (False,)

    def _work(self, operation: Operation) -> Work:
        choice = self._choice_of(operation.layer)
        demanded: tuple[bool, ...] = (operation.phase == "statistics",)
        if operation.parameter is not None:
            choice, demanded = self._demand(operation)
        masks = self._masks_of(choice)
        if choice < 0 or len(demanded) == 1:
            demanded = demanded * len(masks)
        ways = tuple(
            self._way(operation, index, alternative, masks)
            for index, alternative in enumerate(operation.alternatives)
            if any(alternative_allowed(operation, alternative, mask) for mask in masks)
            and self._is_possible(alternative)
        )
        return Work(
            operation=operation.id,
            phase=operation.phase,
            choice=choice,
            writes=tuple(self.item_index[name] for name in operation.writes),
            mutates=operation.mutates,
            ways=ways,
            recomputable=operation.recomputable,
            demanded=demanded,
        )

    def _way(
        self,
        operation: Operation,
        index: int,
        alternative: Alternative,
        masks: list[dict[str, LayerUpdate]],
    ) -> Way:
        names = list(dict.fromkeys(operand.tensor for operand in alternative.reads))
        costs = [self._cost(operation, alternative, mask) for mask in masks]
        rates = self.request.rates
        return Way(
            name=alternative.name,
            alternative=index,
            reads=tuple(self.item_index[name] for name in names if name in self.item_index),
            stores=tuple(name for name in names if name not in self.item_index),
            time_ns=tuple(
                rates.time_ns(macs, moved)
                if alternative_allowed(operation, alternative, mask)
                else None
                for (macs, moved), mask in zip(costs, masks, strict=True)
            ),
            macs=tuple(macs for macs, _ in costs),
            workspace_bytes=tuple(
                workspace_bytes(operation, alternative, self.samples, mask) for mask in masks
            ),
            in_place=tuple(
                (self.item_index[name], self.item_index[operation.writes[pair.write]])
                for pair in alternative.in_place
                if (name := alternative.reads[pair.read].tensor) in self.item_index
            ),
            mutates=mutated_tensors(self.graph, operation, alternative),
            covers=tuple(self.work_index[name] for name in alternative.covers),
            uses_up=-1
            if alternative.uses_up is None
            else self.item_index[alternative.reads[alternative.uses_up].tensor],
        )

    def _is_possible(self, alternative: Alternative) -> bool:
        """Tell whether what an alternative covers or uses up is of this body, and may be."""
        if alternative.uses_up is not None:
            operand = alternative.reads[alternative.uses_up].tensor
            if operand not in self.item_index:
                return False
            if operand in self.graph.outputs and not self._comes_again(operand):
                return False
        if not alternative.covers:
            return True
        if any(name not in self.work_index for name in alternative.covers):
            return False
        return self.mask is None or cover_allowed(self.graph, alternative, self.mask)

    def _comes_again(self, tensor: str) -> bool:
        """Tell whether an output that was used up can be there at the end nevertheless."""
        return any(
            tensor in operation.writes and operation.recomputable
            for operation in self.graph.operations
        )

    def _cost(
        self, operation: Operation, alternative: Alternative, mask: Mapping[str, LayerUpdate]
    ) -> tuple[int, int]:
        """Return (MACs, moved bytes); while the mask is open, without what is covered."""
        if alternative.covers and self.mask is not None:
            return block_cost(self.graph, operation, alternative, self.samples, self.mask)
        return alternative_cost(operation, alternative, self.samples, mask)

    def _outside(self, operation: Operation, what: str) -> tuple[int, tuple[int, ...]]:
        choice, wanted = self._demand(operation)
        plain = operation.alternatives[0]
        values = []
        for mask, want in zip(self._masks_of(choice), wanted, strict=True):
            macs, moved = alternative_cost(operation, plain, self.samples, mask)
            value = {
                "time": self.request.rates.time_ns(macs, moved),
                "macs": macs,
                "workspace": workspace_bytes(operation, plain, self.samples, mask),
            }[what]
            values.append(value if want else 0)
        return choice, tuple(values)


def _updates(layer: Layer, update: LayerUpdate | None, parameter: str) -> bool:
    """Tell whether an update of ``layer`` rewrites ``parameter``, in whole or in part."""
    if update is None:
        return False
    return (update.bias and parameter == layer.bias) or (
        update.weight != "none" and parameter == layer.weight
    )
