"""A window as it lies on the wire, tables and columns: the collector makes rows of it, and no object of any line."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from gputally.accounting.states import OwnerKind
from gputally.collector.ingest.identities import Key
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb
from gputally.proto.columns import BASES, REASONS, SOURCES, STATES, TIMES, columns

# Places in the tables of owners and partitions, and the share's numerator and denominator in lowest terms.
Holder: TypeAlias = tuple[int, int, int, int]
Amounts: TypeAlias = Sequence[int | None]

_KINDS = frozenset(kind.value for kind in OwnerKind)
_holder = attrgetter("owner", "partition", "share_numerator", "share_denominator")


class Device(NamedTuple):
    """What a window says of a device beside its lines; as in `accounting.line.DeviceWindow`."""

    uuid: str
    model: str
    capacity_us: int
    energy_start_mj: int | None
    energy_end_mj: int | None
    energy_estimated: bool
    energy_breaks: int
    start_holders: tuple[Holder, ...]
    end_holders: tuple[Holder, ...]  # the same object where nobody came or went
    unavailable_at_end: bool
    idle_power_mw: int | None
    ghost_memory_byte_s: int

    @property
    def key(self) -> Key:
        """What tells devices apart: the UUID, and the model for the case that a UUID comes twice."""
        return (self.uuid, self.model)


class Lines(NamedTuple):
    """The lines, those of the first device first: each column has one value for each. None is unknown, which is not 0.

    `device`, `partition` and `owner` are places in the window's tables, `basis`, `reason` and `source` in those of
    `proto.columns`; `times` and `quality` are columns in the order there.
    """

    device: Sequence[int]
    partition: Sequence[int]
    owner: Sequence[int]
    basis: Sequence[int]
    reason: Sequence[int]
    source: Sequence[int]
    times: Sequence[Sequence[int]]
    energy_idle_mj: Amounts
    energy_dynamic_mj: Amounts
    memory_byte_s: Amounts
    quality: Sequence[Amounts]

    def capacity_us(self) -> Iterable[int]:
        """Each line's part of its device's capacity: the sum of its states."""
        return map(sum, zip(*self.times[: len(STATES)], strict=True))


_NO_LINES = Lines((), (), (), (), (), (), ((),) * len(TIMES), (), (), (), ((),) * 5)


@dataclass(frozen=True, slots=True)
class WindowColumns:
    """A window; as in `accounting.line.Window`. `owners` are the columns of their table, `profiles` the MIG profiles of
    the partitions at the same places, "" where one has none."""

    cluster: str
    node: str
    start_us: int
    end_us: int
    skipped_us: int = 0
    waited_us: int = 0
    devices: Sequence[Device] = ()
    owners: Sequence[Key] = ()
    partitions: Sequence[str] = ()
    profiles: Sequence[str] = ()
    lines: Lines = _NO_LINES

    def by_device(self, amounts: Iterable[int]) -> list[int]:
        """A column's sum for each device."""
        sums = [0] * len(self.devices)
        for device, amount in zip(self.lines.device, amounts, strict=True):
            sums[device] += amount
        return sums

    def conservation_error_us(self) -> int:
        """The sum over devices of |states - capacity|, microseconds; must be 0 (I1)."""
        states = self.by_device(self.lines.capacity_us())
        return sum(abs(us - device.capacity_us) for us, device in zip(states, self.devices, strict=True))

    def named(self) -> set[int]:
        """The places of the owners whom lines or edges name."""
        places = set(self.lines.owner)
        if len(places) < len(self.owners):
            edges = chain.from_iterable((*device.start_holders, *device.end_holders) for device in self.devices)
            places.update(holder[0] for holder in edges)
        return places


def read(message: pb.Window) -> WindowColumns:
    """The window that a message carries; raises WireError where it contradicts itself, as `codec.decode` does."""
    try:
        return _read(message)
    except (IndexError, ValueError, ZeroDivisionError) as error:
        codec.decode(message)  # has the words for it
        raise codec.WireError(f"window {message.sequence} of {message.node}: {error}") from error


def head(message: pb.Window) -> WindowColumns:
    """What a message says of its window's place, whatever else is in it."""
    return WindowColumns(message.cluster, message.node, message.start_us, message.end_us)


def _read(message: pb.Window) -> WindowColumns:
    owners = [_owner(owner) for owner in message.owners]
    if not _KINDS.issuperset(owner[0] for owner in owners):
        raise ValueError("an owner of no known kind")
    partitions = list(message.partitions)
    return WindowColumns(
        message.cluster,
        message.node,
        message.start_us,
        message.end_us,
        message.skipped_us,
        message.waited_us,
        [
            _device(device, model, len(owners), len(partitions))
            for device, model in zip(message.devices, codec.models(message), strict=True)
        ],
        owners,
        partitions,
        _profiles(message.profiles, partitions),
        _lines(message, len(owners), len(partitions)),
    )


