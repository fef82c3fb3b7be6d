"""What the nodes said last: the lines of each node's newest window, and the parts of devices that they stand for."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Connection, FromClause, Select, and_, cast, func, select

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import OwnerKind, State
from gputally.collector.allocation.amounts import Amounts
from gputally.collector.allocation.query import Scope
from gputally.collector.database.schema import device, line, node, owner, window
from gputally.collector.ledger.idle import is_idle
from gputally.collector.rates.pricing import Key

FRESH_US = 5 * 60_000_000  # a node that said nothing for longer is silent: who holds what there now is not known
FORGOTTEN_US = 24 * HOUR_US  # a node that was silent for longer is not shown


class Part(NamedTuple):
    """Which part of a device, and who has it."""

    node_id: int
    device_id: int
    partition: str
    owner_id: int


class Standing(NamedTuple):
    """A part of a device in its node's newest window, [start_us, end_us); its lines are added up.

    `memory_byte_s` is None where it is unknown. The platform's part is what nobody has.
    """

    part: Part
    cluster: str
    node: str
    uuid: str
    model: str
    profile: str
    kind: OwnerKind
    namespace: str
    pod: str
    container: str
    user: str
    start_us: int
    end_us: int
    amounts: Amounts
    memory_byte_s: int | None

    @property
    def share(self) -> Fraction:
        """Its share of the device, as long as the window went."""
        length_us = self.end_us - self.start_us
        return Fraction(self.amounts.capacity_us, length_us) if length_us else Fraction(0)

    @property
    def idle(self) -> bool:
        """Whether it is held and measured, and less than 1 % of it used."""
        return is_idle(self.amounts.used_us, self.amounts.idle_us)

    @property
    def state(self) -> State | None:
        """What it is mostly; measured, it is idle or used. None: it has no time, as it runs in another's."""
        if self.amounts.used_us or self.amounts.idle_us:
            return State.IDLE if self.idle else State.USED
        times = dict(zip(State, self.amounts.by_state, strict=True))
        return max(times, key=lambda state: times[state]) if self.amounts.capacity_us else None

    @property
    def measured_us(self) -> int:
        """The time of which `used_us` is the busy part: what was measured while held, or all where nothing is held."""
        held_us = self.amounts.used_us + self.amounts.idle_us
        return self.end_us - self.start_us if self.kind is OwnerKind.HOST else held_us

    @property
    def place(self) -> Key:
        """What its rate depends on."""
        named = self.namespace if self.kind is OwnerKind.POD else None
        return Key(self.cluster, self.node, self.model, self.profile, named)

    def silent(self, now_us: int) -> bool:
        """Whether its node has said nothing for a while."""
        return now_us - self.end_us > FRESH_US


def read_latest(
    connection: Connection,
    now_us: int,
    scope: Scope,
    namespace: str | None = None,
    nodes: Collection[int] | None = None,
) -> list[Standing]:
    """The parts that may be seen, by cluster, node, device and partition; of one namespace where one is named, and of
    some nodes where their ids are.
    """
    query = _QUERY.where(visible(now_us, scope))
    if namespace is not None:
        query = query.where(owner.c.kind == OwnerKind.POD.value, owner.c.namespace == namespace)
    if nodes is not None:
        query = query.where(node.c.id.in_(sorted(nodes)))
    return [_standing(row) for row in connection.execute(query).all()]


def newest_lines() -> FromClause:
    """The lines of each node's newest window, with their device and owner."""
    return (
        _LAST.join(node, node.c.id == _LAST.c.id)
        .join(window, (window.c.node_id == _LAST.c.id) & (window.c.start_us == _LAST.c.start_us))
        .join(line, line.c.window_id == window.c.id)
        .join(device, device.c.id == line.c.device_id)
        .join(owner, owner.c.id == line.c.owner_id)
    )


def visible(now_us: int | ColumnElement[int], scope: Scope) -> ColumnElement[bool]:
    """Which of them may be seen, and are not of nodes that are forgotten."""
    conditions: list[ColumnElement[bool]] = [_LAST.c.start_us >= now_us - FORGOTTEN_US]
    if scope.namespaces is not None:
        named = owner.c.namespace.in_(sorted(scope.namespaces))
        conditions.append(and_(owner.c.kind == OwnerKind.POD.value, named))
    if scope.clusters is not None:
        conditions.append(node.c.cluster.in_(sorted(scope.clusters)))
    return and_(*conditions)


# One look into the index for each node, whatever the number of its windows.
_LAST = select(
    node.c.id,
    select(func.max(window.c.start_us)).where(window.c.node_id == node.c.id).scalar_subquery().label("start_us"),
).subquery()
_STATES = ("used_us", "idle_us", "unallocated_us", "unavailable_us", "unobserved_us")
_NAMES = (
    *(node.c.id, device.c.id, line.c.partition, owner.c.id),
    *(node.c.cluster, node.c.name, device.c.uuid, device.c.model, line.c.profile),
    *(owner.c.kind, owner.c.namespace, owner.c.pod, owner.c.container, owner.c.user),
    *(window.c.start_us, window.c.end_us),
)


def _query() -> Select[*tuple[Any, ...]]:
    # PostgreSQL sums bigints to numeric, which is slow to read. What the names are of is told by their keys.
    sums = [cast(func.sum(line.c[name]), BigInteger) for name in (*_STATES, "memory_byte_s")]
    return (
        select(*_NAMES, *sums)
        .select_from(newest_lines())
        .group_by(node.c.id, device.c.id, line.c.partition, line.c.profile, owner.c.id, window.c.id)
        .order_by(node.c.cluster, node.c.name, device.c.uuid, line.c.partition, owner.c.namespace, owner.c.pod)
    )


_QUERY = _query()
_KINDS = {kind.value: kind for kind in OwnerKind}


def _standing(row: Any) -> Standing:
    of = Part._make(row[:4]), *row[4:9], _KINDS[row[9]], *row[10:16], Amounts(*row[16:21]), row[21]
    return Standing._make(of)


def gpus(standings: Iterable[Standing]) -> Fraction:
    """How many GPUs parts are together; the parts of windows that are as long are added up before they are divided."""
    by_length: dict[int, int] = defaultdict(int)
    for one in standings:
        by_length[one.end_us - one.start_us] += one.amounts.capacity_us
    return sum((Fraction(us, length_us) for length_us, us in by_length.items() if length_us), Fraction(0))


def unmeasured(standings: Iterable[Standing]) -> int:
    """How many parts that pods have are neither in use nor idle as far as anybody can tell."""
    return sum(one.state not in (State.USED, State.IDLE, None) for one in held(standings))


def held(standings: Iterable[Standing]) -> Iterator[Standing]:
    """The parts that a pod has."""
    return (one for one in standings if one.kind is OwnerKind.POD)
