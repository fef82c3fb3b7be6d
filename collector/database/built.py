"""Statements that differ between the databases, each put together once: to do that takes as long as to run them."""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from sqlalchemy import Connection

from gputally.collector.database.engine import is_sqlite

_Statement = TypeVar("_Statement")


def built_once(build: Callable[[Connection], _Statement]) -> Callable[[Connection], _Statement]:
    """The same function, whose result is kept: it may depend on the kind of database, and on nothing else."""
    built: dict[bool, _Statement] = {}

    @wraps(build)
    def statement(connection: Connection) -> _Statement:
        kind = is_sqlite(connection)
        if kind not in built:
            built[kind] = build(connection)
        return built[kind]

    return statement
