"""Attribution: successive samples and reservations of one device become usage, stretch by stretch. Pure and exact.

What is known arrives at different times: busy time with the driver's buffer, processes every few seconds, energy with
the counter. A device's time is attributed only up to the instant to which all of it is known.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeVar

from gputally.accounting.keys import Owner
from gputally.accounting.settlement import Coverage, Stretch
from gputally.accounting.states import Source
from gputally.agent.busy import BusyTrack, Piece
from gputally.agent.clock import Instant
from gputally.agent.energy import EnergyTrack, IdlePower
from gputally.agent.held import Held
from gputally.agent.sample import DeviceInfo, DeviceSample, GpuProcess, ProcessReading

_FOREVER = 1 << 62
Owners = Callable[[GpuProcess, Held], Sequence[Owner]]


@dataclass(frozen=True, slots=True)
class Usage:
    """The integral over (start_us, end_us] of one device: the facts that settlement divides."""

    start_us: int
    end_us: int
    stretch: Stretch  # energy and idle power are filled in when the window closes, as they are known later


@dataclass(frozen=True, slots=True)
class _Shares:
    """Each known owner's utilisation over an interval between two process queries, in percent."""

    end_us: int
    percent: Mapping[Owner, Fraction]


_Part = TypeVar("_Part", Piece, _Shares)
_Value = TypeVar("_Value")


@dataclass(slots=True)
class _Open:
    """The stretch that is growing. Busy amounts are percent times microseconds."""

    start_us: int
    held: Held
    available: bool
    coverage: Coverage
    busy: int = 0
    processes: dict[Owner, Fraction] = field(default_factory=dict)
    source: Source = Source.NONE
    filled_us: int = 0

    def continues(self, held: Held, coverage: Coverage, *, available: bool) -> bool:
        return (self.available, self.coverage) == (available, coverage) and self.held == held

    def add(self, piece: Piece, shares: Mapping[Owner, Fraction], duration_us: int) -> None:
        self.busy += piece.percent * duration_us
        self.source = self.source.least_certain(piece.source)
        if piece.held:
            self.filled_us += duration_us
        for named, percent in shares.items():
            owner = self.held.as_held(named)
            self.processes[owner] = self.processes.get(owner, Fraction(0)) + percent * duration_us


