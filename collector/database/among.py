"""Rows by many ids at once, as one parameter: a parameter for each would be a new statement for each number of them."""

from sqlalchemy import BigInteger, BindParameter, Connection, bindparam, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.elements import ColumnElement

from gputally.collector.database.engine import is_sqlite


def among(connection: Connection, column: ColumnElement[int], name: str) -> ColumnElement[bool]:
    """Whether the column's id is among those that the statement is given as `name`, a list of integers.

    On PostgreSQL they are one array; SQLite, where a parameter costs next to nothing, has one for each.
    """
    if is_sqlite(connection):
        ids: BindParameter[int] = bindparam(name, expanding=True)
        return column.in_(ids)
    return column == func.any(bindparam(name, type_=ARRAY(BigInteger)))
