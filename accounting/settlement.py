"""Settlement: how a stretch of time on one device is divided among owners and states. Pure and exact.

A stretch is a piece of a window in which nothing changes that decides who pays: reservations, availability, coverage.
Times are microseconds and energies millijoules, both as fractions; rounding happens once, when the window closes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction

from gputally.accounting.keys import PLATFORM, PLATFORM_KEY, WHOLE_GPU, Holding, LineKey, Owner
from gputally.accounting.states import Basis, Reason, Source, State

ZERO = Fraction(0)
_NANOJOULES_PER_MILLIJOULE = 1_000_000
_CONTESTED = LineKey(WHOLE_GPU, PLATFORM, Basis.NONE, Reason.TWO_HOLDERS)


class Coverage(Enum):
    """What is known of a stretch's activity; the value is the reason of its unobserved time."""

    MEASURED = Reason.NONE
    NO_SAMPLE = Reason.NO_SAMPLE
    NO_UTILISATION = Reason.NO_UTILISATION
    INVALID_READING = Reason.INVALID_READING
    UNATTRIBUTED = Reason.UNATTRIBUTED  # sampled, but nobody can say who held it


_NOBODY_HELD = (Reason.NO_UTILISATION, Reason.INVALID_READING)  # of these, the rest of a device is known to be free


@dataclass(frozen=True, slots=True)
class Contest:
    """A part of a device that the kubelet lists for several pods, none of which came later: nobody's to pay."""

    owners: frozenset[Owner]
    share: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """The facts of one stretch on one device.

    `busy_us` is the time with at least one kernel executing; `process_busy_us` the same per known owner of processes
    on the device, holders included. `held_us` is the part that was filled with the last value instead of a sample.
    `energy_mj` is None where no energy is known, `idle_power_mw` where the device's idle power is not known yet.
    """

    duration_us: int
    holdings: tuple[Holding, ...] = ()
    contest: Contest | None = None
    coverage: Coverage = Coverage.MEASURED
    available: bool = True
    busy_us: Fraction = ZERO
    process_busy_us: Mapping[Owner, Fraction] = field(default_factory=dict)
    source: Source = Source.NONE
    held_us: int = 0
    energy_mj: Fraction | None = None
    idle_power_mw: int | None = None


@dataclass(slots=True)
class Amounts:
    """What one line gets of a stretch, exactly. Memos (burst, intruder, held) stand outside the five states."""

    states: dict[State, Fraction] = field(default_factory=dict)
    burst_us: Fraction = ZERO
    intruder_us: Fraction = ZERO
    held_us: Fraction = ZERO
    energy_idle_mj: Fraction = ZERO
    energy_dynamic_mj: Fraction = ZERO
    source: Source = Source.NONE

    def add_time(self, state: State, time: Fraction) -> None:
        """Add `time` microseconds of `state`."""
        if time:
            self.states[state] = self.states.get(state, ZERO) + time

    def merge(self, other: "Amounts") -> None:
        """Add another stretch's amounts of the same line."""
        for state, time in other.states.items():
            self.add_time(state, time)
        self.burst_us += other.burst_us
        self.intruder_us += other.intruder_us
        self.held_us += other.held_us
        self.energy_idle_mj += other.energy_idle_mj
        self.energy_dynamic_mj += other.energy_dynamic_mj
        self.source = self.source.least_certain(other.source)


Settled = dict[LineKey, Amounts]


def settle(stretch: Stretch) -> Settled:
    """Divide the stretch: the times of all lines sum to its duration, the energies to its energy."""
    settlement = _Settlement(stretch)
    if not stretch.available:
        settlement.line(PLATFORM_KEY).add_time(State.UNAVAILABLE, Fraction(stretch.duration_us))
        settlement.divide_energy({PLATFORM_KEY: Fraction(1)}, {})
    elif stretch.coverage is not Coverage.MEASURED:
        settlement.book_unobserved()
    else:
        settlement.book_measured()
    return settlement.lines


def reserved_key(holding: Holding, reason: Reason = Reason.NONE) -> LineKey:
    """The line of a holder's reservation."""
    return LineKey(holding.partition, holding.owner, Basis.RESERVATION, reason)