def _owner(owner: pb.Owner) -> Key:
    """The columns of its table."""
    return (
        owner.kind,
        owner.namespace,
        owner.pod,
        owner.container,
        codec.pod_uid(owner),
        owner.first_seen_us,
        owner.user,
        owner.unit,
    )


def _profiles(profiles: Sequence[str], partitions: Sequence[str]) -> Sequence[str]:
    if not profiles:
        return [""] * len(partitions)
    known = {name: profile for name, profile in zip(partitions, profiles, strict=True) if profile}
    return [known.get(name, "") for name in partitions]


def _device(device: pb.Device, model: str, owners: int, partitions: int) -> Device:
    start = _holders(device.start_holders, owners, partitions)
    # Mostly nobody came or went: then both edges are one object, which others need to look at once only.
    stays = codec.holders_stay(device)
    return Device(
        device.uuid,
        model,
        device.capacity_us,
        # To ask whether a field is there takes longer than to read it.
        device.energy_start_mj or (0 if device.HasField("energy_start_mj") else None),
        device.energy_end_mj or (0 if device.HasField("energy_end_mj") else None),
        device.energy_estimated,
        device.energy_breaks,
        start,
        start if stays else _holders(device.end_holders, owners, partitions),
        device.unavailable_at_end,
        device.idle_power_mw or (0 if device.HasField("idle_power_mw") else None),
        device.ghost_memory_byte_s,
    )


def _holders(holders: Iterable[pb.Holder], owners: int, partitions: int) -> tuple[Holder, ...]:
    found = []
    for owner, partition, numerator, denominator in map(_holder, holders):
        if owner >= owners or partition >= partitions:
            raise IndexError("a holder outside the tables")
        found.append((owner, partition, *_share(numerator, denominator)))
    return tuple(found)


@lru_cache(1024)  # a fleet has a few dozen
def _share(numerator: int, denominator: int) -> tuple[int, int]:
    return Fraction(numerator, denominator).as_integer_ratio()


def _lines(message: pb.Window, owners: int, partitions: int) -> Lines:
    found = _full_columns(message.lines)
    if not message.lines.count:
        return _NO_LINES
    places = (len(message.devices), partitions, owners, len(BASES), len(REASONS), len(SOURCES))
    for column, size in zip(found, places, strict=False):
        if not 0 <= min(column) <= max(column) < size:
            raise IndexError("a line outside the tables")
    found = _in_order(found)
    *times, idle_mj, dynamic_mj, memory, quality_us, sm, occupancy, tensor, dram, unmetered = found[len(places) :]
    device, partition, owner, basis, reason, source = found[: len(places)]
    idle_known = [part.idle_energy_known for part in message.devices]
    known = [part.energy_known for part in message.devices]
    return Lines(
        device,
        partition,
        owner,
        basis,
        reason,
        source,
        times,
        _energies(idle_mj, idle_known, device, unmetered),
        _energies(dynamic_mj, known, device, unmetered),
        [amount - 1 if amount else None for amount in memory],
        _measured(quality_us, (quality_us, sm, occupancy, tensor, dram)),
    )


def _full_columns(lines: pb.Lines) -> list[Sequence[int]]:
    found = columns(lines)
    zeros = (0,) * lines.count
    return [column[:] if column else zeros for column in found]


def _in_order(found: list[Sequence[int]]) -> list[Sequence[int]]:
    """The columns with the lines of the first device first, whatever order they came in."""
    device = found[0]
    if list(device) == sorted(device):
        return found
    order = sorted(range(len(device)), key=device.__getitem__)
    return [[column[at] for at in order] for column in found]


def _energies(
    amounts: Sequence[int], known: Sequence[bool], device: Sequence[int], unmetered: Sequence[int]
) -> Amounts:
    """A column of energies, None where it says nothing: on devices that do not know it, and on lines marked so."""
    if all(known) and not any(unmetered):
        return amounts
    lines = zip(amounts, device, unmetered, strict=True)
    return [amount if known[at] and not is_hidden else None for amount, at, is_hidden in lines]


def _measured(quality_us: Sequence[int], figures: Sequence[Sequence[int]]) -> Sequence[Amounts]:
    """The figures of quality, None on lines of which nothing was measured."""
    if not any(quality_us):
        return ((None,) * len(quality_us),) * len(figures)
    return [
        [figure if measured_us else None for figure, measured_us in zip(column, quality_us, strict=True)]
        for column in figures
    ]
