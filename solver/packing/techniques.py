"""Every technique of packing is a switch with a name."""

from __future__ import annotations

from dataclasses import dataclass

from memplan.solver.switches import Switches

__all__ = ["PackingTechniques"]


@dataclass(frozen=True, slots=True)
class PackingTechniques(Switches):
    """What packing may use.  No switch changes what is true of a result, only how soon it comes."""

    #: Lowest fit over several sort orders.
    sort_orders: bool = True
    #: Local search over the order of lowest fit.
    order_search: bool = True
    #: The depth-first search over canonical placements; the switches below are parts of it.
    depth_first: bool = True
    #: CP-SAT with no-overlap in two dimensions.
    no_overlap: bool = True
    #: Some section's buffers that are still to come, stacked at once, must end below the capacity.
    section_inference: bool = True
    #: In that stack each buffer counts from its own earliest offset, not from the least of all.
    release_offsets: bool = True
    #: A buffer that was passed over must be raised by one that is still to come.
    raising: bool = True
    #: Never place a buffer where another one would fit wholly below it.
    dominance: bool = True
    #: No alternatives to a buffer that nothing will rest on.
    hatless: bool = True
    #: What is still to come falls into parts that share no time: search each by itself.
    decomposition: bool = True
    #: Preorders by how often a buffer took part in a conflict.
    conflict_weights: bool = True
    #: Preorders with random noise, in many short runs beside the fixed ones.
    random_restarts: bool = True
