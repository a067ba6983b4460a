"""The state of a search: its micro-batches, its incumbent, and the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.solver.bounds import ByteBound
from memplan.solver.build_instance import fix_mask
from memplan.solver.clock import WALL, Clock
from memplan.solver.instance import Instance
from memplan.solver.levels import Proof
from memplan.solver.masks.estimate import MemoryEstimate, estimate_memory
from memplan.solver.masks.tree import MaskTree
from memplan.solver.progress import Progress, Reporter
from memplan.solver.relaxation.any_order_bound import AnyOrderBound
from memplan.solver.relaxation.cheapest_order import CheapestOrder
from memplan.solver.relaxation.recomputation import RecomputationBound
from memplan.solver.relaxation.timeline import Timeline
from memplan.solver.schedule import Table
from memplan.solver.solution import Solution
from memplan.solver.standing import Proved, report, still_proved
from memplan.solver.techniques import Techniques
from memplan.solver.time_bound import linear_time_lower_bound, time_lower_bound, with_outside

__all__ = ["Mask", "OtherMicroBatches", "Pursuit", "Raises", "Side", "Steps", "fits"]

Mask = Mapping[str, LayerUpdate]
Steps = tuple[tuple[int, int], ...]

#: What measuring the reach of one layer takes, per operation; measured.
_SECONDS_PER_REACH = 2.5e-5
#: Layers that are measured before a search, if there are so many.
_LEAST_REACH_SAMPLES = 24
#: As many masks have their tables kept: those that the stages of a search come back to.
_MOST_TABLES = 4


@dataclass
class Raises:
    """What was tried of one layer more than the incumbent's mask updates."""

    mask: Mask
    #: The incumbent's.
    schedule: Sequence[tuple[int, int]]
    #: Per layer, the bytes of the smallest option for which that does not do as it is.
    too_large_as_it_is: dict[str, int] = field(default_factory=dict)
    #: For these others were updated less, which did not make it do.
    exchanged: set[LayerUpdate] = field(default_factory=set)
    #: Per layer, the bytes of the smallest option for which no plan was found.
    in_vain: dict[str, int] = field(default_factory=dict)


