"""What an hour's postings get of the time that no window covers."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from sqlalchemy import BindParameter, Connection, Row, and_, bindparam, func, insert, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from gputally.accounting.gap import Edge, Gap, Span, extent, overlap, without
from gputally.accounting.keys import PLATFORM, Holding, LineKey, Owner
from gputally.accounting.line import Line
from gputally.accounting.states import OwnerKind, Source
from gputally.collector.database.engine import upsert
from gputally.collector.database.schema import AMOUNTS, node, owner, posting, window, window_device
from gputally.collector.database.schema_billing import node_presence
from gputally.collector.database.schema_gaps import FOREVER_US, gap
from gputally.collector.ingest.identities import owner_key
from gputally.collector.ledger.holders import profiles_of, read_holders
from gputally.collector.ledger.moves import seen_elsewhere
from gputally.collector.ledger.state import State, read_state

_NODES: BindParameter[int] = bindparam("nodes", expanding=True)
_Found: TypeAlias = Row[*tuple[Any, ...]]
_Place: TypeAlias = tuple[int, int]  # (node_id, device_id)
_PostingKey: TypeAlias = tuple[int, int, str, int, str, str, str]

_before, _after = window.alias("before"), window.alias("after")
_before_device, _after_device = window_device.alias("before_device"), window_device.alias("after_device")
_FIND = (
    select(
        gap.c.node_id,
        gap.c.device_id,
        gap.c.start_us,
        gap.c.end_us,
        gap.c.after_id,
        _before.c.boot_id.label("before_boot"),
        _before_device.c.holders_end,
        _before_device.c.energy_end_mj,
        _before_device.c.energy_estimated.label("before_estimated"),
        _before_device.c.idle_power_mw.label("before_idle_mw"),
        _before_device.c.unavailable_end,
        _after.c.boot_id.label("after_boot"),
        _after_device.c.holders_start,
        _after_device.c.energy_start_mj,
        _after_device.c.energy_estimated.label("after_estimated"),
        _after_device.c.idle_power_mw.label("after_idle_mw"),
    )
    .join(_before, _before.c.id == gap.c.before_id)
    .join(
        _before_device,
        and_(_before_device.c.window_id == gap.c.before_id, _before_device.c.device_id == gap.c.device_id),
    )
    .outerjoin(_after, _after.c.id == gap.c.after_id)
    .outerjoin(
        _after_device,
        and_(_after_device.c.window_id == gap.c.after_id, _after_device.c.device_id == gap.c.device_id),
    )
    .where(
        gap.c.node_id.in_(_NODES),
        gap.c.end_us > bindparam("hour"),
        gap.c.start_us < bindparam("end"),
        or_(gap.c.end_us < FOREVER_US, bindparam("hour") < bindparam("booked")),
    )
)
_SKIPS = select(window.c.node_id, window.c.start_us - window.c.skipped_us, window.c.start_us).where(
    window.c.node_id.in_(_NODES),
    window.c.skipped_us > 0,
    window.c.start_us > bindparam("first"),
    window.c.start_us <= bindparam("last"),
)
_PRESENCE = (
    select(node.c.id, node_presence.c.from_us, func.coalesce(node_presence.c.gone_us, FOREVER_US))
    .join(node, and_(node.c.cluster == node_presence.c.cluster, node.c.name == node_presence.c.node))
    .where(node.c.id.in_(_NODES))
    .order_by(node_presence.c.from_us)
)
_OWNERS = select(owner).where(owner.c.id.in_(bindparam("owners", expanding=True)))
_PLATFORM = select(owner.c.id).where(
    *(owner.c[column.name] == value for column, value in zip(list(owner.c)[1:], owner_key(PLATFORM), strict=True))
)
_KEY = tuple(posting.primary_key.columns)
_THERE = select(*_KEY).where(posting.c.hour_us == bindparam("hour"), posting.c.node_id.in_(_NODES))


def _grown(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    more = bindparam(f"gap_{name}", type_=column.type)
    return func.coalesce(column + more, column, more)


_GROW = (
    update(posting)
    .where(*(column == bindparam(f"gap_{column.name}", type_=column.type) for column in _KEY))
    .values({name: _grown(posting.c[name], name) for name in (*AMOUNTS, "gap_us")})
)


@dataclass(frozen=True, slots=True)
class _Booked:
    """A line of a gap's part, and the ids that its posting needs."""

    place: _Place
    owner_id: int
    profile: str
    line: Line


def add_gaps(connection: Connection, hour_us: int, end_us: int, nodes: Sequence[int]) -> None:
    """Add the gaps of these nodes to the postings of the hour, which hold its lines and nothing else yet."""
    state = read_state(connection)
    of_hour = {"nodes": list(nodes), "hour": hour_us, "end": end_us, "booked": state.booked_until_us}
    found = connection.execute(_FIND, of_hour).all()
    if not found:
        return
    owners = _owners(connection, found)
    platform_id = _platform_id(connection)
    spans_of = _spans(connection, found, state)
    booked = [one for row in found for one in _divide(row, spans_of(row), owners, platform_id, (hour_us, end_us))]
    _add(connection, _posting_rows(booked, hour_us), of_hour)


def _divide(
    row: _Found, spans: tuple[Span, ...], owners: Mapping[int, Owner], platform_id: int, hour: Span
) -> Iterator[_Booked]:
    """What the platform does not pay is paid by one of those who held the device when the gap began."""
    before, after = _edges(row, owners)
    named = [held[0] for held in read_holders(row.holders_end)]
    ids = {owners[owner_id]: owner_id for owner_id in named}
    profiles = profiles_of(row.holders_end)
    for line in Gap(before, after, spans).lines(*hour):
        profile = profiles.get(line.key.partition, "")
        owner_id = ids.get(line.key.owner, platform_id)
        yield _Booked((row.node_id, row.device_id), owner_id, profile, line)


