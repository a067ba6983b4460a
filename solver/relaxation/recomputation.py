"""The bound on recomputation that is sharpened as long as there is time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from memplan.solver.clock import Clock
from memplan.solver.relaxation.refinement import Refinement
from memplan.solver.relaxation.retention import even_cuts, retention
from memplan.solver.relaxation.rounding import Rounded, rounded
from memplan.solver.relaxation.timeline import Timeline

__all__ = ["Limited", "RecomputationBound"]

#: Blocks of the backward pass, and whether computations are whole; the quick ones come first.
#: Between the two comes ``Refinement``.
_STAGES = ((1, False), (8, False), (32, False), (32, True), (128, True))
_REFINED_STAGE = 3
#: What building and solving a linear program takes, per variable; measured.
_SECONDS_PER_VARIABLE = 3e-4
#: What building alone takes; it does not look at the clock.
_SECONDS_PER_VARIABLE_BUILT = 2e-5
#: Of the time that is left, what one linear program may take: branch and bound comes behind them.
_LINEAR_SHARE = 0.3
#: A program is not built if that takes more of the time that is left.
_MOST_BUILDING = 0.4
_NO_LIMIT_SECONDS = 1e6


@dataclass(frozen=True)
class Limited:
    """What was proved under restrictions; none: of every plan.

    Attributes:
        extra_ns: least time of computations beyond the first, per trip.
        arena_bytes: least arena of plans that take this time; None: nothing is proved.
    """

    extra_ns: int
    restrictions: tuple[str, ...]
    arena_bytes: int | None = None


@dataclass
class RecomputationBound:
    """A proven bound on the time of one trip, for plans along one line.

    Attributes:
        line: first computations, in order.
        limit_bytes: what the body's items may take.
        whole: whether branch and bound may be used.
        timed: whether solvers have a limit by the wall, which bounds then depend on.
        exchanges: whether the programs leave out what can be exchanged.
        lazy_cuts: whether cuts are added where solutions exceed the limit (``Refinement``).
    """

    line: Timeline
    limit_bytes: int
    whole: bool = True
    timed: bool = True
    exchanges: bool = True
    lazy_cuts: bool = True
    extra_ns: int = 0
    #: The line was searched before any incumbent was known: the plain order of a small graph.
    is_plain_order: bool = False
    #: What a search along the line proved, under restrictions of its own.
    limited: Limited | None = None
    _stage: int = 0
    _is_coarse_better: bool = False
    _refinement: Refinement | None = None
    #: What whole solutions say, as schedules that were not taken yet.
    _schedules: list[Rounded] = field(default_factory=list)

    @property
    def trip_time_ns(self) -> int:
        """Return the bound."""
        limited = 0 if self.limited is None else self.limited.extra_ns
        return sum(self.line.time_ns) + max(self.extra_ns, limited)

    @property
    def restrictions(self) -> list[str]:
        """Return under what the bound holds."""
        if self.limited is not None and self.limited.extra_ns >= self.extra_ns:
            return list(self.limited.restrictions)
        return list(self.line.restrictions)

    def holds_for(self, line: Timeline) -> bool:
        """Tell whether plans along ``line`` are among those that the bound is about."""
        if not self.restrictions:
            return True
        free = self.line.again_in_forward
        return self.line == (replace(line, again_in_forward=True) if free else line)

    def take_schedules(self) -> list[Rounded]:
        """Return the schedules that came up since this was asked last; bytes may exceed."""
        new = self._schedules
        self._schedules = []
        return new

    @property
    def exhausted(self) -> bool:
        """Tell whether nothing is left to try, or to prove: a schedule is as fast as the bound."""
        is_met = self._refinement is not None and self._refinement.is_met
        return is_met or self._stage >= len(_STAGES)

    def _variables(self, cuts: Sequence[int]) -> int:
        """Return about how many variables the program of these cuts has; it has fewer."""
        return 3 * self.line.forward * len(cuts)

    def sharpen(self, target_ns: int, seconds: float, clock: Clock) -> None:
        """Raise the bound until it reaches ``target_ns``, or for about so many seconds."""
        until = clock.now() + seconds
        while not self.exhausted and self.trip_time_ns < target_ns and not clock.over(until):
            refines = self.whole and self.lazy_cuts
            is_refined = self._stage != _REFINED_STAGE or not refines
            if not is_refined and not self._refine(target_ns, until, clock):
                return
            left = until - clock.now()
            blocks, whole = _STAGES[self._stage]
            self._stage += 1
            if whole and not self.whole:
                continue
            cuts = even_cuts(self.line, blocks)
            if len(cuts) < blocks // 4:
                continue  # the line has no more cuts than were tried before
            if self._is_coarse_better and not whole:
                continue
            if _SECONDS_PER_VARIABLE_BUILT * self._variables(cuts) > _MOST_BUILDING * left:
                continue
            built = retention(self.line, self.limit_bytes, cuts, exchanges=self.exchanges)
            program = built.program
            if whole:
                solution = program.whole(until - clock.now(), clock)
                found = solution.bound
                if solution.values is not None:
                    one = rounded(self.line, self.limit_bytes, built, solution.values)
                    self._schedules.append(one)
            elif self.timed:
                found = program.lower_bound(_LINEAR_SHARE * left, clock)
            else:
                # Without a limit, so that nothing depends on the wall.
                found = program.lower_bound(_NO_LIMIT_SECONDS, clock)
                clock.spend(_SECONDS_PER_VARIABLE * len(program.costs))
            # Halves of what is kept from block to block can cost less the more blocks there are.
            self._is_coarse_better = found < self.extra_ns
            self.extra_ns = max(self.extra_ns, found)

    def _refine(self, target_ns: int, until: float, clock: Clock) -> bool:
        """Solve in whole computations and few blocks, and refine; tell whether nothing is left."""
        if self._refinement is None:
            self._refinement = Refinement(self.line, self.limit_bytes, self.exchanges)
        refinement = self._refinement
        known = len(refinement.schedules)
        refinement.advance(target_ns - sum(self.line.time_ns), until, clock)
        self._schedules += refinement.schedules[known:]
        self.extra_ns = max(self.extra_ns, refinement.extra_ns)
        return refinement.is_over and not refinement.is_met
