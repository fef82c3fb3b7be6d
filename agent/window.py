"""Windows: usage folded into clock-aligned pieces and rounded once, when a window closes."""

from collections.abc import Callable, Container, Iterable
from dataclasses import replace
from fractions import Fraction

from gputally.accounting.keys import LineKey
from gputally.accounting.line import DeviceWindow, Line, Quality
from gputally.accounting.settlement import Amounts, Settled, Stretch, edge_holders, settle
from gputally.accounting.split import largest_remainder
from gputally.accounting.states import State
from gputally.accounting.stretch import Figures
from gputally.agent.attribution.account import Usage
from gputally.agent.attribution.energy import EnergyTrack
from gputally.agent.sample import DeviceInfo

Measured = Callable[[str, int, int], Figures | None]  # of a MIG device, or "" for the device, over (start, end]
_STATES = tuple(State)
_MICRO = 1_000_000


class DeviceFold:
    """One device's part of the window that is open."""

    def __init__(self, start_us: int) -> None:
        self.start_us = start_us
        self._usages: list[Usage] = []

    @property
    def end_us(self) -> int:
        """Up to when usage was folded."""
        return self._usages[-1].end_us if self._usages else self.start_us

    def fold(self, usages: Iterable[Usage | None]) -> None:
        """Add stretches; they follow each other without a hole."""
        self._usages += [usage for usage in usages if usage is not None]

    def close(self, info: DeviceInfo, track: EnergyTrack, idle_power_mw: int | None, figures: Measured) -> DeviceWindow:
        """Settle every stretch and round once: times sum to the device's time, energies to the counter's difference."""
        settled: Settled = {}
        metered: set[LineKey] = set()  # the lines that were there while the energy was known
        energies = [track.between(usage.start_us, usage.end_us) for usage in self._usages]
        for usage, energy in zip(self._usages, energies, strict=True):
            exact_mj = energy.exact_mj if energy else None
            stretch = replace(_with_quality(usage, figures), energy_mj=exact_mj, idle_power_mw=idle_power_mw)
            for key, amounts in settle(stretch).items():
                settled.setdefault(key, Amounts()).merge(amounts)
                if energy:
                    metered.add(key)
        known = [energy for energy in energies if energy]
        energy_mj = sum(energy.whole_mj for energy in known)
        capacity_us = self.end_us - self.start_us
        lines = _lines(settled, capacity_us, energy_mj, metered, idle_known=idle_power_mw is not None)
        last = self._usages[-1].stretch
        start_holders, end_holders = edge_holders(self._usages[0].stretch), edge_holders(last)
        named = {line.key.partition for line in lines} | {each.partition for each in (*start_holders, *end_holders)}
        instances = [instance for usage in self._usages for instance in usage.stretch.instances]
        return DeviceWindow(
            info.uuid,
            info.model,
            capacity_us,
            lines,
            track.value_mj(self.start_us) if known else None,
            track.value_mj(self.end_us) if known else None,
            track.estimated,
            track.breaks(self.start_us, self.end_us),
            start_holders=start_holders,
            end_holders=end_holders,
            unavailable_at_end=not last.available,
            idle_power_mw=idle_power_mw,
            profiles={instance.uuid: instance.profile for instance in instances if instance.uuid in named},
            ghost_memory_byte_s=sum(usage.ghost_byte_us for usage in self._usages) // _MICRO,
        )


def _with_quality(usage: Usage, figures: Measured) -> Stretch:
    """The usage's stretch with what GPM measured in it, where that is one holder's."""
    stretch = usage.stretch
    if stretch.instances:
        instances = [
            replace(each, stretch=replace(each.stretch, quality=figures(each.uuid, usage.start_us, usage.end_us)))
            for each in stretch.instances
        ]
        return replace(stretch, instances=tuple(instances))
    return replace(stretch, quality=figures("", usage.start_us, usage.end_us)) if stretch.sole_owner else stretch


def _lines(
    settled: Settled, capacity_us: int, energy_mj: int, metered: Container[LineKey], *, idle_known: bool
) -> tuple[Line, ...]:
    keys = sorted(settled, key=lambda key: key.text)
    times = _times(settled, keys, capacity_us)
    energies = _energies(settled, keys, energy_mj)
    lines = []
    for key in keys:
        amounts = settled[key]
        idle_mj, dynamic_mj = energies[key]
        used, idle, unallocated, unavailable, unobserved = times[key]
        line = Line(
            key,
            amounts.source,
            used,
            idle,
            unallocated,
            unavailable,
            unobserved,
            burst_us=int(amounts.burst_us),
            intruder_us=int(amounts.intruder_us),
            held_us=int(amounts.held_us),
            energy_idle_mj=idle_mj if key in metered and idle_known else None,
            energy_dynamic_mj=dynamic_mj if key in metered else None,
            memory_byte_s=int(amounts.memory_byte_us // _MICRO) if amounts.memory_known else None,
        )
        if line.capacity_us or line.energy_mj or line.burst_us or line.intruder_us or line.memory_byte_s:
            lines.append(replace(line, quality=_quality(amounts.quality, line.capacity_us)))
    return tuple(lines)


def _quality(figures: Figures | None, capacity_us: int) -> Quality | None:
    """Rounded down, and no more than the line's time, which may have been rounded down too."""
    measured_us = min(int(figures[0]), capacity_us) if figures else 0
    if not figures or not measured_us:
        return None
    sm, occupancy, tensor, dram = (min(int(each), measured_us) for each in figures[1:])
    return Quality(measured_us, sm, occupancy, tensor, dram)


def _times(settled: Settled, keys: list[LineKey], capacity_us: int) -> dict[LineKey, list[int]]:
    parts = [settled[key].states.get(state, Fraction(0)) for key in keys for state in _STATES]
    rounded = largest_remainder(capacity_us, parts)
    width = len(_STATES)
    return {key: rounded[i * width : (i + 1) * width] for i, key in enumerate(keys)}


def _energies(settled: Settled, keys: list[LineKey], energy_mj: int) -> dict[LineKey, tuple[int, int]]:
    parts = [part for key in keys for part in (settled[key].energy_idle_mj, settled[key].energy_dynamic_mj)]
    rounded = largest_remainder(energy_mj, parts)
    return {key: (rounded[2 * i], rounded[2 * i + 1]) for i, key in enumerate(keys)}
