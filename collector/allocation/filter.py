"""The language of `filter`: which postings an answer is about.

    filter = clause *( "+" clause )          every clause holds; a URL turns + into a space, which does as well
    clause = key operator value *( "," value )
    operator = ":" one of these | "!:" none of these | "<~:" begins with one | "!<~:" begins with none
    value = a text in double quotes; \\" and \\\\ stand for a quote and a backslash

As in `namespace:"search","vision"+model<~:"NVIDIA H100"`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import and_, func, not_, or_, true
from sqlalchemy.sql.elements import ColumnElement

from gputally.collector.allocation import whose
from gputally.collector.allocation.grouping import COLUMNS, READ, WHOSE, By, of_posting
from gputally.collector.database.coded import Coded
from gputally.collector.database.schema import owner
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.settings import nearest

MAX_CHARACTERS = 4096
MAX_VALUES = 200
KEYS = tuple(key for key in By if key is not By.STATE)

_CLAUSE = re.compile(
    r'\s*(?P<key>[A-Za-z_]+)(?P<operator>!?(?:<~)?:)(?P<values>"(?:[^"\\]|\\["\\])*"(?:,"(?:[^"\\]|\\["\\])*")*)'
)
_VALUE = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_ESCAPED = re.compile(r'\\(["\\])')
_JOIN = re.compile(r"\s*\+\s*|\s+")


class FilterError(ValueError):
    """A filter that cannot be read; the message says where and what is expected."""


class Operator(StrEnum):
    """How a clause compares."""

    IS = ":"
    IS_NOT = "!:"
    BEGINS = "<~:"
    BEGINS_NOT = "!<~:"

    @property
    def negative(self) -> bool:
        """Whether it holds where no value fits."""
        return self in (Operator.IS_NOT, Operator.BEGINS_NOT)

    @property
    def begins(self) -> bool:
        """Whether it looks at the beginning only."""
        return self in (Operator.BEGINS, Operator.BEGINS_NOT)


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition on one key."""

    key: By
    operator: Operator
    values: tuple[str, ...]

    def holds(self, name: str) -> bool:
        """Whether a name fits."""
        fits = name.startswith(self.values) if self.operator.begins else name in self.values
        return fits is not self.operator.negative

    def condition(self) -> ColumnElement[bool]:
        """The same in SQL, of a posting; for keys that are columns."""
        return of_posting(COLUMNS[self.key], self.fits(COLUMNS[self.key]))

    def fits(self, column: ColumnElement[Any]) -> ColumnElement[bool]:
        """Whether a column fits."""
        if isinstance(column.type, Coded):
            return column.in_([word for word, _ in column.type.words if self.holds(word)])
        if self.operator.begins:  # not LIKE, which SQLite does without regard to case
            fits: ColumnElement[bool] = or_(*(func.substr(column, 1, len(value)) == value for value in self.values))
        else:
            fits = column.in_(self.values)
        return not_(fits) if self.operator.negative else fits


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that hold together; without any, everything fits."""

    clauses: tuple[Clause, ...] = ()

    def condition(self) -> ColumnElement[bool]:
        """What the database can decide."""
        return and_(true(), *(clause.condition() for clause in self.clauses if clause.key in COLUMNS))

    @property
    def keys(self) -> frozenset[By]:
        """What it looks at."""
        return frozenset(clause.key for clause in self.clauses)

    @property
    def asks_whose(self) -> bool:
        """Whether it can be decided only where postings are joined with what is known of pods."""
        return any(clause.key in WHOSE for clause in self.clauses)

    def whose(self) -> ColumnElement[bool]:
        """What the database can decide where they are."""
        asked = [clause for clause in self.clauses if clause.key in WHOSE]
        return and_(true(), *(clause.fits(whose.NAMES[clause.key](owner, pod_workload)) for clause in asked))

    def holds(self, names: Mapping[By, str]) -> bool:
        """What it cannot: the clauses on keys that are looked up."""
        return all(clause.holds(names[clause.key]) for clause in self.clauses if clause.key not in READ)


EVERYTHING = Filter()


def parse_filter(text: str) -> Filter:
    """The filter that `text` spells; raises FilterError."""
    if len(text) > MAX_CHARACTERS:
        raise FilterError(f"longer than {MAX_CHARACTERS} characters")
    if "\x00" in text:
        raise FilterError("holds a NUL character, which no name has")
    clauses: list[Clause] = []
    at = 0
    while text[at:].strip():
        at = _separated(text, at) if clauses else at
        clause, at = _clause(text, at)
        clauses.append(clause)
    if sum(len(clause.values) for clause in clauses) > MAX_VALUES:
        raise FilterError(f"more than {MAX_VALUES} values")
    return Filter(tuple(clauses))


def _separated(text: str, at: int) -> int:
    match = _JOIN.match(text, at)
    if match is None:
        raise FilterError(f"at {text[at : at + 20]!r}: expected + between two conditions")
    return match.end()


def _clause(text: str, at: int) -> tuple[Clause, int]:
    match = _CLAUSE.match(text, at)
    if match is None:
        raise FilterError(f'at {text[at : at + 20]!r}: expected key:"value", such as namespace:"search","vision"')
    values = tuple(_ESCAPED.sub(r"\1", value) for value in _VALUE.findall(match["values"]))
    return Clause(_key(match["key"]), Operator(match["operator"]), values), match.end()


def _key(name: str) -> By:
    if name not in KEYS:
        hint = nearest(name, KEYS) or f": expected one of {', '.join(KEYS)}"
        raise FilterError(f"unknown key {name}{hint}")
    return By(name)
