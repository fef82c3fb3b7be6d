"""Attribution: successive samples and reservations of one device become usage, stretch by stretch. Pure and exact.

What is known arrives at different times: busy time with the driver's buffer, processes every few seconds, energy with
the counter. A device's time is attributed only up to the instant to which all of it is known.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from gputally.accounting.settlement import Coverage, Stretch
from gputally.accounting.stretch import Figures
from gputally.agent.attribution.busy import BusyTrack, Piece
from gputally.agent.attribution.energy import EnergyTrack, IdlePower
from gputally.agent.attribution.growing import Clients, Growing, GrowingPart, PartFacts
from gputally.agent.attribution.instances import Instances
from gputally.agent.attribution.process_track import Owners, ProcessInterval, ProcessTrack, Tally
from gputally.agent.attribution.quality import QualityTrack
from gputally.agent.clock import Instant
from gputally.agent.held import Held, HeldInstance
from gputally.agent.sample import DeviceInfo, DeviceSample

_FOREVER = 1 << 62
_FELL_OFF_THE_BUS = 79  # NVIDIA's Xid catalogue


@dataclass(frozen=True, slots=True)
class Usage:
    """The integral over (start_us, end_us] of one device: the facts that settlement divides.

    `ghost_byte_us`: memory of processes that no longer exist, bytes times microseconds.
    """

    start_us: int
    end_us: int
    stretch: Stretch  # energy, idle power and quality are filled in when the window closes, as they are known later
    ghost_byte_us: int = 0


_Part = TypeVar("_Part", Piece, ProcessInterval)
_Value = TypeVar("_Value")


class DeviceAccount:
    """One device: what is known of it, and up to when its time was attributed (`done_us`)."""

    def __init__(
        self, instant: Instant, sample: DeviceSample, held: Held, interval_us: int, idle: IdlePower, owners: Owners
    ) -> None:
        self.info: DeviceInfo = sample.info
        self.start_us = self.done_us = instant.us
        self._epoch_us = instant.us  # since when it has the partitions that it has
        self.idle_power = idle
        self.energy = EnergyTrack()
        self.quality = QualityTrack()
        self.instances = Instances(interval_us)
        self.instances.repartition(instant.us, sample.info)
        self._busy = BusyTrack(instant.us, interval_us, sample.reading)
        self._pieces: deque[Piece] = deque()
        self._processes = ProcessTrack(instant.us, owners, held, sample.detail)
        self._intervals: deque[ProcessInterval] = deque()
        self._held: deque[tuple[int, Held]] = deque([(instant.us, held)])
        self._available: deque[tuple[int, bool]] = deque([(instant.us, not _is_unavailable(sample))])
        self._await_energy = False
        self._open: Growing | None = None
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
        known_us = min(self._busy.known_us, self._processes.known_us, self.instances.known_us)
        return known_us if energy_us is None else min(known_us, energy_us)

    def hold(self, at_us: int, held: Held) -> None:
        """The kubelet's word changed at this instant (or at what is attributed already, if it is older)."""
        if held != self.held:
            self._held.append((max(at_us, self.done_us, self._epoch_us, self._held[-1][0]), held))

    def is_repartitioned(self, info: DeviceInfo) -> bool:
        """Whether the device has other partitions than it had."""
        was = self.info
        if was is info:
            return False
        before, after = ((i.mig_enabled, i.slices, i.instances) for i in (was, info))
        return before != after

    def observe(self, instant: Instant, sample: DeviceSample) -> None:
        """Take this device's part of one sample."""
        if self.is_repartitioned(sample.info):
            self.instances.repartition(instant.us, sample.info)
            self._epoch_us = instant.us
        self.info = sample.info
        self.idle_power.observe(instant.us, sample)
        if _is_unavailable(sample):
            self._turn(instant.us, available=False)
        elif sample.reading is not None:
            if not self._available[-1][1]:
                self._turn(instant.us, available=True)
            else:
                self._pieces += self._busy.extend(instant.us, sample.reading, instant.offset_us)
            if sample.reading.instances:
                self.instances.observe(instant, sample.reading.instances)
            self.quality.observe(sample.reading.gpm, instant.offset_us)
            self._take_energy(instant.us, sample)
            if sample.detail is not None:
                since_us = sample.detail.since_us
                since_us = None if since_us is None else since_us + instant.offset_us
                self._intervals += self._processes.extend(instant.us, since_us, sample.detail, self.held)

    def _turn(self, now_us: int, *, available: bool) -> None:
        was = self._available[-1][1]
        self._pieces += self._busy.give_up(now_us, now_us, hold=was)
        self.instances.give_up(now_us, now_us, hold=was)
        self._intervals += self._processes.give_up(now_us)
        self._await_energy = False
        if was != available:
            self._available.append((now_us, available))

    def _take_energy(self, now_us: int, sample: DeviceSample) -> None:
        self.energy.observe(now_us, sample)
        self._await_energy = self.energy.known_us == now_us

    def give_up(self, until_us: int, silent_us: int) -> None:
        """No more will be learned of the time up to `until_us`; nothing came up to `silent_us`."""
        hold = self._available[-1][1]
        self._pieces += self._busy.give_up(until_us, silent_us, hold=hold)
        self.instances.give_up(until_us, silent_us, hold=hold)
        self._intervals += self._processes.give_up(until_us)
        self._await_energy = self._await_energy and (self.energy.known_us or 0) >= until_us

    def forget(self, before_us: int) -> None:
        """Drop what lies before an instant that was accounted for."""
        self.energy.forget(before_us)
        self.quality.forget(before_us)
        self.instances.forget(before_us)

    def quality_of(self, uuid: str, start_us: int, end_us: int) -> Figures | None:
        """The figures of quality of a MIG device, or with "" of the device itself, over (start_us, end_us]."""
        return self.instances.quality(uuid, start_us, end_us) if uuid else self.quality.between(start_us, end_us)

    def advance(self, until_us: int) -> list[Usage]:
        """Attribute up to `until_us` (at most `ready_us`); returns the stretches that ended on the way."""
        ended = []
        while self.done_us < until_us:
            usage = self._step(until_us)
            if usage:
                ended.append(usage)
        return ended

    def _step(self, until_us: int) -> Usage | None:
        """Attribute the time at hand, in which nothing changes; returns the stretch that it ends, if it ends one."""
        at_us = self.done_us
        interval = _at(self._intervals, at_us)
        held, held_until_us = _current(self._held, at_us)
        available, available_until_us = _current(self._available, at_us)
        end_us = min(interval.end_us, held_until_us, available_until_us, until_us)
        piece = _at(self._pieces, at_us)
        coverage = self._coverage(piece, held)
        pieces = [self.instances.piece(instance.uuid, at_us) for instance in held.instances]
        facts: list[PartFacts] = []
        if pieces:
            end_us = min(end_us, piece.end_us, *(each.end_us for each in pieces))
            parts = zip(held.instances, pieces, strict=True)
            facts = [self._facts_of_instance(instance, each, coverage, interval) for instance, each in parts]
            whole = PartFacts(Coverage.NO_SAMPLE if coverage is Coverage.NO_SAMPLE else Coverage.MEASURED)
        else:
            whole = PartFacts(coverage, _clients(held, interval.tally("")))
        ended = None
        if self._open and not self._open.continues(held, whole, facts, available=available):
            ended = self.cut()
        if self._open is None:
            self._open = Growing.begin(at_us, held, whole, facts, available=available)
        self._grow(self._open, pieces, interval, end_us)
        return ended

    def _coverage(self, piece: Piece, held: Held) -> Coverage:
        if piece.coverage is Coverage.NO_SAMPLE or self._is_stale(piece):
            return Coverage.NO_SAMPLE
        return piece.coverage if held.known else Coverage.UNATTRIBUTED

    def _is_stale(self, piece: Piece) -> bool:
        """No value is held across a change of reservation."""
        return piece.held and self._held[0][0] > piece.start_us

    def _facts_of_instance(
        self, instance: HeldInstance, piece: Piece, of_device: Coverage, interval: ProcessInterval
    ) -> PartFacts:
        coverage = self._coverage(piece, instance.held)
        if coverage is not Coverage.MEASURED:
            is_dark = of_device is Coverage.NO_SAMPLE and piece.coverage is not Coverage.MEASURED
            return PartFacts(Coverage.NO_SAMPLE if is_dark else coverage)
        return PartFacts(Coverage.MEASURED, _clients(instance.held, interval.tally(instance.uuid), estimated=True))

    def _grow(self, growing: Growing, pieces: Sequence[Piece], interval: ProcessInterval, until_us: int) -> None:
        """Add the time at hand to the open stretch."""
        start_us = self.done_us
        if pieces:
            for instance, part, piece in zip(growing.held.instances, growing.instances, pieces, strict=True):
                part.add_piece(piece, until_us - start_us)
                part.add_tally(interval.tally(instance.uuid), until_us - start_us)
            self.done_us = until_us
        else:
            self._grow_whole(growing.whole, until_us)
            growing.whole.add_tally(interval.tally(""), self.done_us - start_us)
        growing.ghosts += interval.ghost_bytes * (self.done_us - start_us)

    def _grow_whole(self, part: GrowingPart, until_us: int) -> None:
        """Add pieces for as long as what is known of them stays the same."""
        coverage = part.facts.coverage
        while self.done_us < until_us:
            piece = _at(self._pieces, self.done_us)
            is_plain = piece.coverage is coverage and not piece.held
            if not is_plain and self._coverage(piece, part.held) is not coverage:
                break
            end_us = min(piece.end_us, until_us)
            part.add_piece(piece, end_us - self.done_us)
            self.done_us = end_us

    def cut(self) -> Usage | None:
        """End the open stretch where attribution stands (a window's edge) and return it."""
        opened, self._open = self._open, None
        if opened is None:
            return None
        return Usage(opened.start_us, self.done_us, opened.stretch(self.done_us), opened.ghosts)


def _clients(held: Held, tally: Tally, *, estimated: bool = False) -> Clients:
    """The holders that run a client, where nobody can tell clients apart; None where somebody can."""
    if not (estimated or tally.mps) or not held.shared:
        return None
    return frozenset(holding.owner for holding in held.holdings) & {held.as_held(owner) for owner in tally.live}


def _is_unavailable(sample: DeviceSample) -> bool:
    return sample.unavailable or _FELL_OFF_THE_BUS in sample.xids


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
