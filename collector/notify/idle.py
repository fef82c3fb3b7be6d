"""Which pods hold GPUs idle for long enough to be told, by the definition of the rule ReservedGpuIdle."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, and_, func, or_, select
from sqlalchemy.sql.elements import ColumnElement

from gputally.collector.allocation.query import WHOLE
from gputally.collector.database.schema import line, window
from gputally.collector.notify.idle_pod import CRITICAL, GRACE_US, IdlePart, IdlePod, PodKey
from gputally.collector.now.latest import Part, Standing, held, read_latest
from gputally.collector.now.pods import known, rate
from gputally.collector.now.spells import Spell, read_spells
from gputally.collector.rates.pricing import Pricer, read_pricer

_US_PER_S = 1_000_000
_AT_ONCE = 200  # conditions in one statement


class Doing(StrEnum):
    """What a pod that is not told of as idle does instead."""

    USES = "in-use"  # some of what it holds is used
    COUNTED_ANEW = "counted-anew"  # idle, but a spell that could not be measured throughout has begun again
    UNSEEN = "unseen"  # its node is silent, or nothing of it could be measured
    EXEMPT = "exempt"  # its label asks not to be told


@dataclass(frozen=True, slots=True)
class Seen:
    """Pods that are idle for long, and what the other pods that hold something do; who is in neither holds nothing."""

    idle: Mapping[PodKey, IdlePod]
    doing: Mapping[PodKey, Doing]

    def without(self, exempt: Iterable[PodKey]) -> "Seen":
        """The same, where these ask not to be told of."""
        left_out = self.idle.keys() & set(exempt)
        kept = {key: pod for key, pod in self.idle.items() if key not in left_out}
        return Seen(kept, {**self.doing, **dict.fromkeys(left_out, Doing.EXEMPT)})


def read_idle(connection: Connection, zone: ZoneInfo, after_us: int, now_us: int) -> Seen:
    """What there is to tell at `now_us` of spells of `after_us` and more. What arrived should be settled before."""
    standings = list(held(read_latest(connection, now_us, WHOLE)))
    pricer = read_pricer(connection, zone)
    spells = read_spells(connection, zone, pricer, standings, now_us)
    waits = [spell for spell in spells if _may_be_granted(spell, after_us)]
    since = _held_since(connection, waits)
    return idle_pods(standings, spells, since, pricer, after_us, now_us)


def idle_pods(
    standings: Iterable[Standing],
    spells: Iterable[Spell],
    held_since: Mapping[Part, int],
    pricer: Pricer,
    after_us: int,
    now_us: int,
) -> Seen:
    """The same from what was read; `held_since` says of some parts that they were held before their spell."""
    by_part = {spell.standing.part: spell for spell in spells}
    pods: dict[PodKey, list[Standing]] = defaultdict(list)
    for one in standings:
        pods[PodKey(one.cluster, one.namespace, one.pod)].append(one)
    idle, doing = {}, {}
    for key, of_pod in pods.items():
        fresh = [one for one in of_pod if not one.silent(now_us)]
        long = [found for found in _parts(fresh, by_part, held_since) if found.part.lasts(after_us)]
        if long:
            idle[key] = _pod(key, fresh, long, pricer, now_us)
        else:
            doing[key] = _doing(fresh)
    return Seen(idle, doing)


@dataclass(frozen=True, slots=True)
class _Shared:
    """A part with the containers that share it."""

    part: IdlePart
    standings: tuple[Standing, ...]


def _parts(
    fresh: Sequence[Standing], spells: Mapping[Part, Spell], held_since: Mapping[Part, int]
) -> Iterator[_Shared]:
    """The partitions in which nothing runs: one that containers share is as idle as the busiest of them."""
    shared: dict[tuple[str, str], list[Standing]] = defaultdict(list)
    for one in fresh:
        shared[one.uuid, one.part.partition].append(one)
    for (uuid, partition), standings in shared.items():
        found = [spells[one.part] for one in standings if one.part in spells]
        if len(found) == len(standings):
            yield _Shared(_part(uuid, partition, found, held_since), tuple(standings))


def _part(uuid: str, partition: str, spells: Sequence[Spell], held_since: Mapping[Part, int]) -> IdlePart:
    last = max(spells, key=lambda spell: spell.since_us)
    until_us = min(spell.standing.end_us for spell in spells)
    since_us = max(held_since.get(spell.standing.part, spell.since_us) for spell in spells)
    return IdlePart(
        uuid,
        partition,
        sum((spell.standing.share for spell in spells), Fraction(0)),
        last.since_us,
        until_us,
        until_us - min(since_us, last.since_us),
        last.before,
        sum(spell.idle_us for spell in spells),
        known(spell.cost for spell in spells),
        sum(spell.unpriced_us for spell in spells),
    )


def _pod(key: PodKey, fresh: Sequence[Standing], long: Sequence[_Shared], pricer: Pricer, now_us: int) -> IdlePod:
    standings = [one for shared in long for one in shared.standings]
    rates = [rate(one, pricer, now_us) for one in standings]
    return IdlePod(
        key,
        pricer.at(standings[0].place, now_us).team.team or "",
        tuple(sorted({one.node for one in standings})),
        tuple(sorted({f"{one.model} {one.profile}".rstrip() for one in standings})),
        len({(one.uuid, one.part.partition) for one in fresh}),
        tuple(shared.part for shared in long),
        None if None in rates else known(rates),
        _memory(standings),
        pricer.currency or "",
    )


def _memory(standings: Iterable[Standing]) -> int | None:
    found = 0
    for one in standings:
        if one.memory_byte_s is None or one.end_us <= one.start_us:
            return None
        found += one.memory_byte_s * _US_PER_S // (one.end_us - one.start_us)
    return found


def _doing(fresh: Sequence[Standing]) -> Doing:
    measured = [one for one in fresh if one.amounts.used_us or one.amounts.idle_us]
    if not measured:
        return Doing.UNSEEN
    return Doing.COUNTED_ANEW if all(one.idle for one in measured) else Doing.USES


def _may_be_granted(spell: Spell, after_us: int) -> bool:
    """Whether what was held before the spell decides that it is told."""
    length_us = spell.standing.end_us - spell.since_us
    return any(0 <= length_us - at_us < GRACE_US for at_us in (after_us, CRITICAL * after_us))


def _held_since(connection: Connection, spells: Sequence[Spell]) -> dict[Part, int]:
    """Since when each was held before its spell, as far as that is granted for loading."""
    keys = [window.c.node_id, *(line.c[name] for name in Part._fields[1:])]
    query = select(*keys, func.min(window.c.start_us)).join_from(window, line, line.c.window_id == window.c.id)
    found: dict[Part, int] = {}
    for at in range(0, len(spells), _AT_ONCE):
        wanted = or_(*map(_before, spells[at : at + _AT_ONCE]))
        for *part, start_us in connection.execute(query.where(wanted).group_by(*keys)):
            found[Part(*part)] = start_us
    return found


def _before(spell: Spell) -> ColumnElement[bool]:
    part = spell.standing.part
    return and_(
        window.c.node_id == part.node_id,
        window.c.start_us >= spell.since_us - GRACE_US,
        window.c.start_us < spell.since_us,
        line.c.device_id == part.device_id,
        line.c.partition == part.partition,
        line.c.owner_id == part.owner_id,
    )