class DeviceAccount:
    """One device: what is known of it, and up to when its time was attributed (`done_us`)."""

    def __init__(self, instant: Instant, sample: DeviceSample, held: Held, interval_us: int, idle: IdlePower) -> None:
        self.info: DeviceInfo = sample.info
        self.start_us = self.done_us = instant.us
        self.idle_power = idle
        self.energy = EnergyTrack()
        self._busy = BusyTrack(instant.us, interval_us, sample.reading)
        self._pieces: deque[Piece] = deque()
        self._shares: deque[_Shares] = deque()
        self._shares_known_us = instant.us
        self._held: deque[tuple[int, Held]] = deque([(instant.us, held)])
        self._available: deque[tuple[int, bool]] = deque([(instant.us, not sample.unavailable)])
        self._await_energy = False
        self._last: tuple[GpuProcess, ...] = sample.detail.processes or () if sample.detail else ()
        self._open: _Open | None = None
        self.idle_power.observe(instant.us, sample)
        self._take_energy(instant.us, sample)

    @property
    def held(self) -> Held:
        """Who holds the device now."""
        return self._held[-1][1]

    @property
    def ready_us(self) -> int:
        """Up to when everything that can be known is known."""
        energy_us = self.energy.known_us if self._await_energy else None
        return min(self._busy.known_us, self._shares_known_us, _FOREVER if energy_us is None else energy_us)

    def hold(self, at_us: int, held: Held) -> None:
        """The kubelet's word changed at this instant (or at what is attributed already, if it is older)."""
        if held != self.held:
            self._held.append((max(at_us, self.done_us, self._held[-1][0]), held))

    def observe(self, instant: Instant, sample: DeviceSample, owners: Owners) -> None:
        """Take this device's part of one sample."""
        self.info = sample.info
        self.idle_power.observe(instant.us, sample)
        if sample.unavailable:
            self._turn(instant.us, available=False)
        elif sample.reading is not None:
            if not self._available[-1][1]:
                self._turn(instant.us, available=True)
            else:
                self._pieces += self._busy.extend(instant.us, sample.reading, instant.offset_us)
            self._take_energy(instant.us, sample)
            if sample.detail is not None:
                self._take_processes(instant, sample.detail, owners)

    def _turn(self, now_us: int, *, available: bool) -> None:
        was = self._available[-1][1]
        self._pieces += self._busy.give_up(now_us, now_us, hold=was)
        self._nobody_until(now_us)
        self._await_energy = False
        if was != available:
            self._available.append((now_us, available))

    def _take_energy(self, now_us: int, sample: DeviceSample) -> None:
        self.energy.observe(now_us, sample)
        self._await_energy = self.energy.known_us == now_us

    def _take_processes(self, instant: Instant, detail: ProcessReading, owners: Owners) -> None:
        now_us = instant.us
        if detail.since_us is not None:
            self._nobody_until(min(now_us, detail.since_us + instant.offset_us))  # a new probe: nobody was asked before
        listed = {process.pid: process for process in self._last}
        listed |= {p.pid: p for p in detail.processes or () if p.process or p.pid not in listed}  # it may be ending
        percent: dict[Owner, Fraction] = {}
        for entry in detail.busy or ():
            found = owners(listed[entry.pid], self.held) if entry.pid in listed else ()
            for owner in found:
                percent[owner] = percent.get(owner, Fraction(0)) + Fraction(entry.percent, len(found))
        self._last = detail.processes if detail.processes is not None else self._last
        if now_us > self._shares_known_us:
            self._shares.append(_Shares(now_us, percent))
            self._shares_known_us = now_us

    def _nobody_until(self, us: int) -> None:
        if us > self._shares_known_us:
            self._shares.append(_Shares(us, {}))
            self._shares_known_us = us

    def give_up(self, until_us: int, silent_us: int) -> None:
        """No more will be learned of the time up to `until_us`; nothing came up to `silent_us`."""
        self._pieces += self._busy.give_up(until_us, silent_us, hold=self._available[-1][1])
        self._nobody_until(until_us)
        self._await_energy = self._await_energy and (self.energy.known_us or 0) >= until_us

    def advance(self, until_us: int) -> list[Usage]:
        """Attribute up to `until_us` (at most `ready_us`); returns the stretches that ended on the way."""
        ended = []
        while self.done_us < until_us:
            usage = self._step(until_us)
            if usage:
                ended.append(usage)
        return ended

    def _step(self, until_us: int) -> Usage | None:
        """Attribute the piece at hand, in which nothing changes; returns the stretch that it ends, if it ends one."""
        at_us = self.done_us
        piece, shares = _at(self._pieces, at_us), _at(self._shares, at_us)
        held, held_until_us = _current(self._held, at_us)
        available, available_until_us = _current(self._available, at_us)
        end_us = min(piece.end_us, shares.end_us, held_until_us, available_until_us, until_us)
        coverage = self._coverage(piece, held)
        ended = None
        if self._open and not self._open.continues(held, coverage, available=available):
            ended = self.cut()
        if self._open is None:
            self._open = _Open(at_us, held, available, coverage)
        self._open.add(piece, shares.percent, end_us - at_us)
        self.done_us = end_us
        return ended

    def _coverage(self, piece: Piece, held: Held) -> Coverage:
        if piece.coverage is Coverage.NO_SAMPLE or (piece.held and self._held[0][0] > piece.start_us):
            return Coverage.NO_SAMPLE  # no value is held across a change of reservation
        return piece.coverage if held.known else Coverage.UNATTRIBUTED

    def cut(self) -> Usage | None:
        """End the open stretch where attribution stands (a window's edge) and return it."""
        opened, self._open = self._open, None
        if opened is None:
            return None
        stretch = Stretch(
            duration_us=self.done_us - opened.start_us,
            holdings=opened.held.holdings,
            contest=opened.held.contest,
            coverage=opened.coverage,
            available=opened.available,
            busy_us=Fraction(opened.busy, 100),
            process_busy_us={owner: amount / 100 for owner, amount in opened.processes.items()},
            source=opened.source,
            held_us=opened.filled_us,
        )
        return Usage(opened.start_us, self.done_us, stretch)


def _at(parts: deque[_Part], us: int) -> _Part:
    """The part that covers the time just after `us`; those before it are dropped."""
    while parts[0].end_us <= us:
        parts.popleft()
    return parts[0]


def _current(changes: deque[tuple[int, _Value]], us: int) -> tuple[_Value, int]:
    """The value that holds just after `us`, and until when."""
    while len(changes) > 1 and changes[1][0] <= us:
        changes.popleft()
    return changes[0][1], changes[1][0] if len(changes) > 1 else _FOREVER