class _Settlement:
    """One stretch being divided; the methods follow the rules in their order."""

    def __init__(self, stretch: Stretch) -> None:
        self.stretch = stretch
        self.time = Fraction(stretch.duration_us)
        self.lines: Settled = {}
        contested = stretch.contest.share if stretch.contest else ZERO
        self.free_share = 1 - sum((h.share for h in stretch.holdings), ZERO) - contested

    def line(self, key: LineKey) -> Amounts:
        return self.lines.setdefault(key, Amounts())

    # Time that nobody measured: each holder's share is unobserved.

    def book_unobserved(self) -> None:
        reason = self.stretch.coverage.value
        weights: dict[LineKey, Fraction] = {}
        for holding in self.stretch.holdings:
            key = reserved_key(holding, reason)
            self.line(key).add_time(State.UNOBSERVED, holding.share * self.time)
            weights[key] = weights.get(key, ZERO) + holding.share
        for key, share in self._rest_unobserved(reason).items():
            weights[key] = weights.get(key, ZERO) + share
        self.divide_energy(weights, {})

    def _rest_unobserved(self, reason: Reason) -> dict[LineKey, Fraction]:
        """Without a sample nothing is known of the rest either; with one, it is healthy and held by nobody."""
        contest = self.stretch.contest
        shares = {}
        if contest:
            self.line(_CONTESTED).add_time(State.UNOBSERVED, contest.share * self.time)
            shares[_CONTESTED] = contest.share
        if self.free_share:
            free = reason in _NOBODY_HELD
            key = PLATFORM_KEY if free else LineKey(WHOLE_GPU, PLATFORM, Basis.NONE, reason)
            self.line(key).add_time(State.UNALLOCATED if free else State.UNOBSERVED, self.free_share * self.time)
            shares[key] = self.free_share
        return shares

    # Measured time.

    def book_measured(self) -> None:
        whole = next((h for h in self.stretch.holdings if h.share == 1), None)
        weights = self._book_whole(whole) if whole else self._book_parts()
        shares = {reserved_key(h): h.share for h in self.stretch.holdings}
        if self.stretch.contest:
            shares[_CONTESTED] = self._book_contest(self.stretch.contest, weights)
        used = self._book_processes(weights)
        moved = ZERO if whole else self._book_unattributed(used, weights)
        unallocated = self.free_share * self.time - used - moved
        if unallocated:
            self.line(PLATFORM_KEY).add_time(State.UNALLOCATED, unallocated)
            self._measured_by(PLATFORM_KEY, self.stretch.source)
        if self.free_share:
            shares[PLATFORM_KEY] = self.free_share
        self._book_memo_held(shares)
        self.divide_energy(shares, weights)

    def _measured_by(self, key: LineKey, source: Source) -> None:
        line = self.line(key)
        line.source = line.source.least_certain(source)

    def _book_whole(self, holding: Holding) -> dict[LineKey, Fraction]:
        """One owner holds all of it: the device's busy time is the owner's, less what is known to be others'."""
        others = sum((b for owner, b in self._processes() if owner != holding.owner), ZERO)
        busy = max(ZERO, self.stretch.busy_us - others)
        key = reserved_key(holding)
        self.line(key).add_time(State.USED, busy)
        self.line(key).add_time(State.IDLE, self.time - busy)
        self._measured_by(key, self.stretch.source)
        return {key: busy}

    def _book_parts(self) -> dict[LineKey, Fraction]:
        """Replicas: each holder's own busy time, clipped to its share once a stretch; the rest of it is a burst."""
        weights = {}
        for holding in self.stretch.holdings:
            busy = self.stretch.process_busy_us.get(holding.owner, ZERO)
            held = holding.share * self.time
            key = reserved_key(holding)
            line = self.line(key)
            line.add_time(State.USED, min(busy, held))
            line.add_time(State.IDLE, held - min(busy, held))
            line.burst_us += busy - min(busy, held)
            self._measured_by(key, Source.PROCESS_SAMPLES)
            weights[key] = busy
        return weights

    def _book_contest(self, contest: Contest, weights: dict[LineKey, Fraction]) -> Fraction:
        """Nobody's to pay: the platform's, with the energy of those who are listed. Returns the contested share."""
        self.line(_CONTESTED).add_time(State.UNOBSERVED, contest.share * self.time)
        listed = sum((b for owner, b in self._processes() if owner in contest.owners), ZERO)
        others = sum((b for owner, b in self._processes() if owner not in contest.owners), ZERO)
        weights[_CONTESTED] = max(ZERO, self.stretch.busy_us - others) if contest.share == 1 else listed
        return contest.share

    def _processes(self) -> list[tuple[Owner, Fraction]]:
        return [(owner, busy) for owner, busy in self.stretch.process_busy_us.items() if busy > 0]

    def _book_processes(self, weights: dict[LineKey, Fraction]) -> Fraction:
        """Processes without a reservation: used in time that nobody held, intruders in the rest. Returns the used."""
        contested = self.stretch.contest.owners if self.stretch.contest else frozenset()
        holders = {h.owner for h in self.stretch.holdings}
        guests = [(o, b) for o, b in self._processes() if o not in holders and o not in contested]
        total = sum((busy for _, busy in guests), ZERO)
        used = min(total, self.free_share * self.time)
        for owner, busy in guests:
            key = LineKey(WHOLE_GPU, owner, Basis.PROCESS)
            part = used * busy / total
            self.line(key).add_time(State.USED, part)
            self.line(key).intruder_us += busy - part
            self._measured_by(key, Source.PROCESS_SAMPLES)
            weights[key] = busy
        return used

    def _book_unattributed(self, used: Fraction, weights: dict[LineKey, Fraction]) -> Fraction:
        """Busy time that no known process explains leaves idle and free time in proportion. Returns the free part."""
        known = sum((busy for _, busy in self._processes()), ZERO)
        free = self.free_share * self.time - used
        idle = {h: self.line(reserved_key(h)).states.get(State.IDLE, ZERO) for h in self.stretch.holdings}
        pool = sum(idle.values(), ZERO) + free
        unexplained = min(max(ZERO, self.stretch.busy_us - known), pool)
        if not unexplained:
            return ZERO
        for holding, time in idle.items():
            part = unexplained * time / pool
            self.line(reserved_key(holding)).add_time(State.IDLE, -part)
            self._book_moved(reserved_key(holding, Reason.UNATTRIBUTED), part, weights)
        moved = unexplained * free / pool
        self._book_moved(LineKey(WHOLE_GPU, PLATFORM, Basis.NONE, Reason.UNATTRIBUTED), moved, weights)
        return moved

    def _book_moved(self, key: LineKey, part: Fraction, weights: dict[LineKey, Fraction]) -> None:
        if part:
            self.line(key).add_time(State.UNOBSERVED, part)
            self._measured_by(key, self.stretch.source)
            weights[key] = part

    def _book_memo_held(self, shares: Mapping[LineKey, Fraction]) -> None:
        if self.stretch.held_us:
            for key, share in shares.items():
                self.line(key).held_us += share * self.stretch.held_us

    # Energy.

    def divide_energy(self, shares: Mapping[LineKey, Fraction], busy: Mapping[LineKey, Fraction]) -> None:
        """The idle part goes by share, the dynamic part by busy time; where nobody was busy, by share as well."""
        energy = self.stretch.energy_mj
        if not energy:
            return
        idle = ZERO
        if self.stretch.idle_power_mw is not None:
            nanojoules = self.stretch.idle_power_mw * self.stretch.duration_us
            idle = min(Fraction(nanojoules, _NANOJOULES_PER_MILLIJOULE), energy)
        weights = {key: b for key, b in busy.items() if b}
        for key, part in _in_proportion(idle, shares):
            self.line(key).energy_idle_mj += part
        for key, part in _in_proportion(energy - idle, weights or shares):
            self.line(key).energy_dynamic_mj += part


def _in_proportion(whole: Fraction, weights: Mapping[LineKey, Fraction]) -> list[tuple[LineKey, Fraction]]:
    total = sum(weights.values(), ZERO)
    return [(key, whole * weight / total) for key, weight in weights.items()]