@dataclass
class Side:
    """One micro-batch of the search."""

    samples: int
    instance: Instance
    bound: ByteBound
    #: Whether time is bounded by a linear program, too.
    linear: bool = True
    clock: Clock = WALL
    #: Limits that the joint model of this micro-batch has proved; None: not solved whole.
    proof: Proof | None = None
    #: The joint model of this micro-batch has no solution.
    infeasible: bool = False
    #: Schedules to go on from, the latest, per mask.
    _known: dict[frozenset[LayerUpdate], list[Steps]] = field(default_factory=dict)
    #: Per mask, fewer live bytes than fit: what packing exceeded the room by, and a little more.
    lowered_bytes: dict[frozenset[LayerUpdate], int] = field(default_factory=dict)
    #: Masks for which it was lowered by more than that, as time was short.
    hurried: set[frozenset[LayerUpdate]] = field(default_factory=set)
    #: Of the latest incumbent of this micro-batch, what was raised in vain.
    raises: Raises | None = None
    _estimate: MemoryEstimate | None = None
    #: How many layers it measures the reach of, and what was measured.
    _reach_samples: int = 0
    _reaches: dict[int, int] = field(default_factory=dict)
    _least_time_ns: dict[frozenset[LayerUpdate], int] = field(default_factory=dict)
    _any_order: dict[frozenset[LayerUpdate], AnyOrderBound] = field(default_factory=dict)
    _cheapest_order: dict[frozenset[LayerUpdate], CheapestOrder | None] = field(
        default_factory=dict
    )
    #: Per mask, a time, and bytes that no plan of this time or less has fewer of.
    _least_arena_bytes: dict[frozenset[LayerUpdate], tuple[int, int]] = field(default_factory=dict)
    _tables: dict[frozenset[LayerUpdate], Table] = field(default_factory=dict)

    def table(self, mask: Mask) -> Table:
        """Return the table of the instance with this mask; the latest are kept."""
        key = frozenset(mask.values())
        table = self._tables.pop(key, None) or Table.of(fix_mask(self.instance, mask))
        self._tables[key] = table
        if len(self._tables) > _MOST_TABLES:
            del self._tables[next(iter(self._tables))]
        return table

    def least_time_ns(self, mask: Mask) -> int:
        """Return a proven bound on the time of every plan of this mask.

        It is found once, and raised by the bound of every order.
        """
        key = frozenset(mask.values())
        if key not in self._least_time_ns:
            table = self.table(mask)
            if self.linear:
                # Without a limit where nothing may depend on the wall.
                seconds = 1e6 if self.instance.request.deterministic else 2.0
                least = linear_time_lower_bound(table, seconds, self.clock)
            else:
                least = time_lower_bound(table)
            self._least_time_ns[key] = least
        bound = self._any_order.get(key)
        if bound is not None:
            along = with_outside(bound.table, bound.trip_time_ns)
            self._least_time_ns[key] = max(along, self._least_time_ns[key])
        return self._least_time_ns[key]

    def raise_least_time_ns(self, mask: Mask, trip_ns: int) -> None:
        """Take into account that no trip of a plan of this mask takes less than ``trip_ns``."""
        least = with_outside(self.table(mask), trip_ns)
        self._least_time_ns[frozenset(mask.values())] = max(least, self.least_time_ns(mask))

    def least_arena_bytes(self, mask: Mask, time_ns: int) -> int:
        """Return a proven bound on the arena of plans of this mask and time."""
        known_ns, least = self._least_arena_bytes.get(frozenset(mask.values()), (0, 0))
        return max(self.bound.bytes, least if time_ns <= known_ns else 0)

    def raise_least_arena_bytes(self, mask: Mask, time_ns: int, least: int) -> None:
        """Take into account that no plan of this mask and time, or less, has a smaller arena."""
        self._least_arena_bytes[frozenset(mask.values())] = (time_ns, least)

    def cheapest_order(
        self, mask: Mask, begin: Callable[[Side, Mask], CheapestOrder | None]
    ) -> CheapestOrder | None:
        """Return the search over all orders of plans of this mask; the latest is kept."""
        key = frozenset(mask.values())
        if key not in self._cheapest_order:
            self._cheapest_order = {key: begin(self, mask)}
        return self._cheapest_order[key]

    def any_order_bound(self, mask: Mask, make: Callable[[Table], AnyOrderBound]) -> AnyOrderBound:
        """Return the bound of every order on plans of this mask; the latest are kept."""
        key = frozenset(mask.values())
        bound = self._any_order.pop(key, None) or make(self.table(mask))
        self._any_order[key] = bound
        if len(self._any_order) > _MOST_TABLES:
            del self._any_order[next(iter(self._any_order))]
        return bound

    def memory_estimate(self, reach_samples: int = 0) -> MemoryEstimate:
        """Return the additive estimate of what update masks take.

        Args:
            reach_samples: it is made again, of as many samples, where it was of fewer.
        """
        if self._estimate is None or reach_samples > self._reach_samples:
            self._reach_samples = reach_samples or _LEAST_REACH_SAMPLES
            self._estimate = estimate_memory(self.instance, self._reach_samples, self._reaches)
        return self._estimate

    def affordable_reach_samples(self, seconds: float) -> int:
        """Return of how many samples the estimate is at most, if it may take so long."""
        more = seconds / (_SECONDS_PER_REACH * len(self.instance.works))
        return max(_LEAST_REACH_SAMPLES, self._reach_samples + int(more))

    def known(self, mask: Mask) -> list[Steps]:
        """Return schedules for ``mask`` that were found before; the list may be added to."""
        return self._known.setdefault(frozenset(mask.values()), [])


@dataclass
class OtherMicroBatches:
    """Bounds on recomputation of micro-batches other than the incumbent's, along its line.

    They end with the line.
    """

    line: Timeline
    #: None: the incumbent's schedule cannot be carried over.
    bounds: dict[int, RecomputationBound | None] = field(default_factory=dict)


