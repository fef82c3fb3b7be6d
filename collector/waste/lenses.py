"""Two lenses that cut across used and idle time, and are never added to either: what went into attempts that failed,
and how far ranks stayed behind their gang.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from sqlalchemy import BigInteger, Connection, and_, cast, func, select

from gputally.accounting.states import Basis, State
from gputally.collector.allocation.allocation import read_allocation
from gputally.collector.allocation.cells import in_scope
from gputally.collector.allocation.filter import Clause, Filter, Operator
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.money import Money
from gputally.collector.allocation.query import Query, TooMany
from gputally.collector.database.schema import device, node, owner, posting
from gputally.collector.jobs.attempts import Attempt, attempts_of
from gputally.collector.jobs.job import of_pods
from gputally.collector.jobs.pod import JobPod, Outcome
from gputally.collector.jobs.read_pods import JobName, Members, read_members
from gputally.collector.rates.cost import time_cost
from gputally.collector.rates.pricing import PRICES, Key, read_pricer
from gputally.collector.waste.read import Wasted, summed
from gputally.collector.waste.straggle import RankHour, straggling

MAX_GANG_PODS = 20_000  # as many parameters as either database takes in one statement
MAX_RANK_HOURS = 500_000  # some 200 MB
_TOO_MANY = "too many ranks to tell who straggles: ask for a shorter window, or for fewer namespaces"

_Pod: TypeAlias = tuple[str, str, str]  # namespace, name and UID, within a cluster
_Seen: TypeAlias = Mapping[JobName, Wasted]
_Gang: TypeAlias = tuple[JobName, int, str | None]  # a workload's attempt, and a role in it
_NAMED = (
    posting.join(node, node.c.id == posting.c.node_id)
    .join(device, device.c.id == posting.c.device_id)
    .join(owner, owner.c.id == posting.c.owner_id)
)
_PAID = tuple(list(State).index(state) for state in (State.USED, State.IDLE, State.UNOBSERVED))


class Lens(StrEnum):
    """What time is looked at through."""

    FAILED = "failed-attempts"
    STRAGGLING = "straggling"


@dataclass(frozen=True, slots=True)
class LensRow:
    """What a workload shows through a lens."""

    name: JobName
    lens: Lens
    found: Wasted


@dataclass(frozen=True, slots=True)
class Lenses:
    """What there is to see, the dearest first. `total` is by lens, None where it is `unknown`, which says why."""

    rows: tuple[LensRow, ...]
    total: Mapping[Lens, Wasted | None]
    unknown: Mapping[Lens, str]


class _Rank(NamedTuple):
    """A rank in an hour. Ranks of one gang are compared with each other, if they have the same role."""

    gang: _Gang
    place: Key
    hour: RankHour


def read_lenses(connection: Connection, billing: ZoneInfo, query: Query) -> Lenses:
    """What the pods of a query's period show, as far as its scope and filter let them be seen; raises QueryError.

    How it is grouped and stepped is left out of account. A lens with more pods than are ever read is unknown.
    `billing` is the zone that the ledger is booked in.
    """
    reserved = Clause(By.BASIS, Operator.IS, (Basis.RESERVATION.value,))
    asked = of_pods(query, (By.CLUSTER, By.NAMESPACE, By.WORKLOAD, By.POD, By.POD_UID))
    asked = replace(asked, where=Filter((*asked.where.clauses, reserved)))
    try:
        members = read_members(connection, billing, asked)
    except TooMany as error:
        return _lenses(dict.fromkeys(Lens, str(error)))
    looks = {Lens.FAILED: _failed, Lens.STRAGGLING: _straggling}
    return _lenses({lens: _seen(partial(look, connection, billing, asked, members)) for lens, look in looks.items()})


def _seen(look: Callable[[], _Seen]) -> _Seen | str:
    """What a lens shows, or why that is not known."""
    try:
        return look()
    except TooMany as error:
        return str(error)


def _lenses(seen: Mapping[Lens, _Seen | str]) -> Lenses:
    unknown = {lens: found for lens, found in seen.items() if isinstance(found, str)}
    known = {lens: found for lens, found in seen.items() if not isinstance(found, str)}
    rows = [LensRow(name, lens, each) for lens, found in known.items() for name, each in found.items() if each.us]
    total = {lens: summed(known[lens].values()) if lens in known else None for lens in Lens}
    return Lenses(tuple(sorted(rows, key=_order)), total, unknown)


def _order(row: LensRow) -> tuple[int, int, JobName, Lens]:
    return (-(row.found.cost or 0), -row.found.us, row.name, row.lens)


def _failed(connection: Connection, billing: ZoneInfo, asked: Query, members: Mapping[JobName, Members]) -> _Seen:
    """All reserved time of attempts that ended in failure; of replicas, of pods that did. Raises TooMany."""
    pods = {(name.cluster, *_pod(name, pod)) for name, of in members.items() for pod in _lost(of)}
    found: defaultdict[JobName, Wasted] = defaultdict(Wasted)
    if pods:
        for row in read_allocation(connection, billing, asked).rows:
            cluster, namespace, label, pod, uid = row.keys
            if (cluster, namespace, pod, uid) in pods:
                name = JobName(cluster, namespace, label)
                found[name] = found[name].plus(_paid(row.amounts.reserved_us, row.money))
    return dict(found)


def _paid(reserved_us: int, money: Money) -> Wasted:
    unpriced_us = sum(money.unpriced[at] for at in _PAID)
    cost = sum(money.by_state[at] for at in _PAID)
    return Wasted(reserved_us, 0, None if reserved_us and unpriced_us == reserved_us else cost, unpriced_us)


def _lost(members: Members) -> Iterator[JobPod]:
    attempts = attempts_of(members.pods)
    if not attempts:
        yield from (pod for pod in members.pods if pod.outcome is Outcome.FAILED)
    for attempt in attempts:
        if attempt.outcome is Outcome.FAILED:
            yield from attempt.pods


def _pod(name: JobName, pod: JobPod) -> _Pod:
    return (name.namespace, pod.name, pod.uid)


def _straggling(connection: Connection, billing: ZoneInfo, asked: Query, members: Mapping[JobName, Members]) -> _Seen:
    """How far ranks of a gang stayed behind its best, hour by hour. Raises TooMany."""
    gangs = {
        (name.cluster, *_pod(name, pod)): (name, at, pod.role)
        for name, of in members.items()
        for at, attempt in enumerate(attempts_of(of.pods))
        for pod in _ranked(attempt)
    }
    if len(gangs) > MAX_GANG_PODS:
        raise TooMany("window", _TOO_MANY)
    hours: defaultdict[int, list[_Rank]] = defaultdict(list)
    for hour_us, rank in _rank_hours(connection, asked, gangs):
        hours[hour_us].append(rank)
    pricer = read_pricer(connection, billing, asked.as_of_us, PRICES)
    found: defaultdict[JobName, Wasted] = defaultdict(Wasted)
    for hour_us, ranks in hours.items():
        for rank, us in _behind(ranks):
            name, priced = rank.gang[0], pricer.at(rank.place, hour_us)
            price = priced.rate.price
            if asked.where.holds({By.TEAM: priced.team.team or ""}):
                found[name] = found[name].plus(Wasted(us, 0, time_cost(us, price), us if price is None else 0))
    return dict(found)


def _ranked(attempt: Attempt) -> Sequence[JobPod]:
    """The pods of a gang: two ranks or more."""
    pods = [pod for pod in attempt.pods if pod.rank is not None]
    return pods if len({pod.slot for pod in pods}) > 1 else ()


def _behind(ranks: Iterable[_Rank]) -> Iterator[tuple[_Rank, int]]:
    of_gang: defaultdict[object, list[_Rank]] = defaultdict(list)
    for rank in ranks:
        of_gang[rank.gang].append(rank)
    for gang in of_gang.values():
        late = zip(gang, straggling([rank.hour for rank in gang]), strict=True)
        yield from ((rank, us) for rank, us in late if us)


def _rank_hours(
    connection: Connection, asked: Query, gangs: Mapping[tuple[str, str, str, str], _Gang]
) -> list[tuple[int, _Rank]]:
    """The hours of each rank; raises TooMany before all of them are read."""
    if not gangs:
        return []
    uids = sorted({uid for *_, uid in gangs})
    of_gangs = posting.c.owner_id.in_(select(owner.c.id).where(owner.c.pod_uid.in_(uids)))
    names = (node.c.cluster, node.c.name, owner.c.namespace, owner.c.pod, owner.c.pod_uid)
    kind = (func.min(device.c.model), func.min(posting.c.profile))  # a rank has GPUs of one kind
    sums = (cast(func.sum(column), BigInteger) for column in (posting.c.used_us, posting.c.idle_us))
    within = and_(in_scope(asked.period, asked.scope), asked.where.condition(), of_gangs)
    rows = select(posting.c.hour_us, *names, *kind, *sums).select_from(_NAMED).where(within)
    read = connection.execute(rows.group_by(posting.c.hour_us, *names).limit(MAX_RANK_HOURS + 1)).all()
    if len(read) > MAX_RANK_HOURS:
        raise TooMany("window", _TOO_MANY)
    found = []
    for hour_us, cluster, on_node, namespace, pod, uid, model, profile, used, idle in read:
        gang = gangs.get((cluster, namespace, pod, uid))
        if gang is not None:
            place = Key(cluster, on_node, model, profile, namespace)
            found.append((hour_us, _Rank(gang, place, RankHour(used, used + idle))))
    return found
