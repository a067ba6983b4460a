"""Every technique of the search is a switch with a name."""

from __future__ import annotations

from dataclasses import dataclass

from memplan.solver.switches import Switches

__all__ = ["Techniques"]


@dataclass(frozen=True, slots=True)
class Techniques(Switches):
    """What the search may use.  Tests switch off pairs, benchmarks show what each is worth."""

    #: Orders to start from beside the traced one: list schedules, and growing steps sunk.
    starting_orders: bool = True
    #: Starts by the row and channel strips that spare bytes.
    lean_starts: bool = True
    #: Put faster ways back into a start that fits.
    hasten: bool = True
    #: Keep what minimum cuts keep, and run the rest again as far as it takes; on large graphs.
    minimum_cuts: bool = True
    #: Keep what crosses the borders of segments, and run segments again, on one level or two.
    segments: bool = True
    #: Recompute and evict greedily, with many random starts.
    greedy: bool = True
    #: Search over what greedy runs evict first, alike in layers that are alike; else at random.
    priorities: bool = True
    #: Recompute as deep as it takes, by a pebble game, where nothing else fits; and what the game
    #: proves of bytes.
    pebbling: bool = True
    #: Anneal over schedules: add, drop and move recomputations.
    annealing: bool = True
    #: Try the masks that the byte bound does not exclude, the most important first, by branch and
    #: bound; and what that proves of importance.
    mask_tree: bool = True
    #: Choose the update mask by CP-SAT over a fixed order, before recomputation.
    mask_model: bool = True
    #: Update one layer more and others less, where the incumbent's schedule does for that as it is.
    mask_exchanges: bool = True
    #: The joint CP-SAT model, with everything free (small graphs) or in windows of time.
    joint_model: bool = True
    #: Choose what is recomputed with the order fixed, on small graphs: by the next two, and CP-SAT.
    line_model: bool = True
    #: ... by a search from the end, over what is needed from step to step.
    label_search: bool = True
    #: ... by a whole program of the stages of the backward pass, on HiGHS.
    stage_program: bool = True
    #: Begin the joint model with the best plan so far.
    hints: bool = True
    #: Bound time for plans of every order, by what must be there at moments that all of them have.
    any_order_bound: bool = True
    #: Search over all orders at once, on small graphs of one way per operation.
    order_search: bool = True
    #: Bound what recomputation must cost, by a relaxation of what is kept between cuts.
    retention_bound: bool = True
    #: The same in whole decisions, by branch and bound.
    whole_retention: bool = True
    #: ... with cuts one by one where the last whole solution exceeds the limit, from one block on.
    lazy_cuts: bool = True
    #: Leave out of that program what can be exchanged for something no larger.
    exchanges: bool = True
    #: Bound it for other micro-batches, too, along the incumbent's line carried over to them.
    other_micro_batches: bool = True
    #: Bound time by a linear program over the ways, beside the sum of what must run.
    linear_time_bound: bool = True
    #: Bound bytes by what was there before an operation, beside its working set.
    looking_back: bool = True
    #: Discard micro-batches whose bound exceeds what was found.
    micro_batch_bounds: bool = True
