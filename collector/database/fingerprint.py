"""A fingerprint of a row, 40 bits: rows that differ have another, by all likelihood. Sums of them tell tables apart.

It guards against change, not against forgery, and SQLite and PostgreSQL make different ones. Of a sum the lowest 56
bits count: without the others those of a month's days are no more than a column holds.
"""

import hashlib
import sqlite3
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

SUM_MASK = (1 << 56) - 1
_BITS = 40  # eight million rows of a day add up to 63, which is what a column holds
_FUNCTION = "gputally_fingerprint"


class fingerprint(GenericFunction[int]):  # noqa: N801 - it stands where SQL's functions do
    """The fingerprint of a row's columns."""

    name = _FUNCTION
    type = BigInteger()
    inherit_cache = True


@compiles(fingerprint, "postgresql")
def _of_record(element: fingerprint, compiler: SQLCompiler, **options: Any) -> str:
    row = compiler.process(element.clauses, **options)
    return f"(hash_record_extended(row({row}), 0) & {(1 << _BITS) - 1})"


def teach(connection: sqlite3.Connection) -> None:
    """Let a connection know what a fingerprint is: PostgreSQL's can."""
    connection.create_function(_FUNCTION, -1, _fingerprint, deterministic=True)


def _fingerprint(*values: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(values).encode(), digest_size=_BITS // 8).digest(), "big")
