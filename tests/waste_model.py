"""What kind of waste idle time is, window by window, as docs/attribution.md defines it: the reference for the ledger's.

Slow and plain on purpose: nothing here knows of hours, postings or a database.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gputally.accounting.line import Window
from gputally.accounting.states import Basis, OwnerKind
from gputally.collector.waste.kind import Kind

LONG_US = 30 * 60_000_000
UNBROKEN_US = 120_000_000
ENDED_AFTER_US = 15 * 60_000_000

Shares = dict[Kind, tuple[int, int]]  # microseconds, and of these the provisional ones


@dataclass(frozen=True, slots=True)
class Held:
    """What a container had of a partition in one window. `memory` None: nobody knows whether a process lived."""

    pod: Hashable
    container: str
    partition: Hashable
    start_us: int
    end_us: int
    used_us: int
    idle_us: int
    memory: int | None = None

    @property
    def is_idle(self) -> bool:
        return self.idle_us > 0 and 100 * self.used_us < self.used_us + self.idle_us


def held_of(windows: Iterable[Window]) -> Iterator[Held]:
    """What containers held, by the windows of any nodes; a pod by its UID, a partition by its device too."""
    for window in windows:
        for device in window.devices:
            for line in device.lines:
                owner = line.key.owner
                if line.key.basis is Basis.RESERVATION and owner.kind is OwnerKind.POD:
                    yield Held(
                        owner.pod_uid,
                        owner.container,
                        (device.uuid, line.key.partition),
                        window.start_us,
                        window.end_us,
                        line.used_us,
                        line.idle_us,
                        line.memory_byte_s,
                    )


def waste_of(held: Iterable[Held], ended: Callable[[Hashable], bool]) -> Mapping[Hashable, Mapping[Kind, int]]:
    """The microseconds of each kind by pod."""
    return {pod: {kind: us for kind, (us, _) in shares.items()} for pod, shares in shares_of(held, ended).items()}


def shares_of(held: Iterable[Held], ended: Callable[[Hashable], bool]) -> dict[Hashable, Shares]:
    """The five kinds by pod."""
    by_pod: dict[Hashable, list[Held]] = defaultdict(list)
    for one in held:
        by_pod[one.pod].append(one)
    return {pod: _shares(rows, ended=ended(pod)) for pod, rows in by_pod.items()}


def _shares(rows: Sequence[Held], *, ended: bool) -> Shares:
    used = [row for row in rows if row.used_us]
    first_us = min((row.start_us for row in used), default=None)
    last_us = max((row.end_us for row in used), default=None)
    used_partitions = {row.partition for row in used}
    long = {(row.container, row.partition, row.start_us) for row in in_long_spells(rows)}
    found: Shares = dict.fromkeys(Kind, (0, 0))
    for row in rows:
        is_long = (row.container, row.partition, row.start_us) in long
        kind, provisional = _kind(
            row, first_us, last_us, part_used=row.partition in used_partitions, long=is_long, ended=ended
        )
        us, unsure_us = found[kind]
        found[kind] = (us + row.idle_us, unsure_us + (row.idle_us if provisional else 0))
    return found


def _kind(
    row: Held, first_us: int | None, last_us: int | None, *, part_used: bool, long: bool, ended: bool
) -> tuple[Kind, bool]:
    """The first kind that fits, and whether another may turn out to."""
    if not part_used and (first_us is not None or ended):
        return Kind.OVER_ASKED, not ended
    if first_us is None or last_us is None:
        return Kind.WAITING, True
    if row.end_us <= first_us:
        return Kind.WAITING, False
    after = row.start_us >= last_us
    if after and (ended or (long and row.memory == 0)):
        return Kind.AFTER, not ended
    return Kind.FORGOTTEN if long and row.memory else Kind.BETWEEN, after


def in_long_spells(rows: Iterable[Held]) -> Iterator[Held]:
    """The idle windows of spells of half an hour or more."""
    places: dict[Hashable, list[Held]] = defaultdict(list)
    for row in rows:
        if row.used_us or row.idle_us:
            places[row.container, row.partition].append(row)
    for of_place in places.values():
        for spell in _spells(sorted(of_place, key=lambda row: row.start_us)):
            if spell[-1].end_us - spell[0].start_us >= LONG_US:
                yield from spell


def _spells(rows: Sequence[Held]) -> Iterator[list[Held]]:
    spell: list[Held] = []
    for row in rows:
        breaks = not row.is_idle and row.used_us
        if spell and (breaks or (row.is_idle and row.start_us - spell[-1].end_us > UNBROKEN_US)):
            yield spell
            spell = []
        if row.is_idle:
            spell.append(row)
    if spell:
        yield spell
