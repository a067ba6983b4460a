"""check(graph, plan): is this plan right, and is everything that it says of itself true?

The checker shares no code with the solver; it knows the contracts and their arithmetic
(``ir.sizes``, ``ir.options``, ``ir.importance``, ``ir.baseline``) and nothing else.  Each rule
has a name and one sentence in ``report.RULES``.  What they mean together:

*Numbering.*  Steps count through prologue, body and epilogue; a buffer lives over
[start_step, end_step) in that numbering.  A buffer's id is its place in the plan.

*Choice.*  ``trips * micro_batch = batch``, the request's batch.  Where the graph's batch is fixed
or its samples are coupled there is one trip.  The mask holds of each layer one of the options
that the request allows; in mode train something is updated.

*Sections.*  With one trip there is only a body, of phases forward, backward, update, statistics.
With several, the prologue clears, the body runs forward, backward, accumulate, statistics, and
the epilogue applies.  Exactly the parameters of the mask are updated, once per batch, and every
``statistics`` operation runs once per trip.  An operation runs again only if it is recomputable;
its computations count from 0.

*Buffers* have exactly the bytes of their tensor under mask and micro-batch.  Mutated parameters
and states are ``persistent``; accumulators, and the batch of inputs and labels where the body
runs several times and the batch is not streamed, have scope ``batch``; both live through all
steps.  Everything else has scope ``body`` and stays in its section.  Inputs of scope ``body`` are
filled by the host before each trip.

*Bytes.*  Two batches of up to two trips each are replayed byte by byte.  Every read finds its
whole tensor, alive, in the right version.  Live buffers share bytes only where a result takes
exactly the bytes of an operand that dies, through a declared in-place pair.  Where an alternative
uses an operand up, that one dies there, and the results live from the next step on, on any bytes
of what dies.  Workspace is a buffer of its step.  Outputs are whole at the end of every trip.

*Figures.*  Budget, flash and compute limit hold; totals, live bytes, peak and the objective's
values are recomputed to the last digit.  With several regions of RAM the arena is the sum of
what is used of each.  The certificate is of this graph and request, and none of its bounds is
better than the value that it bounds.

*Not verified*, because a plan does not show it: that a bound is proven, and that a profiled
time was measured.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TypeVar

from memplan.ir.base import Document
from memplan.ir.check.buffers import check_buffers
from memplan.ir.check.cells import compress
from memplan.ir.check.certificate import check_certificate
from memplan.ir.check.obligations import check_obligations
from memplan.ir.check.occupancy import occupy
from memplan.ir.check.replay import replay
from memplan.ir.check.report import RULES, Findings, FullError, Report, Rule, Verdict
from memplan.ir.check.selection import check_selection
from memplan.ir.check.structure import resolve
from memplan.ir.check.totals import check_limits, check_totals
from memplan.ir.collector import collector_paused
from memplan.ir.errors import PlanRejectedError
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan

__all__ = ["RULES", "Report", "Rule", "Verdict", "check", "require"]

_NAMED_VERDICTS = 3
_Document = TypeVar("_Document", bound=Document)


def check(graph: OpGraph, plan: Plan) -> Report:
    """Return every rule that ``plan`` breaks for ``graph``; none means that it is accepted.

    A plan that names what does not exist is not looked at any further.
    """
    findings = Findings()
    graph, plan = _without_caches(graph), _without_caches(plan)
    with collector_paused(), suppress(FullError):  # full: rejected, and no more can be said
        _find(graph, plan, findings)
    return findings.report()


def _find(graph: OpGraph, plan: Plan, findings: Findings) -> None:
    facts = resolve(graph, plan, findings)
    if facts is None:
        return
    check_selection(facts, findings)
    check_obligations(facts, findings)
    check_buffers(facts, findings)
    cells = compress(plan)
    occupancy = occupy(facts, cells, findings)
    replay(facts, cells, findings)
    check_limits(facts, findings)
    check_totals(facts, occupancy, findings)
    check_certificate(facts, findings)


def _without_caches(document: _Document) -> _Document:
    """Return the same fields: ``model_copy`` takes cached properties of the original along."""
    fields = {name: getattr(document, name) for name in type(document).model_fields}
    return type(document).model_construct(**fields)


def require(graph: OpGraph, plan: Plan) -> None:
    """Return if the checker accepts ``plan``.

    Raises:
        PlanRejectedError: it does not; the first verdicts stand in the message.
    """
    verdicts = check(graph, plan).verdicts
    if verdicts:
        named = "; ".join(str(verdict) for verdict in verdicts[:_NAMED_VERDICTS])
        more = len(verdicts) - _NAMED_VERDICTS
        raise PlanRejectedError(
            f"plan for {graph.name} rejected: {named}"
            + (f" (and {more} more)" if more > 0 else "")
            + "; plan it again, a plan cannot be edited by hand"
        )
