"""Which parts the idle time of an hour's postings has: written in the transaction that recomputes these.

A spell goes on over the edge of an hour, so the hours beside it are looked at, and corrected where what changed here
makes a spell of theirs long, or long no more.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import BindParameter, Connection, Delete, Row, Select, bindparam, delete, or_, select

from gputally.accounting.ledger_hour import hour_end, hour_start
from gputally.accounting.states import Basis
from gputally.collector.database.among import among
from gputally.collector.database.built import built_once
from gputally.collector.database.each import rows_of
from gputally.collector.database.schema import line, window
from gputally.collector.database.schema_waste import idle_part
from gputally.collector.ingest.bulk import insert_rows, upsert_rows
from gputally.collector.waste.part import HEAD, TAIL, Part, Use, links, part_of, relinked
from gputally.collector.waste.spell import Window
from gputally.collector.waste.told import Told, windows_of

Facts: TypeAlias = Row[*tuple[Any, ...]]  # as `ledger.sums` gives them

_HOUR: BindParameter[int] = bindparam("hour")
_END: BindParameter[int] = bindparam("end")
_PLACE = (line.c.device_id, line.c.owner_id, line.c.partition, line.c.profile)
_WINDOWS = (
    select(
        window.c.node_id,
        *_PLACE,
        window.c.start_us,
        window.c.end_us,
        line.c.used_us,
        line.c.idle_us,
        line.c.memory_byte_s,
    )
    .join(line, line.c.window_id == window.c.id)
    .where(
        window.c.start_us >= _HOUR,
        window.c.start_us < _END,
        line.c.basis == Basis.RESERVATION.value,
        or_(line.c.idle_us > 0, line.c.used_us > 0),
    )
    .order_by(window.c.node_id, *_PLACE, window.c.start_us)
)
_KEY = ("node_id", "device_id", "owner_id", "partition", "profile")
_STORED = select(*(idle_part.c[name] for name in (*_KEY, *Part._fields))).where(idle_part.c.hour_us == _HOUR)
_AT_EDGE = or_(idle_part.c.head_from_us.is_not(None), idle_part.c.tail_from_us.is_not(None))


@built_once
def _stored_parts(connection: Connection) -> Select[*tuple[Any, ...]]:
    return _STORED.where(_AT_EDGE, among(connection, idle_part.c.node_id, "nodes"))


@built_once
def _drop(connection: Connection) -> Delete:
    return delete(idle_part).where(idle_part.c.hour_us == _HOUR, among(connection, idle_part.c.node_id, "nodes"))


class Key(NamedTuple):
    """A container's partition. Like the postings, parts of an hour in which its profile changes are two."""

    node_id: int
    device_id: int
    owner_id: int
    partition: str
    profile: str


class Hours(NamedTuple):
    """A ledger hour, where it ends, and the hours beside it as (start, end).

    `before_is_final` says that no lines are kept of the one before: its parts are all that is known of it.
    """

    start_us: int
    end_us: int
    before: tuple[int, int]
    after: tuple[int, int]
    before_is_final: bool


def hours_beside(hour_us: int, zone: tzinfo, lines_from_us: int) -> Hours:
    """The hour that begins at `hour_us` with those beside it; no lines are kept of what is before `lines_from_us`."""
    end_us, before_us = hour_end(hour_us, zone), hour_start(hour_us - 1, zone)
    after = (end_us, hour_end(end_us, zone))
    return Hours(hour_us, end_us, (before_us, hour_us), after, before_is_final=before_us < lines_from_us)


def divide_idle(connection: Connection, hours: Hours, nodes: Sequence[int], facts: Sequence[Facts]) -> None:
    """Write the parts of an hour's postings anew, by the facts of all of these nodes' that had an idle window."""
    before = _stored(connection, hours.before, nodes)
    after = _stored(connection, hours.after, nodes)
    of_hour = {"hour": hours.start_us, "end": hours.end_us}
    parts = _parts(connection, of_hour, _by_key(facts), before, after)
    connection.execute(_drop(connection), {"hour": hours.start_us, "nodes": list(nodes)})
    insert_rows(connection, idle_part, [_row(hours.start_us, *of) for of in parts.items()])
    if not hours.before_is_final:
        _correct(connection, hours.before, {key: _tail(part, parts.get(key)) for key, part in before.items()}, before)
    _correct(connection, hours.after, {key: _head(parts.get(key), part) for key, part in after.items()}, after)


