"""The rules of the checker, and the report of which were broken.

This is the one list of rules.  Every verdict names one of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["MAX_VERDICTS", "RULES", "Findings", "FullError", "Report", "Rule", "Verdict"]

#: A report lists at most this many verdicts; a plan with one is as wrong as a plan with many.
MAX_VERDICTS: Final = 200
#: A plan that breaks rules this often, counting repetitions, is not looked at any further.
_MAX_NOTES: Final = 20 * MAX_VERDICTS


class Rule(StrEnum):
    """What a plan must keep; ``RULES`` says each in one sentence."""

    REFERENCE = "reference"
    REQUEST = "request"
    MICRO_BATCH = "micro-batch"
    MASK = "mask"
    ALTERNATIVE = "alternative"
    PHASE = "phase"
    UPDATE = "update"
    STATISTICS = "statistics"
    COMPUTATION = "computation"
    SIZE = "size"
    ALIGNMENT = "alignment"
    REGION = "region"
    SCOPE = "scope"
    LIFETIME = "lifetime"
    WORKSPACE = "workspace"
    OVERLAP = "overlap"
    IN_PLACE = "in-place"
    USED_UP = "used-up"
    MISSING = "missing"
    EARLY_FREE = "early-free"
    OVERWRITTEN = "overwritten"
    VERSION = "version"
    ACCUMULATOR = "accumulator"
    OUTPUT = "output"
    BUDGET = "budget"
    COMPUTE_LIMIT = "compute-limit"
    TOTALS = "totals"
    LIVE_BYTES = "live-bytes"
    PEAK = "peak"
    HASH = "hash"
    LEVELS = "levels"
    BOUND = "bound"
    GAP = "gap"
    STATUS = "status"


#: The rules in the order in which they are checked.
RULES: Final[dict[Rule, str]] = {
    Rule.REFERENCE: "every operation, alternative, buffer and tensor that is named exists, and "
    "each step names one buffer per operand, written and mutated tensor; null stands for frozen "
    "weights and constants, and for nothing else",
    Rule.REQUEST: "the plan's batch is the request's, and the graph's where that is fixed",
    Rule.MICRO_BATCH: "the micro-batch divides the batch, is the requested one, is the whole "
    "batch where samples are coupled, and trips is their quotient",
    Rule.MASK: "each layer's update is one that the request allows, and something is updated in "
    "mode train",
    Rule.ALTERNATIVE: "an alternative for certain axes runs only under a mask along one of them",
    Rule.PHASE: "each section holds operations of its phases only",
    Rule.UPDATE: "exactly the parameters of the mask are updated, once per batch",
    Rule.STATISTICS: "every operation of phase statistics runs exactly once per trip",
    Rule.COMPUTATION: "computations of an operation count 0, 1, 2... in the order of the body, "
    "only a recomputable operation has more than one, and a buffer names the one that fills it",
    Rule.SIZE: "a buffer has exactly the bytes of its tensor under micro-batch and mask",
    Rule.ALIGNMENT: "an offset is a multiple of the request's and the region's alignment",
    Rule.REGION: "a buffer lies inside the unreserved bytes of a RAM region of the device",
    Rule.SCOPE: "mutated parameters and states are persistent, accumulators and the resident "
    "batch have scope batch, everything else scope body; none of the first two stands twice",
    Rule.LIFETIME: "a lifetime is not empty, starts where the buffer is filled and stays in its "
    "section; persistent and batch buffers live through all steps",
    Rule.WORKSPACE: "a step has workspace of exactly the bytes that its alternative needs, for "
    "that step alone, or none",
    Rule.OVERLAP: "no two buffers that live at the same time share bytes",
    Rule.IN_PLACE: "a result takes the bytes of an operand only through a declared pair, at the "
    "same offset and size, where the operand dies",
    Rule.USED_UP: "an operand that a step uses up has scope body and dies there",
    Rule.MISSING: "what is read has been written before",
    Rule.EARLY_FREE: "what is read still lives",
    Rule.OVERWRITTEN: "what is read is whole: nobody wrote into its bytes",
    Rule.VERSION: "a parameter is not read after its update in the same batch, and a running "
    "statistic is read in its traced version",
    Rule.ACCUMULATOR: "an accumulator is cleared first, gets every trip once, and is applied "
    "after the last",
    Rule.OUTPUT: "every output of the graph is whole and alive at the end of every trip",
    Rule.BUDGET: "the arena, with frozen weights where the device keeps them in RAM, fits the "
    "budget, and frozen weights fit the flash",
    Rule.COMPUTE_LIMIT: "extra MACs stay within the request's part of one forward pass",
    Rule.TOTALS: "every figure of the totals is the recomputed one",
    Rule.LIVE_BYTES: "the live bytes of each step are the recomputed ones",
    Rule.PEAK: "the peak names a step of most live bytes and what is live there",
    Rule.HASH: "the certificate is of this graph and this request",
    Rule.LEVELS: "the objective's levels stand in order, with the values of the totals",
    Rule.BOUND: "no bound is better than the value it bounds, and below a level that does not meet "
    "its bound there is only the bound on bytes that holds for every plan",
    Rule.GAP: "a gap is |value - bound| / max(1, |value|), and null without a bound",
    Rule.STATUS: "a plan is optimal if it meets its bound at every level, and else feasible",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One broken rule, and where."""

    rule: Rule
    #: One line.
    message: str
    #: In the numbering through prologue, body and epilogue.
    step: int | None = None
    tensors: tuple[str, ...] = ()
    #: Half-open ranges of bytes in their regions.
    addresses: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        place = "" if self.step is None else f"step {self.step}: "
        return f"[{self.rule}] {place}{self.message}"


@dataclass(frozen=True, slots=True)
class Report:
    """What the checker found; a plan without verdicts is accepted."""

    verdicts: tuple[Verdict, ...]

    @property
    def accepted(self) -> bool:
        """True if the plan keeps every rule."""
        return not self.verdicts


class FullError(Exception):
    """The report is full, so that looking on would change nothing."""


class Findings:
    """Collects verdicts; the same rule at the same place counts once."""

    __slots__ = ("_notes", "_seen", "_verdicts")

    def __init__(self) -> None:
        self._verdicts: list[Verdict] = []
        self._notes = 0
        self._seen: set[tuple[Rule, int | None, tuple[str, ...], str]] = set()

    def add(
        self,
        rule: Rule,
        message: str,
        step: int | None = None,
        tensors: Iterable[str] = (),
        addresses: Iterable[tuple[int, int]] = (),
    ) -> None:
        """Note a broken rule.

        Raises:
            FullError: the report is full now.
        """
        verdict = Verdict(rule, message, step, tuple(tensors), tuple(addresses))
        key = (rule, step, verdict.tensors, message)
        self._notes += 1
        if key not in self._seen:
            self._seen.add(key)
            self._verdicts.append(verdict)
        if len(self._verdicts) >= MAX_VERDICTS or self._notes >= _MAX_NOTES:
            raise FullError

    def has(self, *rules: Rule) -> bool:
        """Tell whether one of these rules is broken so far."""
        return any(verdict.rule in rules for verdict in self._verdicts)

    def report(self) -> Report:
        """Return what was found."""
        return Report(tuple(self._verdicts))
