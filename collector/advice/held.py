"""What pods held in the last week, in time and money, by the model, device and partition that they held."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import Connection

from gputally.accounting.states import OwnerKind, State
from gputally.collector.advice.advice import Spent
from gputally.collector.advice.asked import Asked, pieces
from gputally.collector.allocation.allocation import read_usage
from gputally.collector.allocation.amounts import Amounts
from gputally.collector.allocation.filter import Clause, Filter, Operator
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.money import Money
from gputally.collector.allocation.query import Query, TooMany
from gputally.collector.allocation.table import Row

_STATES = tuple(State)
_NAMED = 1_000  # UIDs in a statement


class PodKey(NamedTuple):
    """A pod that is known by its UID."""

    cluster: str
    namespace: str
    pod: str
    uid: str


class Held(NamedTuple):
    """What a pod had of a partition."""

    pod: PodKey
    workload: str
    model: str
    uuid: str
    partition: str
    amounts: Amounts
    money: Money


_KEYS = (By.CLUSTER, By.NAMESPACE, By.POD, By.POD_UID, By.WORKLOAD, By.MODEL, By.DEVICE, By.PARTITION)


def read_held(connection: Connection, asked: Asked, uids: Sequence[str]) -> Iterator[Held]:
    """Of the pods with these UIDs; raises QueryError."""
    for some in pieces(sorted(set(uids))):
        where = Filter((Clause(By.POD_UID, Operator.IS, tuple(some)),))
        query = Query(asked.week, asked.zone, _KEYS, where=where, scope=asked.scope)
        places = [query.keys.index(key) for key in _KEYS]
        for row in read_usage(connection, asked.zone, query):
            if row.owner == OwnerKind.POD:
                yield _held(row, [row.keys[place] for place in places])


def read_together(
    connection: Connection, asked: Asked, wanted: Collection[tuple[str, ...]], partition: str, keys: tuple[By, ...]
) -> Iterator[Row]:
    """What pods held of one kind of partition, each by other keys; raises QueryError.

    `wanted` are values of these keys, each with a pod's UID behind them. Many are picked out here: a statement with
    their names takes longer than the rows of all others, unless these are too many.
    """
    uids = sorted({uid for *_, uid in wanted})
    try:
        rows = _by_uid(connection, asked, partition, keys, uids if len(uids) <= _NAMED else ())
    except TooMany:
        if len(uids) <= _NAMED:
            raise
        rows = (row for some in pieces(uids) for row in _by_uid(connection, asked, partition, keys, some))
    return (replace(row, keys=row.keys[:-1]) for row in rows if row.owner == OwnerKind.POD and row.keys in wanted)


def _by_uid(
    connection: Connection, asked: Asked, partition: str, keys: tuple[By, ...], uids: Sequence[str]
) -> Iterable[Row]:
    """Rows whose keys are these and the UID; of all pods where no UIDs are given."""
    clauses = [Clause(By.PARTITION, Operator.IS, (partition,))]
    if uids:
        clauses.append(Clause(By.POD_UID, Operator.IS, tuple(uids)))
    query = Query(asked.week, asked.zone, (*keys, By.POD_UID), where=Filter(tuple(clauses)), scope=asked.scope)
    places = [query.keys.index(key) for key in (*keys, By.POD_UID)]
    rows = read_usage(connection, asked.zone, query)
    return (replace(row, keys=tuple(row.keys[place] for place in places)) for row in rows)


def _held(row: Row, names: Sequence[str]) -> Held:
    cluster, namespace, pod, uid, workload, model, uuid, partition = names
    return Held(PodKey(cluster, namespace, pod, uid), workload, model, uuid, partition, row.amounts, row.money)


def spent(amounts: Amounts, money: Money, states: Sequence[State]) -> Spent:
    """What the time in some states came to."""
    found = Spent()
    for state in states:
        at = _STATES.index(state)
        found = found.plus(Spent(amounts.by_state[at], money.of_state(at), money.unpriced[at]))
    return found