def _by_key(facts: Iterable[Facts]) -> Mapping[Key, Sequence[Facts]]:
    """Nearly always one: only a strange agent tells idle time with several reasons."""
    found: defaultdict[Key, list[Facts]] = defaultdict(list)
    for row in facts:
        found[Key(*row[: len(_KEY)])].append(row)
    return found


def _parts(
    connection: Connection,
    of_hour: Mapping[str, int],
    facts: Mapping[Key, Sequence[Facts]],
    before: Mapping[Key, Part],
    after: Mapping[Key, Part],
) -> dict[Key, Part]:
    """By what was summed where that tells, else window by window."""

    def part(key: Key, windows: Sequence[Window]) -> Part:
        tail = before[key].tail if key in before else None
        head = after[key].head if key in after else None
        row = facts[key][0]
        found = part_of(windows, _use(row.pod_first_us, row.pod_last_us), tail, head)
        return found._replace(idle_us=row.idle_us)  # with that of used windows, which lies in the middle

    told = {key: _told(rows) for key, rows in facts.items()}
    found = {key: part(key, windows) for key, windows in told.items() if windows is not None}
    unclear = [key for key, windows in told.items() if windows is None]
    return found | {key: part(key, windows) for key, windows in _windows(connection, of_hour, unclear)}


def _told(rows: Sequence[Facts]) -> list[Window] | None:
    if len(rows) > 1:
        return None
    [row] = rows
    used, pod = _use(row.used_first_us, row.used_last_us), _use(row.pod_first_us, row.pod_last_us)
    return windows_of(Told(rows_of(row.idle, 4), used, row.is_whole), pod)


def _use(first_us: int | None, last_us: int | None) -> Use | None:
    return None if first_us is None or last_us is None else Use(first_us, last_us)


def _windows(
    connection: Connection, of_hour: Mapping[str, Any], keys: Iterable[Key]
) -> Iterable[tuple[Key, list[Window]]]:
    """The windows of some of an hour's keys, in order."""
    wanted = set(keys)
    if not wanted:
        return
    statement = _WINDOWS.where(
        among(connection, window.c.node_id, "nodes"), among(connection, line.c.owner_id, "owners")
    )
    asked = {**of_hour, "nodes": sorted({key.node_id for key in wanted})}
    rows = connection.execute(statement, {**asked, "owners": sorted({key.owner_id for key in wanted})})
    for place, of_key in groupby(rows, key=itemgetter(*range(len(_KEY)))):
        key = Key(*place)
        if key in wanted:
            yield key, [Window(*row[len(_KEY) :]) for row in of_key]


def _stored(connection: Connection, hour: tuple[int, int], nodes: Sequence[int]) -> dict[Key, Part]:
    """The parts of an hour that stand at one of its edges."""
    rows = connection.execute(_stored_parts(connection), {"hour": hour[0], "nodes": list(nodes)})
    return {Key(*row[: len(_KEY)]): Part(*row[len(_KEY) :]) for row in rows}


def _tail(part: Part, next_part: Part | None) -> int:
    """How a part is linked, by the hour after it."""
    head = None if next_part is None else next_part.head
    return (part.linked & HEAD) | links(None, part.tail, None, head)


def _head(previous: Part | None, part: Part) -> int:
    """How a part is linked, by the hour before it."""
    tail = None if previous is None else previous.tail
    return (part.linked & TAIL) | links(part.head, None, tail, None)


def _correct(
    connection: Connection, hour: tuple[int, int], linked: Mapping[Key, int], parts: Mapping[Key, Part]
) -> None:
    """Write the parts of another hour whose links are not what they were."""
    changed = [key for key, links_now in linked.items() if links_now != parts[key].linked]
    nodes = sorted({key.node_id for key in changed})
    of_hour = {"hour": hour[0], "end": hour[1], "nodes": nodes}
    rows = []
    for key, windows in _windows(connection, of_hour, changed):
        rows.append(_row(hour[0], key, relinked(parts[key], windows, linked[key])))
    upsert_rows(connection, idle_part, rows, ("hour_us", *_KEY))


def _row(hour_us: int, key: Key, part: Part) -> tuple[int | str | None, ...]:
    """In the order of the table's columns."""
    return (hour_us, *key[:3], *part, *key[3:])
