"""Gaps: time of a device that no window covers, and whose it is. Pure and exact.

A gap lies between two windows in which a device stands, or after the last. Who held a partition on both sides is
charged for the smaller of the two shares; the rest is the platform's; a gap that begins while the device is
unavailable stays unavailable. Times are microseconds, energies millijoules.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from gputally.accounting.keys import Holding, LineKey, Owner
from gputally.accounting.line import Line
from gputally.accounting.settlement import ZERO, Amounts, Coverage, Stretch, settle
from gputally.accounting.split import largest_remainder
from gputally.accounting.states import Source, State

Span = tuple[int, int]  # [start, end) in microseconds since the epoch


@dataclass(frozen=True, slots=True)
class Edge:
    """What a window says about the device at a gap's side.

    `boot_id` is empty where it is not known, which is no life in common with any. `energy_mj` is the hardware counter
    there; None where it is not known, or is no counter but an integral.
    """

    at_us: int
    boot_id: str
    holders: tuple[Holding, ...] = ()
    energy_mj: int | None = None
    idle_power_mw: int | None = None
    unavailable: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """The time between two windows of a device; `after` is None while the device is still silent.

    `spans` is what of it counts, in order and disjoint: see `extent` and `without`.
    """

    before: Edge
    after: Edge | None
    spans: tuple[Span, ...]

    def lines(self, start_us: int, end_us: int) -> tuple[Line, ...]:
        """What is booked for the part in [start_us, end_us). Parts that follow each other sum to the whole."""
        time_us = _length(overlap(self.spans, [(start_us, end_us)]))
        energy_mj = self._energy_mj(start_us, end_us)
        if not time_us:
            return ()
        idle_mw = self._idle_power_mw()
        stretch = Stretch(
            time_us,
            self._holdings(),
            coverage=Coverage.NO_SAMPLE,
            available=not self.before.unavailable,
            energy_mj=None if energy_mj is None else Fraction(energy_mj),
            idle_power_mw=idle_mw,
        )
        return _rounded(settle(stretch), time_us, energy_mj, idle_known=idle_mw is not None)

    def _holdings(self) -> tuple[Holding, ...]:
        """Who held the same partition on both sides, with the smaller share."""
        before = _shares(self.before.holders)
        after = _shares(self.after.holders if self.after else ())
        both = ((key, min(share, after[key])) for key, share in before.items() if key in after)
        return tuple(Holding(owner, partition, share) for (owner, partition), share in both)

    def _idle_power_mw(self) -> int | None:
        known = self.before.idle_power_mw
        return self.after.idle_power_mw if known is None and self.after else known

    def _energy_mj(self, start_us: int, end_us: int) -> int | None:
        """The counter's difference, spread by time; whole millijoules whose sum over all parts is the difference."""
        whole = self._difference_mj()
        total_us = _length(self.spans)
        if whole is None or not total_us:
            return None
        first, last = (whole * self._elapsed_us(edge) // total_us for edge in (start_us, end_us))
        return last - first

    def _difference_mj(self) -> int | None:
        """Unknown over a restart of the node, and where the counter is not known or went backwards."""
        before, after = self.before, self.after
        if after is None or not before.boot_id or before.boot_id != after.boot_id:
            return None
        if before.energy_mj is None or after.energy_mj is None:
            return None
        difference = after.energy_mj - before.energy_mj
        return difference if difference >= 0 else None

    def _elapsed_us(self, at_us: int) -> int:
        return sum(max(0, min(end, at_us) - start) for start, end in self.spans)


def extent(whole: Span, *, same_life: bool, absent_after_us: int) -> Span:
    """The part of a gap in which the device is known to be there, where nobody but the agent tells.

    After `absent_after_us` of silence it counts as absent, unless the node is found in the same life (boot) later: then
    it was there all along.
    """
    start_us, end_us = whole
    return (start_us, end_us if same_life else max(start_us, min(end_us, start_us + absent_after_us)))


def overlap(spans: Iterable[Span], others: Sequence[Span]) -> tuple[Span, ...]:
    """What lies in both; each in order and disjoint."""
    both = ((max(a, c), min(b, d)) for a, b in spans for c, d in others)
    return tuple((start, end) for start, end in both if start < end)


def without(spans: Sequence[Span], holes: Iterable[Span]) -> tuple[Span, ...]:
    """What of the spans lies in no hole."""
    left = list(spans)
    for start, end in holes:
        left = [part for a, b in left for part in ((a, min(b, start)), (max(a, end), b)) if part[0] < part[1]]
    return tuple(left)


def _length(spans: Iterable[Span]) -> int:
    return sum(end - start for start, end in spans)


def _shares(holders: Iterable[Holding]) -> dict[tuple[Owner, str], Fraction]:
    shares: dict[tuple[Owner, str], Fraction] = {}
    for holding in holders:
        key = (holding.owner, holding.partition)
        shares[key] = shares.get(key, ZERO) + holding.share
    return shares


def _rounded(
    settled: dict[LineKey, Amounts], time_us: int, energy_mj: int | None, *, idle_known: bool
) -> tuple[Line, ...]:
    """The lines, rounded once; each has one state, `unobserved` or `unavailable`."""
    keys = sorted(settled, key=lambda key: key.text)
    parts = [sum(settled[key].states.values(), ZERO) for key in keys]
    energies = [part for key in keys for part in (settled[key].energy_idle_mj, settled[key].energy_dynamic_mj)]
    millijoules = largest_remainder(energy_mj or 0, energies)
    lines = []
    for at, (key, us) in enumerate(zip(keys, largest_remainder(time_us, parts), strict=True)):
        unavailable = State.UNAVAILABLE in settled[key].states
        line = Line(
            key,
            Source.NONE,
            unavailable_us=us if unavailable else 0,
            unobserved_us=0 if unavailable else us,
            energy_idle_mj=millijoules[2 * at] if energy_mj is not None and idle_known else None,
            energy_dynamic_mj=millijoules[2 * at + 1] if energy_mj is not None else None,
        )
        lines.append(line)
    return tuple(line for line in lines if line.capacity_us or line.energy_mj)
