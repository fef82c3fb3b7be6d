"""The ceiling of writing to PostgreSQL: rows that are ready go by binary COPY beside the table and are merged into it.

It does what an accepted window must survive, a replay, and flushes each commit; nothing is examined or looked up.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Table

from gputally.collector.database import schema

NAMES = (schema.node, schema.device, schema.owner)
WRITTEN = (schema.window, schema.window_device, schema.line)
_GROUP = 10_000  # lines of one transaction: more are no faster
Rows = Mapping[str, Sequence[tuple[Any, ...]]]


def prepare(connection: psycopg.Connection) -> None:
    """Give lines, which the ledger finds by their window only, the key that a merge needs."""
    key = sql.SQL(", ").join(sql.Identifier(column.name) for column in schema.line.primary_key)
    connection.execute(sql.SQL("ALTER TABLE line ADD PRIMARY KEY ({})").format(key))
    connection.commit()


def read_rows(url: str, since_us: int) -> Rows:
    """Rows of windows that start at or after `since_us`, with all names."""
    window = f'SELECT id FROM "window" WHERE start_us >= {since_us}'  # noqa: S608 - a number of ours
    of_window = {
        "window": f"id IN ({window})",
        "window_device": f"window_id IN ({window})",
        "line": f"window_id IN ({window})",
    }
    with psycopg.connect(url) as connection:
        return {
            table.name: connection.execute(
                f'SELECT {_columns(table)} FROM "{table.name}" WHERE {of_window.get(table.name, "true")} ORDER BY 1, 2'  # noqa: S608
            ).fetchall()
            for table in (*NAMES, *WRITTEN)
        }


def write_names(connection: psycopg.Connection, rows: Rows) -> None:
    """Nodes, devices and owners, which the rest points to."""
    for table in NAMES:
        _merge(connection, table, rows[table.name])
    connection.commit()


def write_windows(connection: psycopg.Connection, rows: Rows) -> None:
    """Windows with their devices and lines, committed in groups."""
    groups = max(1, len(rows["line"]) // _GROUP)
    parts = {table.name: _parts(rows[table.name], groups) for table in WRITTEN}
    for _ in range(groups):
        for table in WRITTEN:
            _merge(connection, table, next(parts[table.name]))
        connection.commit()


def _parts(rows: Sequence[tuple[Any, ...]], count: int) -> Iterator[list[tuple[Any, ...]]]:
    """So many parts, each with whole windows where the windows are alike."""
    left, size = iter(rows), -(-len(rows) // count)
    while part := list(islice(left, size)):
        yield part


def _merge(connection: psycopg.Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    names = {"beside": sql.Identifier(f"beside_{table.name}"), "table": sql.Identifier(table.name)}
    make = "CREATE TEMP TABLE IF NOT EXISTS {beside} (LIKE {table} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
    connection.execute(sql.SQL(make).format(**names))
    kinds = dict(_kinds(connection, table))
    columns = [column.name for column in table.columns]
    copy_in = sql.SQL("COPY {beside} ({columns}) FROM STDIN (FORMAT BINARY)")
    listed = sql.SQL(", ").join(map(sql.Identifier, columns))
    with connection.cursor().copy(copy_in.format(columns=listed, **names)) as copy:
        copy.set_types([kinds[name] for name in columns])
        for row in rows:
            copy.write_row(row)
    key = [column.name for column in table.primary_key]
    rest = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in columns if name not in key]
    merge = "INSERT INTO {table} ({columns}) SELECT {columns} FROM {beside} ON CONFLICT ({key}) DO UPDATE SET {rest}"
    parts = {"columns": listed, "key": sql.SQL(", ").join(map(sql.Identifier, key)), "rest": sql.SQL(", ").join(rest)}
    connection.execute(sql.SQL(merge).format(**names, **parts))


def _kinds(connection: psycopg.Connection, table: Table) -> list[tuple[str, str]]:
    """The types of a table's columns as the server calls them."""
    found = connection.execute(
        "SELECT attname, atttypid::regtype::text FROM pg_attribute WHERE attrelid = %s::regclass", [f'"{table.name}"']
    )
    return found.fetchall()


def _columns(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)
