"""One attempt: a micro-batch and an update mask in, schedules, addresses and solutions out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.solver.bounds import ByteBound
from memplan.solver.build_instance import fix_mask
from memplan.solver.clock import WALL, Clock
from memplan.solver.instance import Instance
from memplan.solver.levels import Proof
from memplan.solver.masks.estimate import MemoryEstimate, estimate_memory
from memplan.solver.progress import Progress, Reporter
from memplan.solver.relaxation.recomputation import RecomputationBound
from memplan.solver.relaxation.timeline import Timeline
from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.carry_over import carried_over
from memplan.solver.scheduling.deep import deep_within
from memplan.solver.scheduling.found import Found
from memplan.solver.scheduling.heuristics import find_schedules, smallest_peak
from memplan.solver.scheduling.orders import starting_orders
from memplan.solver.solution import Solution, place
from memplan.solver.standing import Proved, report, still_proved
from memplan.solver.techniques import Techniques
from memplan.solver.time_bound import linear_time_lower_bound, time_lower_bound

__all__ = [
    "Mask",
    "OtherMicroBatches",
    "Pursuit",
    "Raises",
    "Side",
    "cannot_improve",
    "carried_from_best",
    "carry_over",
    "fits",
    "is_poor",
    "offer_as_it_is",
    "pack_found",
    "shrink",
    "try_mask",
]

Mask = Mapping[str, LayerUpdate]
Steps = tuple[tuple[int, int], ...]

#: What carrying a schedule over to another mask takes, per step; measured.
_SECONDS_PER_STEP = 5e-5
#: What measuring the reach of one layer takes, per operation; measured.
_SECONDS_PER_REACH = 2.5e-5
#: Layers that are measured before a search, if there are so many.
_LEAST_REACH_SAMPLES = 24
#: As many masks have their tables kept: those that the stages of a search come back to.
_MOST_TABLES = 4
#: With less per step, a packing that is not found at once is seldom found at all.
_PACKING_SECONDS_PER_STEP = 2e-4
#: What exceeds the room by so much is searched again at a limit that is lower by so many times it.
#: Without a plan, and with time for a few such rounds only, by more.
_LOWERED, _LOWERED_IN_A_HURRY, _HURRY_ROUNDS = 1.1, 1.6, 3
#: Once something fits, a limit that was lowered in a hurry is lowered by so much of that.
_LESS_LOWERED = 0.6
#: So much longer than the fastest schedule that was found takes a plan that is as good as none.
_POOR = 1.05
#: Where there is no plan, what packing the schedule of the least peak may take of packing's time.
_LEAST_SHARE = 0.2


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
        """Return a proven bound on the time of every plan of this mask; found once."""
        key = frozenset(mask.values())
        if key not in self._least_time_ns:
            table = self.table(mask)
            if not self.linear:
                return time_lower_bound(table)
            # Without a limit where nothing may depend on the wall.
            seconds = 1e6 if self.instance.request.deterministic else 2.0
            self._least_time_ns[key] = linear_time_lower_bound(table, seconds, self.clock)
        return self._least_time_ns[key]

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
            most = sum(max(choice.units) for choice in choices)
            proof = still_proved(best, self.proved, most)
        bound = min((s.bound.bytes for s in self.sides), default=None)
        choice = any(len(choice.options) > 1 for choice in choices)
        return report(self.stage, elapsed_seconds, best, proof, bound, choice)


def fits(solution: Solution) -> bool:
    """Tell whether a solution keeps the budget and the compute limit."""
    instance = solution.instance
    return solution.worth.arena_bytes <= instance.limit_bytes and (
        solution.table.within_compute(solution.schedule)
    )


def cannot_improve(pursuit: Pursuit, side: Side, mask: Mask) -> bool:
    """Tell whether every plan of this mask is worse than the incumbent."""
    if pursuit.best is None or not pursuit.techniques.micro_batch_bounds:
        return False
    table = side.table(mask)
    importance = sum(choice.units[0] for choice in table.instance.choices)
    best = pursuit.best.worth
    return (-importance, time_lower_bound(table)) > (best.minus_importance, best.time_ns)


def carry_over(pursuit: Pursuit, side: Side, mask: Mask) -> bool:
    """Tell whether the incumbent's schedule, with what else ``mask`` needs, fits as it is."""
    table = side.table(mask)
    for steps in carried_from_best(pursuit, table):
        side.known(mask).append(steps)
        if offer_as_it_is(pursuit, table, steps):
            return True
    return False


def carried_from_best(pursuit: Pursuit, table: Table) -> list[Steps]:
    """Return the incumbent's schedule, made one of ``table``; nothing where that cannot be."""
    best = pursuit.best
    if best is None:
        return []
    pursuit.clock.spend(_SECONDS_PER_STEP * len(best.schedule))
    carried = carried_over(best.table, best.schedule, table)
    return [] if carried is None else [carried]


def offer_as_it_is(pursuit: Pursuit, table: Table, steps: Steps) -> bool:
    """Give a schedule its addresses, if its live bytes fit; True if the plan does."""
    peak, request = live_peak(table, steps), pursuit.request
    room = table.instance.room_bytes
    if peak is None or peak > room:
        return False
    left = min(0.2, 0.1 * pursuit.left)
    solution = place(table, steps, room, left, request.seed, request.workers, pursuit.clock)
    pursuit.offer(solution)
    return fits(solution)


