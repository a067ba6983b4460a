"""What is machine code of the solver, compiled ahead of time."""

from __future__ import annotations

from memplan.solver.local_search.prepare import prepare_local_search
from memplan.solver.packing.prepare import prepare_packing
from memplan.solver.relaxation.label_search import prepare_labels
from memplan.solver.relaxation.order_search import prepare_order_search

__all__ = ["prepare"]


def prepare() -> None:
    """Compile the inner loops, once per installation, or load what is compiled.

    The first takes some twenty seconds, the second 0.2.  ``solve`` and ``frontier`` call it before
    their time begins; who installs memplan, or measures it, may do so earlier.
    """
    prepare_local_search()
    prepare_labels()
    prepare_order_search()
    prepare_packing()
