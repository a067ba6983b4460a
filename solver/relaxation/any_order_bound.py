"""The bound of ``any_order``, sharpened step by step, at the moments that matter.

Few moments do: those at which the limit costs something.  A linear program about moments that are
spread along the path says by its multipliers which rows of bytes these are; the next is about
their neighbours; and a program in whole numbers about the few that are left is solved at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from memplan.solver.clock import Clock
from memplan.solver.relaxation.any_order import Moments, MomentsProgram
from memplan.solver.schedule import Table

__all__ = ["MOST_BRANCHING", "AnyOrderBound"]

#: Moments of the first program.
_SPREAD = 24
#: On both sides of a moment that matters so many more are looked at, nearer each time.
_NEIGHBOURS = 4
_MOST_ZOOMS = 4
#: Moments that matter, at most, for the first program in whole numbers; and how many others come
#: in afterwards.
_MOST_TIGHT = 6
_WHOLE = (0, 12, 36)
#: As many programs in whole numbers are there.
MOST_BRANCHING = len(_WHOLE)
#: Programs of more variables are not built.
_MOST_VARIABLES = 30_000
#: Of the time that is left, what one program may take.
_SHARE = 0.5
_NO_LIMIT_SECONDS = 1e6
#: What a linear program takes, per variable; measured.
_SECONDS_PER_VARIABLE = 2e-5
#: Multipliers below are zero but for rounding.
_ALMOST_ZERO = 1e-9


@dataclass
class AnyOrderBound:
    """A proven bound on the time of one trip, for all plans of a mask and micro-batch.

    Attributes:
        table: of both.
        timed: whether solvers have a limit by the wall, which bounds then depend on.
        whole: whether branch and bound may be used.
        trip_time_ns: what is proved so far.
    """

    table: Table
    timed: bool = True
    whole: bool = True
    trip_time_ns: int = 0
    _moments: Moments | None = None
    #: Positions on the path: of the next linear program, and of those that matter.
    _next: Sequence[int] = ()
    _tight: Sequence[int] = ()
    #: Those that mattered first, when they were far apart.
    _coarse: Sequence[int] = ()
    #: How far apart the positions are.
    _apart: int = 0
    _zooms: int = 0
    _whole_stage: int = 0
    _tried: set[tuple[int, ...]] = field(default_factory=set)

    @property
    def exhausted(self) -> bool:
        """Tell whether nothing is left to try."""
        started = self._moments is not None
        can_branch = self.timed and self.whole and self._whole_stage < len(_WHOLE)
        return started and not self._next and not (self._tight and can_branch)

    def sharpen(
        self, target_ns: int, seconds: float, clock: Clock, most_branching: int = MOST_BRANCHING
    ) -> None:
        """Raise the bound until it reaches ``target_ns``, or for about so many seconds.

        Args:
            most_branching: programs in whole numbers; the first takes the least time, as a rule.
        """
        until = clock.now() + seconds
        while not self.exhausted and self.trip_time_ns < target_ns and not clock.over(until):
            if self._moments is None:
                self._moments = Moments(self.table)
                seconds_left = _SHARE * (until - clock.now()) if self.timed else _NO_LIMIT_SECONDS
                affordable = int(seconds_left / _SECONDS_PER_VARIABLE)
                self._next = self._spread(_SPREAD, min(_MOST_VARIABLES, affordable))
                self._apart = max(1, -(-len(self._moments.path) // max(1, len(self._next))))
            elif self._next:
                self._linear(self._moments, until - clock.now(), clock)
            elif self._whole_stage >= most_branching:
                break
            else:
                self._branch(self._moments, until - clock.now(), clock)

    def _spread(self, count: int, most_variables: int = _MOST_VARIABLES) -> tuple[int, ...]:
        """Return positions along the path: of each of some stretches the one of the most bytes.

        There are fewer where a program would be too large.
        """
        assert self._moments is not None
        path, kept_bytes = self._moments.path, self._moments.kept_bytes
        if not path:
            return ()
        most = most_variables // max(1, self._moments.variables(path[-1]))
        count = min(count, len(path), max(1, most))
        starts = [len(path) * number // count for number in range(count + 1)]
        return tuple(
            max(range(start, stop), key=lambda position: kept_bytes[position])
            for start, stop in pairwise(starts)
        )

    def _program(self, moments: Moments, positions: Sequence[int]) -> MomentsProgram:
        return MomentsProgram(moments, [moments.path[position] for position in positions])

    def _linear(self, moments: Moments, seconds: float, clock: Clock) -> None:
        """Solve a linear program; see which moments matter, and what is to be looked at next."""
        built = self._program(moments, self._next)
        program = built.program
        limit = _SHARE * seconds if self.timed else _NO_LIMIT_SECONDS
        multipliers = program.multipliers(limit, clock)
        clock.spend(_SECONDS_PER_VARIABLE * len(program.costs))
        self._take(built.constant_ns + program.bound_by(multipliers))
        worth: dict[int, float] = {}
        for row, q in built.memory_rows.items():
            if multipliers[row] > _ALMOST_ZERO:
                worth[self._next[q]] = multipliers[row] * abs(program.rows[row][1])
        if built.memory_rows and not any(multipliers) and len(self._next) > 1:
            # It was not solved in time.
            self._next = self._next[::2]
            return
        best = sorted(worth, key=lambda position: (-worth[position], position))
        self._tight = sorted(best[:_MOST_TIGHT]) or self._tight
        self._coarse = self._coarse or self._tight
        self._next = ()
        if self._apart > 1 and self._tight and self._zooms < _MOST_ZOOMS:
            self._zooms += 1
            nearer = max(1, self._apart // _NEIGHBOURS)
            near = {
                position + side * nearer * number
                for position in self._tight
                for number in range(_NEIGHBOURS + 1)
                for side in (-1, 1)
            }
            self._next = sorted(near.intersection(range(len(moments.path))))
            self._apart = nearer

    def _branch(self, moments: Moments, seconds: float, clock: Clock) -> None:
        """Solve a program in whole numbers about what matters, and perhaps others."""
        others = _WHOLE[self._whole_stage]
        self._whole_stage += 1
        spread = self._spread(others) if others else ()
        positions = tuple(sorted({*self._tight, *self._coarse, *spread}))
        size = sum(moments.variables(moments.path[position]) for position in positions)
        if positions in self._tried or size > _MOST_VARIABLES:
            return
        self._tried.add(positions)
        built = self._program(moments, positions)
        self._take(built.constant_ns + built.program.whole_lower_bound(_SHARE * seconds, clock))

    def _take(self, bound_ns: int) -> None:
        self.trip_time_ns = max(self.trip_time_ns, bound_ns)