def try_mask(pursuit: Pursuit, side: Side, mask: Mask, seconds: float) -> bool:
    """Look for a plan with ``mask``; True if one fits.

    Where live bytes fit but no addresses are found, the schedule is searched again at a limit
    that is lower by what the packing overshot.
    """
    if pursuit.best is not None and pursuit.clock.stop():
        return False
    table = side.table(mask)
    instance = table.instance
    if instance.limit_bytes < instance.store_bytes - instance.alignment_bytes:
        return False
    until = pursuit.clock.now() + seconds
    limit = instance.room_bytes
    key = frozenset(mask.values())
    known = side.known(mask)
    if is_poor(pursuit.best, side, mask):  # first of all something that fits, and is good
        limit -= side.lowered_bytes.get(key, 0)
    if not known:
        known += carried_from_best(pursuit, table)
    for attempt in range(4):
        began = pursuit.clock.now()
        left = until - pursuit.clock.now()
        # With a given mask one miss by little is made good, even if there is no time for it.
        nearly = attempt == 1 and side.instance.fixed and limit > 0.98 * instance.room_bytes
        if attempt and (pursuit.clock.stop() or (left <= 0 and not nearly)):
            break
        found = find_schedules(
            table,
            limit,
            max(0.0, left) * (0.6 if attempt < 3 else 0.8),
            pursuit.next_seed(),
            pursuit.techniques,
            pursuit.clock,
            known,
        )
        known[:] = [*(steps for _, _, steps in found.fitting[:3]), found.least]
        overshoot = pack_found(pursuit, table, found, max(0.05, 0.3 * left))
        if overshoot == 0:
            if key in side.hurried:  # next time by less: more live bytes, less time
                side.lowered_bytes[key] = int(_LESS_LOWERED * (instance.room_bytes - limit))
            return True
        if overshoot is not None:
            hurries = pursuit.left < _HURRY_ROUNDS * (pursuit.clock.now() - began)
            if hurries and pursuit.best is None:
                side.hurried.add(key)
                factor = _LOWERED_IN_A_HURRY
            else:
                factor = _LOWERED
            limit = int(limit - factor * overshoot)
        else:  # that was too low
            limit = (limit + instance.room_bytes) // 2
        side.lowered_bytes[key] = instance.room_bytes - limit
    return False


def is_poor(best: Solution | None, side: Side, mask: Mask) -> bool:
    """Tell whether there is no plan, or one that should be hastened before anything else.

    It takes much longer than a schedule of the same mask that was found, or is of a limit that was
    lowered in a hurry.
    """
    if best is None:
        return True
    known = [steps for steps in side.known(mask) if steps]
    if best.instance.samples != side.samples or best.instance.mask() != mask or not known:
        return False
    if frozenset(mask.values()) in side.hurried:
        return True
    fastest = min(best.table.trip_time_ns(steps) for steps in known)
    return best.table.trip_time_ns(best.schedule) > _POOR * fastest


def pack_found(pursuit: Pursuit, table: Table, found: Found, seconds: float) -> int | None:
    """Find addresses for the schedules that fit in live bytes, the fastest first.

    Returns:
        Bytes by which the best packing exceeds the room (0: it fits); None if no schedule fits.
    """
    request, instance = pursuit.request, table.instance
    until = pursuit.clock.now() + seconds
    least: int | None = None
    # Rather a few for long enough than all in vain: they are alike, as a rule.
    steps = max((len(schedule) for _, _, schedule in found.fitting), default=1)
    tried = found.fitting[: max(1, int(seconds / (_PACKING_SECONDS_PER_STEP * steps)))]
    if pursuit.best is None and len(found.fitting) > 1 and found.least:
        # First of all something that fits: what leaves the most room is packed the most easily.
        room, left = instance.room_bytes, _LEAST_SHARE * seconds
        clock = pursuit.clock
        pursuit.offer(place(table, found.least, room, left, request.seed, request.workers, clock))
    for number, (_, _, schedule) in enumerate(tried):
        share = max(0.05, (until - pursuit.clock.now()) / (len(tried) - number))
        solution = place(
            table,
            schedule,
            instance.room_bytes,
            share,
            request.seed,
            request.workers,
            pursuit.clock,
        )
        pursuit.offer(solution)
        if fits(solution):
            return 0
        over = solution.worth.arena_bytes - instance.limit_bytes
        least = over if least is None else min(least, over)
    if not found.fitting and found.least:
        pursuit.offer(place(table, found.least, None, 0.0))
    return least


def shrink(pursuit: Pursuit, side: Side, mask: Mask, seconds: float) -> None:
    """Look for the smallest plan of a mask, whatever it costs."""
    table = side.table(mask)
    instance = table.instance
    clock, until = pursuit.clock, pursuit.clock.now() + seconds
    found = smallest_peak(
        table,
        max(0, side.bound.bytes - instance.store_bytes),
        0.6 * seconds,
        pursuit.next_seed(),
        clock,
        pebbling=pursuit.techniques.pebbling,
    )
    if not found.least or found.least_peak is None:
        return
    seed = pursuit.request.seed
    solution = place(table, found.least, None, 0.15 * seconds, seed, clock=clock)
    pursuit.offer(solution)
    # Where packing exceeds the peak, schedules with a little more room may pack into less.
    low, high = found.least_peak, solution.worth.arena_bytes - instance.store_bytes
    orders = starting_orders(table)
    while low < high and not clock.over(until) and pursuit.techniques.pebbling:
        limit = (low + high) // 2
        for steps in deep_within(table, orders, limit, until, clock, pursuit.next_seed()):
            if table.within_compute(steps):
                left = 0.3 * max(0.0, until - clock.now())
                solution = place(table, steps, limit, left, seed, clock=clock)
                pursuit.offer(solution)
                high = min(high, solution.worth.arena_bytes - instance.store_bytes)
        low = limit + 1