@dataclass
class Pursuit:
    """The state of a search: what was found so far, and the time that is left."""

    request: PlanRequest
    techniques: Techniques
    reporter: Reporter
    deadline: float
    clock: Clock
    sides: list[Side] = field(default_factory=list)
    #: The best solution that fits.
    best: Solution | None = None
    #: The smallest arena of any solution, whether or not it fits.
    smallest: Solution | None = None

    #: The masks that bytes do not exclude, as far as they were looked for.
    mask_tree: MaskTree | None = None
    #: What recomputation must cost along the line of the latest incumbent that was bounded.
    recomputation: RecomputationBound | None = None
    #: The same of other micro-batches.
    other_micro_batches: OtherMicroBatches | None = None
    #: What was proved before of every plan that this request allows.
    proofs: Sequence[Proof] = ()
    #: What was proved of the request when it was last looked at.
    proved: Proved | None = None
    #: What the search is at.
    stage: str = ""
    #: The latest incumbent that was proved along its line, and by what.
    along: tuple[Solution, RecomputationBound] | None = None
    #: Random searches that were started: each has a seed of its own.
    searches: int = 0

    def __post_init__(self) -> None:
        if self.reporter.callback is not None:
            self.clock.pulse = self.tell

    def next_seed(self) -> int:
        """Return the seed of the next random search."""
        self.searches += 1
        return self.request.seed + self.searches - 1

    @property
    def left(self) -> float:
        """Seconds until the time limit."""
        return 0.0 if self.clock.stop() else self.deadline - self.clock.now()

    @property
    def most_importance(self) -> int:
        """Importance that no plan exceeds, as far as is proved."""
        most = sum(max(choice.units) for choice in self.sides[0].instance.choices)
        return most if self.mask_tree is None else min(most, self.mask_tree.most)

    def bound_along(self, line: Timeline, limit_bytes: int) -> RecomputationBound:
        """Return the bound on recomputation along a line, which is not worked out yet."""
        # Branch and bound gets further on a faster machine: not where plans must not differ.
        timed = not self.request.deterministic
        return RecomputationBound(
            line,
            limit_bytes,
            whole=timed and self.techniques.whole_retention,
            timed=timed,
            exchanges=self.techniques.exchanges,
            lazy_cuts=self.techniques.lazy_cuts,
        )

    def bound_any_order(self, table: Table) -> AnyOrderBound:
        """Return the bound of every order on plans of a table, which is not worked out yet."""
        timed = not self.request.deterministic
        return AnyOrderBound(table, timed=timed, whole=timed and self.techniques.whole_retention)

    def offer(self, solution: Solution) -> bool:
        """Take a solution into account; True if it is a new best."""
        size = solution.worth.arena_bytes
        if self.smallest is None or size < self.smallest.worth.arena_bytes:
            self.smallest = solution
        if fits(solution) and (self.best is None or solution.worth < self.best.worth):
            self.best = solution
            self.tell(news=True)
            return True
        return False

    def tell(self, stage: str | None = None, news: bool = False) -> None:
        """Report how the search stands; without a stage, that it goes on.

        Args:
            news: there is a better plan or bound.
        """
        self.stage = stage or self.stage
        self.reporter.tell(self.stage, self._report, news)

    def _report(self, elapsed_seconds: float) -> Progress:
        best, choices = self.best, self.sides[0].instance.choices if self.sides else ()
        proof = Proof()
        if best is not None:
            proof = still_proved(best, self.proved, self.most_importance)
        bound = min((s.bound.bytes for s in self.sides), default=None)
        choice = any(len(choice.options) > 1 for choice in choices)
        return report(self.stage, elapsed_seconds, best, proof, bound, choice)


def fits(solution: Solution) -> bool:
    """Tell whether a solution keeps the budget and the compute limit."""
    instance = solution.instance
    return solution.worth.arena_bytes <= instance.limit_bytes and (
        solution.table.within_compute(solution.schedule)
    )
