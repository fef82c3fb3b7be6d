"""The rules by which one device, or one MIG instance as a device of its own, is divided. Pure and exact."""

from collections.abc import Mapping
from fractions import Fraction
from typing import TypeVar

from gputally.accounting.amounts import Amounts, Settled
from gputally.accounting.keys import PLATFORM, PLATFORM_KEY, WHOLE_GPU, Holding, LineKey, Owner
from gputally.accounting.states import Basis, Reason, Source, State
from gputally.accounting.stretch import ZERO, Contest, Coverage, Stretch

_Key = TypeVar("_Key", LineKey, Owner)
_NOBODY_HELD = (Reason.NO_UTILISATION, Reason.INVALID_READING)  # of these, the rest of a device is known to be free


def reserved_key(holding: Holding, reason: Reason = Reason.NONE) -> LineKey:
    """The line of a holder's reservation."""
    return LineKey(holding.partition, holding.owner, Basis.RESERVATION, reason)


def platform_key(reason: Reason) -> LineKey:
    """The platform's line for a reason."""
    return LineKey(WHOLE_GPU, PLATFORM, Basis.NONE, reason)


_CONTESTED = platform_key(Reason.TWO_HOLDERS)
_CLAIM_UNUSED = platform_key(Reason.CLAIM_UNUSED)


