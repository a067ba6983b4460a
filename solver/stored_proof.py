"""What the certificate of a stored plan proves of another request, for who believes it.

A bound cannot be checked from a plan, so of a stranger's file nothing of this is used.  Who made
the plan, and kept it where nobody else writes, need not prove again what holds:

* a bound of a larger budget holds for a smaller one, whose plans are among those of the larger;
  not the other way round, as more bytes allow more plans;
* what holds along the plan's own line says nothing of other lines, and is left where it is; of
  time there is a bound that supposes nothing, too.
"""

from __future__ import annotations

from memplan.ir.plan import Plan
from memplan.ir.request import PlanRequest
from memplan.solver.levels import Proof
from memplan.solver.restrictions import BELIEVED, on_computations

__all__ = ["stored_proof"]

#: What does not decide which plans a request allows.
_OF_THE_SEARCH = {"time_limit_seconds": 1.0, "deterministic": False, "seed": 0, "workers": 1}


def stored_proof(plan: Plan, request: PlanRequest) -> Proof | None:
    """Return what a plan's certificate proves of every plan that ``request`` allows, or None.

    Args:
        plan: of the same graph.
    """
    before, certificate = plan.request, plan.certificate
    if request.budget_bytes > before.budget_bytes or _asked(before) != _asked(request):
        return None
    bounds = {level.name: level.bound for level in certificate.levels}
    # Without that level there is one mask only.
    importance = bounds.get("importance", plan.totals.importance)
    if not set(certificate.restrictions) <= {on_computations(request)}:
        least = certificate.lower_bound_time_ns
        return None if least is None else Proof(importance, least, restrictions=[BELIEVED])
    return Proof(
        importance,
        bounds["time_ns"],
        bounds["arena_bytes"],
        restrictions=[*certificate.restrictions, BELIEVED],
    )


def _asked(request: PlanRequest) -> PlanRequest:
    return request.model_copy(update={"budget_bytes": 1, **_OF_THE_SEARCH})
