"""What pods held in the last week, in time and money, by the model, device and partition that they held."""

from collections.abc import Iterator, Sequence
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
from gputally.collector.allocation.query import Query
from gputally.collector.allocation.table import Row

_STATES = tuple(State)


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
