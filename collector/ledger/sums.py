"""An hour's lines summed, once, into all that is derived of them: postings, tenures, peaks of memory.

On PostgreSQL it is one statement. SQLite, where no statement writes to several tables, keeps the sums meanwhile in a
table of the connection's own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Insert,
    Integer,
    MetaData,
    Row,
    Select,
    String,
    Table,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.type_api import TypeEngine

from gputally.accounting.states import Basis
from gputally.collector.database.each import each
from gputally.collector.database.engine import is_sqlite, upsert
from gputally.collector.database.schema import AMOUNTS, MEMOS, line, owner, posting, window
from gputally.collector.database.schema_waste import UNBOUNDED, memory_peak, tenure
from gputally.collector.ledger.idle import is_idle

_DAY_US = 86_400_000_000
_HOUR: BindParameter[int] = bindparam("hour", type_=BigInteger)
_KEY = (line.c.device_id, line.c.partition, line.c.owner_id, line.c.basis, line.c.reason, line.c.profile)
_LEAST_CERTAIN = func.max(line.c.source)  # the codes are in that order
_SUMMED = (*AMOUNTS, *MEMOS)
_POSTED = ("node_id", *(column.name for column in _KEY), "source", *_SUMMED)
_PLACE = ("owner_id", "node_id", "device_id", "partition")
_POD = (owner.c.namespace, owner.c.pod, owner.c.pod_uid, owner.c.first_seen_us)

_length_us = window.c.end_us - window.c.start_us
_is_used, _is_idle = line.c.used_us > 0, is_idle(cast(line.c.used_us, BigInteger), line.c.idle_us)
_memory = line.c.memory_byte_s
_had_memory = case((_memory > 0, 1), (_memory == 0, 0), else_=2)


_FACTS: Mapping[str, ColumnElement[Any]] = {
    "first_us": func.min(window.c.start_us),
    "last_us": func.max(window.c.end_us),
    "used_first_us": func.min(window.c.start_us).filter(_is_used),
    "used_last_us": func.max(window.c.end_us).filter(_is_used),
    # No window is longer than an integer of four bytes, which are summed faster.
    "measured_us": func.sum(cast(_length_us, Integer)).filter(or_(_is_used, line.c.idle_us > 0)),
    # Of idle windows all that their spells are made of: `waste.told` reads it.
    "idle": each(_is_idle, window.c.start_us, window.c.end_us, line.c.idle_us, _had_memory),
    # By milliseconds: with microseconds the product may be too large for a column.
    "peak_bytes": func.max(
        case(
            (_memory.is_not(None), _memory * 1000 // ((_length_us + 999) // 1000)),
            (line.c.used_us + line.c.idle_us > 0, literal_column(str(UNBOUNDED), BigInteger)),
        )
    ),
}
_TOTALS: Mapping[str, ColumnElement[Any]] = {
    "node_id": window.c.node_id,
    **{column.name: column for column in _KEY},
    "source": _LEAST_CERTAIN,
    **{name: func.sum(line.c[name]) for name in _SUMMED},
    **_FACTS,
}
_SUMS = (
    select(*(column.label(name) for name, column in _TOTALS.items()))
    .select_from(window)
    .join(line, line.c.window_id == window.c.id)
    .where(window.c.start_us >= _HOUR, window.c.start_us < bindparam("end"))
    .group_by(window.c.node_id, *_KEY)
)


def _type(name: str) -> TypeEngine[Any]:
    return posting.c[name].type if name in _POSTED else String() if name == "idle" else BigInteger()


_KEPT = Table(
    "line_sums",
    MetaData(),
    *(Column(name, _type(name)) for name in _TOTALS),
    prefixes=["TEMPORARY"],
)


def sum_lines(connection: Connection, of_hour: Mapping[str, Any]) -> Sequence[Row[*tuple[Any, ...]]]:
    """Add the postings of an hour's lines, of which none is there, and what else is kept of them.

    `of_hour` are `hour`, `end` and `nodes`. Gives the facts, as `_facts` selects them, of all reservations that had an
    idle window.
    """
    if is_sqlite(connection):
        return _in_turns(connection, of_hour)
    return connection.execute(_AT_ONCE, of_hour).all()


def _facts(sums: FromClause) -> Select[*tuple[Any, ...]]:
    """Of each posting with an idle window what its division needs, with all idle time of its container's partition, and
    the use of its pod in the hour."""
    pod = (sums.c.node_id, *_POD)
    place = ("node_id", "device_id", "owner_id", "partition", "profile")
    idle_us = func.sum(sums.c.idle_us).over(partition_by=[sums.c[name] for name in place])
    facts = (
        select(
            *(sums.c[name] for name in (*place, "idle", "used_first_us", "used_last_us")),
            cast(idle_us, BigInteger).label("idle_us"),
            (sums.c.measured_us == sums.c.last_us - sums.c.first_us).label("is_whole"),
            func.min(sums.c.used_first_us).over(partition_by=pod).label("pod_first_us"),
            func.max(sums.c.used_last_us).over(partition_by=pod).label("pod_last_us"),
        )
        .join_from(sums, owner, owner.c.id == sums.c.owner_id)
        .where(sums.c.basis == Basis.RESERVATION.value)
        .subquery()
    )
    return select(facts).where(facts.c.idle.is_not(None))


def _postings(sums: FromClause) -> Insert:
    return insert(posting).from_select(["hour_us", *_POSTED], select(_HOUR, *(sums.c[name] for name in _POSTED)))


def _tenures(insertion: postgresql.Insert, sums: FromClause) -> Insert:
    """The whole time of each holder on each partition grows."""
    spans = {
        "held_from_us": func.min(sums.c.first_us),
        "held_until_us": func.max(sums.c.last_us),
        "used_from_us": func.min(sums.c.used_first_us),
        "used_until_us": func.max(sums.c.used_last_us),
    }
    place = [sums.c[name] for name in _PLACE]
    held = select(*place, *spans.values()).where(sums.c.basis == Basis.RESERVATION.value).group_by(*place)
    new, old = insertion.from_select([*_PLACE, *spans], held), tenure.c
    wider = {name: _wider(old[name], new.excluded[name], earlier="from" in name) for name in spans}
    return new.on_conflict_do_update(
        index_elements=_PLACE,
        set_={name: case((grows, new.excluded[name]), else_=old[name]) for name, grows in wider.items()},
        where=or_(*wider.values()),
    )


def _wider(old: ColumnElement[int], new: ColumnElement[int], *, earlier: bool) -> ColumnElement[bool]:
    return or_(old.is_(None), new < old if earlier else new > old) & new.is_not(None)


def _peaks(insertion: postgresql.Insert, sums: FromClause) -> Insert:
    """The most memory of each holder on each partition, by the UTC day in which the hour begins. Few hours have more
    than is known already, and a row that is inserted is locked where it stands, even if nothing of it changes."""
    place = [sums.c[name] for name in _PLACE]
    day = (_HOUR - _HOUR % _DAY_US).label("day_us")
    peak = func.max(sums.c.peak_bytes).label("bytes")
    held = select(day, *place, peak).where(sums.c.basis == Basis.RESERVATION.value, sums.c.peak_bytes.is_not(None))
    of_hour = held.group_by(*place).subquery()
    is_same = and_(*(memory_peak.c[name] == of_hour.c[name] for name in ("day_us", *_PLACE)))
    is_known = exists().where(is_same, memory_peak.c.bytes >= of_hour.c.bytes)
    new = insertion.from_select(["day_us", *_PLACE, "bytes"], select(of_hour).where(~is_known))
    more = new.excluded.bytes
    return new.on_conflict_do_update(
        index_elements=["day_us", *_PLACE], set_={"bytes": more}, where=more > memory_peak.c.bytes
    )


def _at_once() -> Select[*tuple[Any, ...]]:
    sums: CTE = _SUMS.where(window.c.node_id == func.any(bindparam("nodes", type_=ARRAY(BigInteger)))).cte("sums")
    return _facts(sums).add_cte(
        _postings(sums).cte("posted"),
        _tenures(postgresql.insert(tenure), sums).cte("held"),
        _peaks(postgresql.insert(memory_peak), sums).cte("peaked"),
    )


def _in_turns(connection: Connection, of_hour: Mapping[str, Any]) -> Sequence[Row[*tuple[Any, ...]]]:
    connection.execute(CreateTable(_KEPT, if_not_exists=True))
    connection.execute(delete(_KEPT))
    sums = _SUMS.where(window.c.node_id.in_(bindparam("nodes", expanding=True)))
    connection.execute(insert(_KEPT).from_select(list(_TOTALS), sums), of_hour)
    for statement in (
        _postings(_KEPT),
        _tenures(upsert(connection, tenure), _KEPT),
        _peaks(upsert(connection, memory_peak), _KEPT),
    ):
        connection.execute(statement, of_hour)
    return connection.execute(_facts(_KEPT)).all()


_AT_ONCE = _at_once()
