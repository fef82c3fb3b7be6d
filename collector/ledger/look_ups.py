"""How PostgreSQL is to find what a ledger's hour is made of: by keys, whatever it believes of its tables.

Each statement of a settlement is about some nodes and an hour or a day, and all it joins is joined by keys. On tables
that nobody has analysed yet, PostgreSQL takes a window to have 1/200 of all lines, and reads every line there is once
for each transaction; on large ones its guesses may become as bad again. So ways through whole tables are closed to it.
Nor are such statements worth machine code, and sums are made in memory, not sorted on the disk.
"""

from sqlalchemy import Connection, func, literal_column, select

from gputally.collector.database.engine import is_sqlite

_SETTINGS = {
    "work_mem": "64MB",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_sort": "off",
    "enable_incremental_sort": "off",
    "jit": "off",
}
_SET = select(*(func.set_config(name, value, literal_column("true")) for name, value in _SETTINGS.items()))


def by_look_ups(connection: Connection) -> None:
    """For the rest of this transaction. SQLite finds rows by keys anyway."""
    if not is_sqlite(connection):
        connection.execute(_SET)
