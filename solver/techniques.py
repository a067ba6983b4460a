"""Every technique of the search is a switch with a name."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Techniques"]


@dataclass(frozen=True, slots=True)
class Techniques:
    """What the search may use.  Tests run the cross product, benchmarks show what each is worth."""

    #: Recompute and evict greedily, with many random starts.
    greedy: bool = True
    #: Anneal over schedules: add, drop and move recomputations.
    annealing: bool = True
    #: Choose the update mask by CP-SAT over a fixed order, before recomputation.
    mask_model: bool = True
    #: The joint CP-SAT model, with everything free (small graphs) or in windows of time.
    joint_model: bool = True
    #: Choose what is recomputed by CP-SAT with the order fixed, on small graphs.
    line_model: bool = True
    #: Bound what recomputation must cost, by a relaxation of what is kept between cuts.
    retention_bound: bool = True
    #: Discard micro-batches whose bound exceeds what was found.
    micro_batch_bounds: bool = True

    @classmethod
    def without(cls, *names: str) -> Techniques:
        """Return all techniques but those named.

        Raises:
            ValueError: no technique has such a name.
        """
        known = {field.name for field in fields(cls)}
        for name in names:
            if name not in known:
                raise ValueError(f"no technique {name!r}; there are {', '.join(sorted(known))}")
        return cls(**{name: name not in names for name in known})