class Division:
    """One stretch being divided; the methods follow the rules in their order.

    `shares` and `busy` are the weights by which its energy goes to the lines: the idle part by share, the dynamic part
    by busy time before clipping.
    """

    def __init__(self, stretch: Stretch) -> None:
        self.stretch = stretch
        self.time = Fraction(stretch.duration_us)
        self.lines: Settled = {}
        self.shares: dict[LineKey, Fraction] = {}
        self.busy: dict[LineKey, Fraction] = {}
        self._held: dict[Owner, Fraction] = {}
        for holding in stretch.holdings:
            _add(self._held, holding.owner, holding.share)
        contested = stretch.contest.share if stretch.contest else ZERO
        self._free_share = 1 - sum(self._held.values(), ZERO) - contested
        self._contested = stretch.contest.owners if stretch.contest else frozenset()

    def book(self) -> None:
        """Divide the time: what all lines get sums to the stretch's duration."""
        if self.stretch.coverage is Coverage.MEASURED:
            self._book_measured()
        else:
            self._book_unobserved(self.stretch.coverage.value)
        if self.stretch.coverage not in (Coverage.NO_SAMPLE, Coverage.UNATTRIBUTED):
            self._book_memory()  # else there was no list of processes, or none of holders

    def line(self, key: LineKey) -> Amounts:
        """The line with this key."""
        line = self.lines.get(key)
        if line is None:
            line = self.lines[key] = Amounts()
        return line

    # Time that nobody measured: each holder's share is unobserved.

    def _book_unobserved(self, reason: Reason) -> None:
        for holding in self.stretch.holdings:
            key = reserved_key(holding, reason)
            self.line(key).add_time(State.UNOBSERVED, holding.share * self.time)
            _add(self.shares, key, holding.share)
        if self.stretch.contest:
            self.line(_CONTESTED).add_time(State.UNOBSERVED, self.stretch.contest.share * self.time)
            self.shares[_CONTESTED] = self.stretch.contest.share
        if reason in _NOBODY_HELD:
            self._book_free(self._free_share * self.time, Source.NONE)
        elif self._free_share:
            key = platform_key(reason)  # without a sample, or a list of holders, nothing is known of the rest either
            self.line(key).add_time(State.UNOBSERVED, self._free_share * self.time)
            self.shares[key] = self._free_share

    # Measured time.

    def _book_measured(self) -> None:
        busy, source = self._busy_of_holders()
        for holding in self.stretch.holdings:
            self._book_holding(holding, busy[holding.owner] * holding.share / self._held[holding.owner], source)
        if self.stretch.contest:
            self._book_contest(self.stretch.contest)
        used = self._book_processes()
        known = sum(busy.values(), ZERO) + sum((b for _, b in self._others()), ZERO)
        moved = ZERO if self.stretch.sole_owner else self._book_unattributed(known, used)
        self._book_free(self._free_share * self.time - used - moved, self.stretch.source)
        if self.stretch.held_us:
            for key, share in self.shares.items():
                self.line(key).held_us += share * self.stretch.held_us
        if self.stretch.quality and self.stretch.sole_owner:
            for holding in self.stretch.holdings:
                part = Amounts(quality=self.stretch.quality)
                part.scale_time(holding.share)
                self.line(reserved_key(holding)).merge(part)

    def _busy_of_holders(self) -> tuple[dict[Owner, Fraction], Source]:
        """Each holder's busy time, and how it was measured."""
        stretch = self.stretch
        if sole := stretch.sole_owner:
            return {sole: self._not_others()}, stretch.source
        if stretch.clients is not None:
            return self._estimated(stretch.clients), Source.ESTIMATED_SHARE
        return {owner: max(ZERO, stretch.process_busy_us.get(owner, ZERO)) for owner in self._held}, (
            Source.PROCESS_SAMPLES
        )

    def _not_others(self) -> Fraction:
        """Busy time that is not known to be of processes of others: what no process explains is the holders'."""
        return max(ZERO, self.stretch.busy_us - sum((b for _, b in self._others()), ZERO))

    def _estimated(self, clients: frozenset[Owner]) -> dict[Owner, Fraction]:
        """Nobody can tell the holders' processes apart: those that run one share the busy time as they share it."""
        live = sum((share for owner, share in self._held.items() if owner in clients), ZERO)
        busy = self._not_others()
        return {owner: busy * share / live if owner in clients else ZERO for owner, share in self._held.items()}

    def _book_holding(self, holding: Holding, busy: Fraction, source: Source) -> None:
        """The holder's own busy time, clipped to its share once a stretch; what is over is a burst."""
        held = holding.share * self.time
        used = min(busy, held)
        key = reserved_key(holding)
        line = self.line(key)
        line.add_time(State.USED, used)
        line.add_time(State.IDLE, held - used)
        line.burst_us += busy - used
        line.measured_by(source)
        _add(self.busy, key, busy)
        _add(self.shares, key, holding.share)

    def _others(self) -> list[tuple[Owner, Fraction]]:
        """Busy time of processes that are known not to be holders'."""
        return [(owner, b) for owner, b in self.stretch.process_busy_us.items() if b > 0 and owner not in self._held]

    def _book_contest(self, contest: Contest) -> None:
        """Nobody's to pay: the platform's, with the energy of those who are listed and hold nothing beside it."""
        self.line(_CONTESTED).add_time(State.UNOBSERVED, contest.share * self.time)
        listed = sum((b for owner, b in self._others() if owner in contest.owners), ZERO)
        others = sum((b for owner, b in self._others() if owner not in contest.owners), ZERO)
        self.busy[_CONTESTED] = max(ZERO, self.stretch.busy_us - others) if contest.share == 1 else listed
        self.shares[_CONTESTED] = contest.share

    def _book_processes(self) -> Fraction:
        """Processes without a reservation: used in time that nobody held, intruders in the rest. Returns the used."""
        guests = [(owner, b) for owner, b in self._others() if owner not in self._contested]
        total = sum((busy for _, busy in guests), ZERO)
        used = min(total, self._free_share * self.time)
        for owner, busy in guests:
            key = LineKey(WHOLE_GPU, owner, Basis.PROCESS)
            line, part = self.line(key), used * busy / total
            line.add_time(State.USED, part)
            if owner not in self.stretch.monitors:
                line.intruder_us += busy - part
            line.measured_by(Source.PROCESS_SAMPLES)
            self.busy[key] = busy
        return used

    def _book_unattributed(self, known: Fraction, used: Fraction) -> Fraction:
        """Busy time that no known process explains leaves idle and free time in proportion. Returns the free part."""
        free = self._free_share * self.time - used
        keys = {reserved_key(holding): reserved_key(holding, Reason.UNATTRIBUTED) for holding in self.stretch.holdings}
        idle = {key: self.line(key).states.get(State.IDLE, ZERO) for key in keys}
        pool = sum(idle.values(), ZERO) + free
        unexplained = min(max(ZERO, self.stretch.busy_us - known), pool)
        if not unexplained:
            return ZERO
        for key, time in idle.items():
            part = unexplained * time / pool
            self.line(key).add_time(State.IDLE, -part)
            self._book_moved(keys[key], part)
        moved = unexplained * free / pool
        self._book_moved(platform_key(Reason.UNATTRIBUTED), moved)
        return moved

    def _book_moved(self, key: LineKey, part: Fraction) -> None:
        if part:
            self.line(key).add_time(State.UNOBSERVED, part)
            self.line(key).measured_by(self.stretch.source)
            self.busy[key] = part

    def _book_free(self, time: Fraction, source: Source) -> None:
        """What remains is unallocated; a part of it is held by claims that no pod uses."""
        if not self._free_share:
            return
        unused = min(self.stretch.unused_share, self._free_share)
        for key, share in ((_CLAIM_UNUSED, unused), (PLATFORM_KEY, self._free_share - unused)):
            if share:
                self.shares[key] = share
            if share and time:
                self.line(key).add_time(State.UNALLOCATED, time * share / self._free_share)
                self.line(key).measured_by(source)

    # Memory.

    def _book_memory(self) -> None:
        """What processes hold: on their holder's plain line, on their own, or on the platform's if it is overhead."""
        memory = self.stretch.memory_byte_us
        if memory is None:
            return
        for holding in self.stretch.holdings:
            held = memory.get(holding.owner, 0)
            part = None if held is None else held * holding.share / self._held[holding.owner]
            self.line(reserved_key(holding)).add_memory(part)
        for owner, held in memory.items():
            if owner == PLATFORM:
                self.line(PLATFORM_KEY).add_memory(held)
            elif owner not in self._held and owner not in self._contested:
                self.line(LineKey(WHOLE_GPU, owner, Basis.PROCESS)).add_memory(held)


def in_proportion(whole: Fraction, weights: Mapping[LineKey, Fraction]) -> list[tuple[LineKey, Fraction]]:
    """Split `whole` by weights, whose sum is above 0."""
    total = sum(weights.values(), ZERO)
    return [(key, whole * weight / total) for key, weight in weights.items()]


def _add(sums: dict[_Key, Fraction], key: _Key, amount: Fraction) -> None:
    sums[key] = sums.get(key, ZERO) + amount
