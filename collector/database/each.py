"""All of a group's rows, some numbers of each, which no aggregate of both databases gives."""

from collections.abc import Iterable
from struct import iter_unpack
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class Each(FunctionElement[Any]):
    """Numbers of rows, in any order: bytes on PostgreSQL, a text on SQLite. `rows_of` reads both."""

    name = "each"
    inherit_cache = True


@compiles(Each, "postgresql")
def _as_bytes(element: Each, compiler: SQLCompiler, **given: Any) -> str:
    """Eight for each number, the highest first: the driver takes ten times as long to read an array of arrays."""
    found = " || ".join(f"int8send(CAST({compiler.process(clause, **given)} AS bigint))" for clause in element.clauses)
    return f"string_agg({found}, '')"


@compiles(Each, "sqlite")
def _as_text(element: Each, compiler: SQLCompiler, **given: Any) -> str:
    found = " || ' ' || ".join(f"({compiler.process(clause, **given)})" for clause in element.clauses)
    return f"group_concat({found}, ' ')"


def each(of: ColumnElement[bool], *numbers: ColumnElement[int]) -> ColumnElement[Any]:
    """These numbers, none of them NULL, of the rows for which `of` holds; NULL where there is no such row."""
    found: ColumnElement[Any] = Each(*numbers).filter(of)
    return found


def rows_of(value: str | bytes, width: int) -> Iterable[tuple[int, ...]]:
    """What `each` gave, which was asked for so many numbers."""
    if isinstance(value, bytes):
        return iter_unpack(f">{width}q", value)
    return zip(*[map(int, value.split())] * width, strict=True)
