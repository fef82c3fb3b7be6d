"""Many rows into one table, the fastest way each database has: COPY or arrays on PostgreSQL, executemany on SQLite."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    TypeDecorator,
    func,
    select,
)

from gputally.collector.database.engine import is_sqlite


def insert_rows(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows whose values are in the order of the table's columns, and as they stand there: words as their codes.

    It does not look for conflicts.
    """
    if not rows:
        return
    if is_sqlite(connection):
        marks = ", ".join("?" * len(table.columns))
        statement = f'INSERT INTO "{table.name}" VALUES ({marks})'  # noqa: S608 - our own name
        connection.exec_driver_sql(statement, list(rows))
    else:
        _copy(connection, table, rows)


def insert_with_ids(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> list[int]:
    """Insert rows whose values are in the order of the table's columns but for the first, `id`; their ids, in order.

    The ids are taken first: a statement that returns them has a parameter for each value, which takes far longer.
    """
    ids = _new_ids(connection, table, len(rows))
    insert_rows(connection, table, [(row_id, *row) for row_id, row in zip(ids, rows, strict=True)])
    return ids


def _new_ids(connection: Connection, table: Table, count: int) -> list[int]:
    if is_sqlite(connection):  # its only writer
        last = connection.execute(select(func.max(table.c.id))).scalar() or 0
        return list(range(last + 1, last + 1 + count))
    sequence = func.nextval(func.pg_get_serial_sequence(f'"{table.name}"', "id"))
    numbers = func.generate_series(1, count).table_valued("number")
    return list(connection.execute(select(sequence).select_from(numbers)).scalars())


def insert_absent(
    connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert rows of these columns, in order; a row whose key is there already is left as it is."""
    names = ", ".join(f'"{name}"' for name in columns)
    into = f'INSERT INTO "{table.name}" ({names})'
    if is_sqlite(connection):
        marks = ", ".join("?" * len(columns))
        connection.exec_driver_sql(f"{into} VALUES ({marks}) ON CONFLICT DO NOTHING", list(rows))
    else:
        arrays = ", ".join(f"%s::{type_name(table.c[name].type)}[]" for name in columns)
        statement = f"{into} SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING"  # noqa: S608
        connection.exec_driver_sql(statement, as_arrays(rows, [table.c[name] for name in columns]))


def upsert_rows(
    connection: Connection,
    table: Table,
    rows: Sequence[tuple[Any, ...]],
    key: Sequence[str],
    rest: str = "excluded.{0}",
) -> None:
    """Insert rows whose values are in the order of the table's columns; where the key is taken, the other columns
    become `rest`, an expression in which {0} is the column's name: without one they are replaced."""
    if not rows:
        return
    names = [column.name for column in table.columns]
    changed = ", ".join(f'"{name}" = {rest.format(name)}' for name in names if name not in key)
    conflict = f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changed}"
    if is_sqlite(connection):
        marks = ", ".join("?" * len(names))
        connection.exec_driver_sql(f'INSERT INTO "{table.name}" VALUES ({marks}) {conflict}', list(rows))  # noqa: S608
    else:  # one statement: each column is one array
        arrays = ", ".join(f"%s::{type_name(column.type)}[]" for column in table.columns)
        columns = ", ".join(f'"{name}"' for name in names)
        statement = f'INSERT INTO "{table.name}" ({columns}) SELECT * FROM unnest({arrays}) {conflict}'  # noqa: S608
        connection.exec_driver_sql(statement, as_arrays(rows, list(table.columns)))


def as_arrays(rows: Iterable[Sequence[Any]], columns: Sequence[Column[Any]]) -> tuple[str | list[Any], ...]:
    """The values of each of these columns as a parameter that PostgreSQL takes for an array.

    Numbers are put together here: the driver asks for each element of a list how it is to be written.
    """
    pairs = zip(columns, zip(*rows, strict=True), strict=True)
    return tuple(_numbers(values) if isinstance(column.type, Integer) else list(values) for column, values in pairs)


def _numbers(values: Iterable[int | None]) -> str:
    return f"{{{','.join(map(str, values))}}}".replace("None", "NULL")


def _copy(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Binary COPY through psycopg's own connection; it raises psycopg's errors."""
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    driver: Any = connection.connection.driver_connection
    statement = f'COPY "{table.name}" ({columns}) FROM STDIN (FORMAT BINARY)'
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types([type_name(column.type) for column in table.columns])
        for row in rows:
            copy.write_row(row)


def type_name(kind: object) -> str:
    """What PostgreSQL calls a column's type. A number that is too large for its type goes by COPY without its upper
    bits: who makes rows has seen that none is."""
    if isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    if isinstance(kind, BigInteger):
        return "int8"
    if isinstance(kind, SmallInteger):
        return "int2"
    if isinstance(kind, LargeBinary):
        return "bytea"
    return "int4" if isinstance(kind, Integer) else "text"
