"""The bound on recomputation that is sharpened as long as there is time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memplan.solver.clock import Clock
from memplan.solver.relaxation.retention import even_cuts, retention_program
from memplan.solver.relaxation.timeline import Timeline

__all__ = ["RecomputationBound"]

#: Blocks of the backward pass, and whether computations are whole; the quick ones come first.
_STAGES = ((1, False), (8, False), (32, False), (8, True), (32, True), (128, True))
#: What building and solving a linear program takes, per variable; measured.
_SECONDS_PER_VARIABLE = 3e-4
#: What building alone takes; it does not look at the clock.
_SECONDS_PER_VARIABLE_BUILT = 8e-5
#: A program is not built if that takes more of the time that is left.
_MOST_BUILDING = 0.4
_NO_LIMIT_SECONDS = 1e6


@dataclass
class RecomputationBound:
    """A proven bound on the time of one trip, for plans along one line.

    Attributes:
        line: first computations, in order.
        limit_bytes: what the body's items may take.
        whole: whether branch and bound may be used.
        timed: whether solvers have a limit by the wall, which bounds then depend on.
        exchanges: whether the programs leave out what can be exchanged.
    """

    line: Timeline
    limit_bytes: int
    whole: bool = True
    timed: bool = True
    exchanges: bool = True
    extra_ns: int = 0
    #: The same, proved for at most ``computations`` of each operation, as ``line_model`` runs them:
    #: between two first computations each at most once, in the order of the line.
    limited_extra_ns: int = 0
    computations: int = 0
    _stage: int = 0

    @property
    def trip_time_ns(self) -> int:
        """Return the bound."""
        return sum(self.line.time_ns) + max(self.extra_ns, self.limited_extra_ns)

    @property
    def restrictions(self) -> list[str]:
        """Return under what the bound holds."""
        restrictions = [self.line.restriction]
        if self.limited_extra_ns > self.extra_ns:
            restrictions.append(
                f"at most {self.computations} computations of one operation, and between two first "
                "computations each at most once, in order"
            )
        return restrictions

    @property
    def exhausted(self) -> bool:
        """Tell whether nothing is left to try."""
        return self._stage >= len(_STAGES)

    def _variables(self, cuts: Sequence[int]) -> int:
        """Return about how many variables the program of these cuts has; it has fewer."""
        return 3 * self.line.forward * len(cuts)

    def sharpen(self, target_ns: int, seconds: float, clock: Clock) -> None:
        """Raise the bound until it reaches ``target_ns``, or for about so many seconds."""
        until = clock.now() + seconds
        while not self.exhausted and self.trip_time_ns < target_ns and not clock.over(until):
            left = until - clock.now()
            blocks, whole = _STAGES[self._stage]
            self._stage += 1
            if whole and not self.whole:
                continue
            cuts = even_cuts(self.line, blocks)
            if len(cuts) < blocks // 4:
                continue  # the line has no more cuts than were tried before
            if _SECONDS_PER_VARIABLE_BUILT * self._variables(cuts) > _MOST_BUILDING * left:
                continue
            program = retention_program(self.line, self.limit_bytes, cuts, exchanges=self.exchanges)
            if whole:
                found = program.whole_lower_bound(left, clock)
            elif self.timed:
                found = program.lower_bound(left, clock)
            else:
                # Without a limit, so that nothing depends on the wall.
                found = program.lower_bound(_NO_LIMIT_SECONDS, clock)
                clock.spend(_SECONDS_PER_VARIABLE * len(program.costs))
            self.extra_ns = max(self.extra_ns, found)
