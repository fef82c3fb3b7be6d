"""Settlement: how a stretch of time on one device is divided among owners and states. Pure and exact.

A device is divided as a whole, or, where it is partitioned, instance by instance; its energy is then divided over all
of them together. Rounding happens once, when the window closes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction

from gputally.accounting.amounts import Amounts, Settled
from gputally.accounting.division import Division, in_proportion, platform_key, reserved_key
from gputally.accounting.keys import PLATFORM, PLATFORM_KEY, Holding, LineKey, Owner
from gputally.accounting.states import Basis, Reason, State
from gputally.accounting.stretch import ZERO, Contest, Coverage, InstanceStretch, Stretch

__all__ = ["ZERO", "Amounts", "Contest", "Coverage", "Settled", "Stretch", "edge_holders", "reserved_key", "settle"]

_NANOJOULES_PER_MILLIJOULE = 1_000_000
_REMAINDER = platform_key(Reason.MIG_REMAINDER)


def settle(stretch: Stretch) -> Settled:
    """Divide the stretch: the times of all lines sum to its duration, the energies to its energy."""
    division = Division(stretch)
    if not stretch.available:
        division.line(PLATFORM_KEY).add_time(State.UNAVAILABLE, division.time)
        division.shares[PLATFORM_KEY] = Fraction(1)
    elif stretch.instances:
        _book_instances(division)
    else:
        division.book()
    _divide_energy(stretch, division)
    for uuid, holding in _holdings(stretch):
        if holding.containers:
            _split_over_containers(replace(holding, partition=uuid or holding.partition), division.lines)
    return division.lines


def edge_holders(stretch: Stretch) -> tuple[Holding, ...]:
    """Who holds what of the device, as its lines say it: by container, and shares of the whole device."""
    shares: dict[tuple[Owner, str], Fraction] = {}
    scale = {instance.uuid: instance.share for instance in stretch.instances}
    for uuid, holding in _holdings(stretch):
        owners = holding.containers or (holding.owner,)
        for owner in owners:
            key = (owner, uuid or holding.partition)
            part = holding.share * scale.get(uuid, Fraction(1)) / len(owners)
            shares[key] = shares.get(key, ZERO) + part
    return tuple(Holding(owner, partition, share) for (owner, partition), share in shares.items())


def _holdings(stretch: Stretch) -> Iterator[tuple[str, Holding]]:
    """Every holding, with the UUID of its instance."""
    if stretch.instances:
        for instance in stretch.instances:
            yield from ((instance.uuid, holding) for holding in instance.stretch.holdings)
    else:
        yield from (("", holding) for holding in stretch.holdings)


# Instances.


def _book_instances(whole: Division) -> None:
    """Each instance is a device of its own, of which the whole device has a share; the rest is held by nobody."""
    parts = [(instance, Division(instance.stretch)) for instance in whole.stretch.instances]
    for _, part in parts:
        part.book()
    any_measured = any(i.stretch.coverage is Coverage.MEASURED for i in whole.stretch.instances)
    for instance, part in parts:
        if any_measured and instance.stretch.coverage is not Coverage.MEASURED:
            part.busy = _unobserved(part.lines)  # its energy follows its time, which nobody saw
        _take_over(whole, instance, part)
    rest = 1 - sum((instance.share for instance in whole.stretch.instances), ZERO)
    if rest:
        dark = whole.stretch.coverage is Coverage.NO_SAMPLE
        key = platform_key(Reason.NO_SAMPLE) if dark else _REMAINDER
        whole.line(key).add_time(State.UNOBSERVED if dark else State.UNALLOCATED, rest * whole.time)
        whole.shares[key] = whole.shares.get(key, ZERO) + rest


def _unobserved(lines: Settled) -> dict[LineKey, Fraction]:
    return {key: line.states[State.UNOBSERVED] for key, line in lines.items() if State.UNOBSERVED in line.states}


def _take_over(whole: Division, instance: InstanceStretch, part: Division) -> None:
    """Add what an instance's lines get: times and weights by its share, under its name."""
    for key, amounts in part.lines.items():
        amounts.scale_time(instance.share)
        whole.line(_within(instance, key)).merge(amounts)
    for weights, parts in ((whole.shares, part.shares), (whole.busy, part.busy)):
        for key, weight in parts.items():
            named = _within(instance, key)
            weights[named] = weights.get(named, ZERO) + weight * instance.share


def _within(instance: InstanceStretch, key: LineKey) -> LineKey:
    """The platform's partition is always the whole device."""
    return key if key.owner == PLATFORM else replace(key, partition=instance.uuid)


# Energy.


def _divide_energy(stretch: Stretch, division: Division) -> None:
    """The idle part goes by share, the dynamic part by busy time; where nobody was busy, by share as well."""
    if not stretch.energy_mj:
        return
    idle = ZERO
    if stretch.idle_power_mw is not None:
        nanojoules = stretch.idle_power_mw * stretch.duration_us
        idle = min(Fraction(nanojoules, _NANOJOULES_PER_MILLIJOULE), stretch.energy_mj)
    busy: Mapping[LineKey, Fraction] = {key: b for key, b in division.busy.items() if b}
    for key, part in in_proportion(idle, division.shares):
        division.line(key).energy_idle_mj += part
    for key, part in in_proportion(stretch.energy_mj - idle, busy or division.shares):
        division.line(key).energy_dynamic_mj += part


# Claims.


def _split_over_containers(holding: Holding, lines: Settled) -> None:
    """A pod holds its claim as one; what it gets is split evenly over the containers that list the claim."""
    mine = (holding.partition, holding.owner, Basis.RESERVATION)
    for key in [key for key in lines if (key.partition, key.owner, key.basis) == mine]:
        amounts = lines.pop(key)
        amounts.scale(Fraction(1, len(holding.containers)))
        for owner in holding.containers:
            lines.setdefault(replace(key, owner=owner), Amounts()).merge(amounts)