def _edges(row: _Found, owners: Mapping[int, Owner]) -> tuple[Edge, Edge | None]:
    before = Edge(
        row.start_us,
        row.before_boot,
        _holdings(row.holders_end, owners),
        None if row.before_estimated else row.energy_end_mj,
        row.before_idle_mw,
        bool(row.unavailable_end),
    )
    if row.after_id is None:
        return before, None
    holders = _holdings(row.holders_start, owners)
    energy_mj = None if row.after_estimated else row.energy_start_mj
    return before, Edge(row.end_us, row.after_boot, holders, energy_mj, row.after_idle_mw)


def _holdings(text: str | None, owners: Mapping[int, Owner]) -> tuple[Holding, ...]:
    return tuple(
        Holding(owners[owner_id], partition, Fraction(numerator, denominator))
        for owner_id, partition, _, numerator, denominator in read_holders(text)
    )


def _owners(connection: Connection, found: Iterable[_Found]) -> dict[int, Owner]:
    """Everybody whom the edges name."""
    named = {held[0] for row in found for text in (row.holders_end, row.holders_start) for held in read_holders(text)}
    rows = connection.execute(_OWNERS, {"owners": sorted(named)}).all()
    return {owner_id: _owner(values) for owner_id, *values in rows}


def _platform_id(connection: Connection) -> int:
    """The platform's row, which is made where no line named it yet."""
    found = connection.execute(_PLATFORM).scalar_one_or_none()
    if found is not None:
        return int(found)
    columns = [column.name for column in owner.c][1:]
    values = dict(zip(columns, owner_key(PLATFORM), strict=True))
    connection.execute(upsert(connection, owner).on_conflict_do_nothing(), values)
    return int(connection.execute(_PLATFORM).scalar_one())


def _owner(values: Sequence[Any]) -> Owner:
    kind, namespace, pod, container, pod_uid, first_seen_us, user, unit = values
    return Owner(OwnerKind(kind), namespace, pod, container, pod_uid, first_seen_us, user, unit)


def _spans(connection: Connection, found: Sequence[_Found], state: State) -> Callable[[_Found], tuple[Span, ...]]:
    """What of a gap counts: while the device is known to be there and nowhere else, without what the clock skipped."""
    nodes = sorted({row.node_id for row in found})
    seen = seen_elsewhere(connection, nodes, {row.device_id for row in found})
    presence = _by_node(connection.execute(_PRESENCE, {"nodes": nodes}))
    last_us = max(row.end_us for row in found)
    first_us = min(row.start_us for row in found)
    skips = _by_node(connection.execute(_SKIPS, {"nodes": nodes, "first": first_us, "last": last_us}))

    def spans(row: _Found) -> tuple[Span, ...]:
        end_us = state.booked_until_us if row.after_id is None else row.end_us
        whole = (row.start_us, min(end_us, seen.get((row.node_id, row.device_id, row.end_us), end_us)))
        if row.node_id in presence:
            there: tuple[Span, ...] = overlap([whole], presence[row.node_id])
        else:
            same_life = bool(row.before_boot) and row.before_boot == row.after_boot
            there = (extent(whole, same_life=same_life, absent_after_us=state.absent_after_us),)
        # A step lies before its own window: one after the gap's end cannot have been in it.
        return without(there, (skip for skip in skips.get(row.node_id, ()) if skip[1] <= row.end_us))

    return spans


def _by_node(rows: Iterable[Row[int, int, int]]) -> dict[int, list[Span]]:
    spans: defaultdict[int, list[Span]] = defaultdict(list)
    for node_id, start_us, end_us in rows:
        spans[node_id].append((start_us, end_us))
    return dict(spans)


def _posting_rows(booked: Iterable[_Booked], hour_us: int) -> list[dict[str, Any]]:
    """One row for each key, in order: a device may have several gaps in an hour."""
    rows: dict[_PostingKey, dict[str, Any]] = {}
    for one in booked:
        amounts = _amounts(one.line)
        row = rows.setdefault(_posting_key(one), dict.fromkeys(amounts))
        for name, value in amounts.items():
            row[name] = value if row[name] is None else row[name] + (value or 0)
    names = ("node_id", "device_id", "partition", "owner_id", "basis", "reason", "profile")
    return [
        {"hour_us": hour_us, "source": Source.NONE.value, **dict(zip(names, key, strict=True)), **rows[key]}
        for key in sorted(rows)
    ]


def _posting_key(one: _Booked) -> _PostingKey:
    key: LineKey = one.line.key
    return (*one.place, key.partition, one.owner_id, key.basis.value, key.reason.value, one.profile)


def _amounts(line: Line) -> dict[str, int | None]:
    return {**{name: getattr(line, name) for name in AMOUNTS}, "gap_us": line.capacity_us}


def _add(connection: Connection, rows: Iterable[dict[str, Any]], of_hour: Mapping[str, Any]) -> None:
    """Where the lines have the same posting, the gap's amounts are added; what is known stays known."""
    there = {tuple(key) for key in connection.execute(_THERE, of_hour)}
    found: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for row in rows:
        found[tuple(row[column.name] for column in _KEY) in there].append(row)
    if found[False]:
        connection.execute(insert(posting), found[False])
    if found[True]:
        connection.execute(_GROW, [{f"gap_{name}": value for name, value in row.items()} for row in found[True]])
