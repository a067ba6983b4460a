"""What bounds suppose of plans beyond what the request does, in the words of certificates.

Models count computations, or leave a way of the epilogue out, and a plan may be called optimal
under that.  What is proved along one line is about one order of many: no plan is optimal by it.
"""

from __future__ import annotations

from collections.abc import Iterable

from memplan.ir.request import PlanRequest

__all__ = [
    "ALONG_LINE",
    "ALONG_LINE_BEHIND_FORWARD",
    "BELIEVED",
    "FIRST_WAYS",
    "ONCE_IN_ORDER",
    "OTHER_MICRO_BATCHES",
    "on_computations",
    "suppose_a_line",
]

#: A line: operations go certain ways, and first run in a certain order.
ALONG_LINE = "operations run by the ways of this plan, and first in its order"
#: ... and nothing runs again within the forward pass.
ALONG_LINE_BEHIND_FORWARD = f"{ALONG_LINE}; again only behind the first that may not"
#: ... of operations that this plan runs by several ways.
FIRST_WAYS = "operations first run by the ways by which this plan first runs them"
#: ... and of other micro-batches.
OTHER_MICRO_BATCHES = (
    "with other micro-batches, operations first run in the order and by the ways of this plan, "
    "as far as they can"
)
#: The stages of Checkmate and MOCCASIN.
ONCE_IN_ORDER = (
    "operations run again only behind the first that may not, and between two first computations "
    "each at most once, in order"
)
#: Said of bounds that were read from a file; so its plan does not pass them on again.
BELIEVED = "what the certificate of the stored plan says"

_OF_A_LINE = frozenset({ALONG_LINE, ALONG_LINE_BEHIND_FORWARD, ONCE_IN_ORDER, OTHER_MICRO_BATCHES})


def on_computations(request: PlanRequest) -> str:
    """Return what exact models suppose of every plan."""
    return f"at most {request.modelled_computations} computations of one operation"


def suppose_a_line(restrictions: Iterable[str]) -> bool:
    """Tell whether a bound is about plans of one order, or of certain stages, only."""
    return not _OF_A_LINE.isdisjoint(restrictions)
