"""All of a group's rows, some numbers of each, which no aggregate of both databases gives."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class Each(FunctionElement[Any]):
    """Numbers of rows, in any order: an array on PostgreSQL, a text on SQLite. `rows_of` reads both."""

    name = "each"
    inherit_cache = True


@compiles(Each, "postgresql")
def _as_array(element: Each, compiler: SQLCompiler, **given: Any) -> str:
    found = ", ".join(compiler.process(clause, **given) for clause in element.clauses)
    return f"array_agg(ARRAY[{found}])"


@compiles(Each, "sqlite")
def _as_text(element: Each, compiler: SQLCompiler, **given: Any) -> str:
    found = " || ' ' || ".join(f"({compiler.process(clause, **given)})" for clause in element.clauses)
    return f"group_concat({found}, ' ')"


def each(of: ColumnElement[bool], *numbers: ColumnElement[int]) -> ColumnElement[Any]:
    """These numbers, none of them NULL, of the rows for which `of` holds; NULL where there is no such row."""
    found: ColumnElement[Any] = Each(*numbers).filter(of)
    return found


def rows_of(value: str | Sequence[Sequence[int]], width: int) -> Sequence[Sequence[int]]:
    """What `each` gave, which was asked for so many numbers."""
    if not isinstance(value, str):
        return value
    found = [*map(int, value.split())]
    return [found[at : at + width] for at in range(0, len(found), width)]
