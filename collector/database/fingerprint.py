"""A fingerprint of a row, 40 bits: rows that differ have another, by all likelihood. Sums of them tell tables apart.

It guards against change, not against forgery, and SQLite and PostgreSQL make different ones.
"""

import hashlib
import sqlite3
from typing import Any

from sqlalchemy import BigInteger, Connection, func, literal_column
from sqlalchemy.sql.elements import ColumnElement

from gputally.collector.database.engine import is_sqlite

_BITS = 40  # eight million rows add up to 63, which is what a column holds
_FUNCTION = "gputally_fingerprint"


def fingerprint(connection: Connection, *columns: ColumnElement[Any]) -> ColumnElement[int]:
    """The fingerprint of a row's columns, for statements of this connection."""
    if not is_sqlite(connection):
        mask = literal_column(str((1 << _BITS) - 1), BigInteger)
        found: ColumnElement[int] = func.hash_record_extended(func.row(*columns), 0, type_=BigInteger).op("&")(mask)
        return found
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - narrows the type for the next line
    driver.create_function(_FUNCTION, -1, _fingerprint, deterministic=True)
    named: ColumnElement[int] = getattr(func, _FUNCTION)(*columns, type_=BigInteger)
    return named


def _fingerprint(*values: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(values).encode(), digest_size=_BITS // 8).digest(), "big")
