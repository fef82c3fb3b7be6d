"""What no database is asked to keep, because it would cost more than the rows: that ids point somewhere, keys once."""

from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection, ForeignKeyConstraint, Table, and_, exists, func, select

from gputally.collector.database.schema import line, posting, window, window_device

LARGE = (window, window_device, line, posting)


def faults(connection: Connection) -> list[str]:
    """Each pointer that points nowhere, and each key that comes twice, by table; empty in a sound database."""
    return [fault for table in LARGE for fault in (*_strays(connection, table), *_twice(connection, table))]


def _strays(connection: Connection, table: Table) -> Iterator[str]:
    for pointer in table.foreign_key_constraints:
        count = connection.execute(select(func.count()).select_from(table).where(~_found(pointer))).scalar_one()
        if count:
            yield f"{table.name}: {count} point to no {pointer.referred_table.name}"


def _found(pointer: ForeignKeyConstraint) -> ColumnElement[bool]:
    pairs = [(element.parent, element.column) for element in pointer.elements]
    return exists().where(and_(*(here == there for here, there in pairs))).correlate(pairs[0][0].table)


def _twice(connection: Connection, table: Table) -> Iterator[str]:
    key = table.primary_key.columns
    doubles = select(*key).group_by(*key).having(func.count() > 1).subquery()
    count = connection.execute(select(func.count()).select_from(doubles)).scalar_one()
    if count:
        yield f"{table.name}: {count} keys come twice"
