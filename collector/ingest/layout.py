"""What a node's windows have in common for as long as nothing moves there: the tables, and who is on which line."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import TypeAlias, TypeVar

from gputally.accounting.states import OwnerKind
from gputally.collector.ingest.identities import Key
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb
from gputally.proto.columns import BASES, REASONS, SOURCES

# Places in the tables of owners and partitions, and the share's numerator and denominator in lowest terms.
Holder: TypeAlias = tuple[int, int, int, int]

PLACES = ("device", "partition", "owner", "basis", "reason", "source")
_T = TypeVar("_T")
_SHORT = 64  # places: longer columns are as many bytes as there are of them
_KINDS = frozenset(kind.value for kind in OwnerKind)
_holder = attrgetter("owner", "partition", "share_numerator", "share_denominator")


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Layout:
    """A window without its time and amounts. Compared by identity: what was found out about one is not asked twice.

    `uuids` to `unavailable` have a value for each device; `start_holders` and `end_holders` of a device are the same
    object where nobody came or went. `owners` are the columns of their table, `profiles` the MIG profiles of the
    partitions at the same places, "" where one has none. `device` to `source` have a value for each line, places in
    these tables and in those of `proto.columns`; lines of the first device come first.
    """

    uuids: Sequence[str] = ()
    models: Sequence[str] = ()
    estimated: Sequence[bool] = ()
    start_holders: Sequence[tuple[Holder, ...]] = ()
    end_holders: Sequence[tuple[Holder, ...]] = ()
    unavailable: Sequence[bool] = ()
    owners: Sequence[Key] = ()
    partitions: Sequence[str] = ()
    profiles: Sequence[str] = ()
    device: Sequence[int] = ()
    partition: Sequence[int] = ()
    owner: Sequence[int] = ()
    basis: Sequence[int] = ()
    reason: Sequence[int] = ()
    source: Sequence[int] = ()
    order: Sequence[int] | None = None  # the lines' places in the message, where it has them in another order
    hides_idle: Sequence[bool] | None = None  # on which lines a figure of energy says nothing; None: on none
    hides_dynamic: Sequence[bool] | None = None

    def named(self) -> set[int]:
        """The places of the owners whom lines or edges name."""
        places = set(self.owner)
        if len(places) < len(self.owners):
            edges = chain.from_iterable((*self.start_holders, *self.end_holders))
            places.update(holder[0] for holder in edges)
        return places


def shared(values: Iterable[_T]) -> tuple[_T, ...]:
    """The values as a tuple, which is the same object for all that are equal and short: nodes of a kind have a dozen
    such columns in common. Not for values that equal those of another type, nor for texts of any length: thousands of
    columns are kept, whoever still has them."""
    found = tuple(values)
    return _first_of(found) if len(found) <= _SHORT else found


@lru_cache(4096)
def _first_of(values: tuple[_T, ...]) -> tuple[_T, ...]:
    return values


def layout_of(message: pb.Window, found: Sequence[Sequence[int]]) -> Layout:
    """The layout of a window whose lines have the columns `found`, which are checked already; raises IndexError,
    ValueError or ZeroDivisionError where it contradicts itself."""
    owners = [_owner(owner) for owner in message.owners]
    if not _KINDS.issuperset(owner[0] for owner in owners):
        raise ValueError("an owner of no known kind")
    partitions = _names(message.partitions)
    edges = [_edges(device, len(owners), len(partitions)) for device in message.devices]
    zeros = (0,) * message.lines.count
    *lines, unmetered = (column[:] if column else zeros for column in (*found[: len(PLACES)], found[-1]))
    if zeros:
        _check_places(lines, (len(edges), len(partitions), len(owners), len(BASES), len(REASONS), len(SOURCES)))
    order = _order(lines[0])
    hides_idle, hides_dynamic = (_hidden(lines[0], unmetered, known, order) for known in _metered(message))
    device, partition, owner, basis, reason, source = (shared(_in_order(column, order)) for column in lines)
    return Layout(
        [device.uuid for device in message.devices],
        _names(codec.models(message)),
        [device.energy_estimated for device in message.devices],
        [start for start, _ in edges],
        [end for _, end in edges],
        [device.unavailable_at_end for device in message.devices],
        owners,
        partitions,
        _profiles(message.profiles, partitions),
        device,
        partition,
        owner,
        basis,
        reason,
        source,
        order,
        hides_idle,
        hides_dynamic,
    )


def _owner(owner: pb.Owner) -> Key:
    """The columns of its table; texts that many owners have are one object."""
    return (
        sys.intern(owner.kind),
        sys.intern(owner.namespace),
        owner.pod,
        sys.intern(owner.container),
        codec.pod_uid(owner),
        owner.first_seen_us,
        sys.intern(owner.user),
        sys.intern(owner.unit),
    )


def _names(texts: Iterable[str]) -> tuple[str, ...]:
    """Texts that many nodes have, each one object for as long as somebody has it. They are not looked at yet: a sender
    may make them as long as a message."""
    return tuple(map(sys.intern, texts))


def _profiles(profiles: Sequence[str], partitions: Sequence[str]) -> Sequence[str]:
    if not profiles:
        return shared("" for _ in partitions)
    known = {name: profile for name, profile in zip(partitions, profiles, strict=True) if profile}
    return [known.get(name, "") for name in partitions]


def _edges(device: pb.Device, owners: int, partitions: int) -> tuple[tuple[Holder, ...], tuple[Holder, ...]]:
    start = _holders(device.start_holders, owners, partitions)
    # Mostly nobody came or went: then both edges are one object, which others need to look at once only.
    return start, start if codec.holders_stay(device) else _holders(device.end_holders, owners, partitions)


def _holders(holders: Iterable[pb.Holder], owners: int, partitions: int) -> tuple[Holder, ...]:
    found = []
    for owner, partition, numerator, denominator in map(_holder, holders):
        if owner >= owners or partition >= partitions:
            raise IndexError("a holder outside the tables")
        found.append((owner, partition, *_share(numerator, denominator)))
    return shared(found)


@lru_cache(1024)  # a fleet has a few dozen
def _share(numerator: int, denominator: int) -> tuple[int, int]:
    return Fraction(numerator, denominator).as_integer_ratio()


def _check_places(lines: Sequence[Sequence[int]], sizes: Sequence[int]) -> None:
    for column, size in zip(lines, sizes, strict=True):
        if not 0 <= min(column) <= max(column) < size:
            raise IndexError("a line outside the tables")


def _order(device: Sequence[int]) -> Sequence[int] | None:
    """The order that has the lines of the first device first; None: it is theirs."""
    if list(device) == sorted(device):
        return None
    return sorted(range(len(device)), key=device.__getitem__)


def _in_order(column: Sequence[_T], order: Sequence[int] | None) -> Sequence[_T]:
    return [column[at] for at in order] if order else column


def _metered(message: pb.Window) -> tuple[Sequence[bool], Sequence[bool]]:
    """Which devices know their idle energy, and which the rest of it."""
    return [part.idle_energy_known for part in message.devices], [part.energy_known for part in message.devices]


def _hidden(
    device: Sequence[int], unmetered: Sequence[int], known: Sequence[bool], order: Sequence[int] | None
) -> Sequence[bool] | None:
    """On which lines an energy says nothing: those of devices that do not know it, and those that are marked so."""
    hidden = [not known[at] or bool(mark) for at, mark in zip(device, unmetered, strict=True)]
    return _in_order(hidden, order) if any(hidden) else None
