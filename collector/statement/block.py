"""Lines by columns, some thousands at a time, so that what a file has of each is made a column at a time."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice
from operator import add
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Connection, Select

from gputally.collector.database.engine import is_sqlite
from gputally.collector.statement.line import Amounts, Holding, Line, Terms

ROWS = 2_000  # of a block
MOST_ACCOUNTS = 30_000  # that are remembered; some 30 MB

_CURSORS = count(1)

Columns: TypeAlias = Sequence[Sequence[int | None]]


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """What lines have in common: names and prices. Lines that follow each other have the same object for the same, so
    that it can stand for what is derived of it; it may come again as another object."""

    holding: Holding
    terms: Terms


class Block(NamedTuple):
    """Some lines. `amounts` has a column for each field of `line.Amounts`."""

    hours: Sequence[int]
    accounts: Sequence[Account]
    amounts: Columns

    def lines(self) -> Iterator[Line]:
        """The lines themselves."""
        amounts = map(Amounts._make, zip(*self.amounts, strict=True))
        for hour_us, account, of in zip(self.hours, self.accounts, amounts, strict=True):
            yield Line(hour_us, account.holding, account.terms, of)

    def capacities(self) -> list[int]:
        """The five states of each line together, microseconds."""
        states: Sequence[Sequence[int]] = self.amounts[:5]  # type: ignore[assignment]  # these are always known
        return [
            used + idle + unallocated + unavailable + unobserved
            for used, idle, unallocated, unavailable, unobserved in zip(*states, strict=True)
        ]

    def energies(self) -> list[int | None]:
        """Both parts of the energy of each line; None where neither is known."""
        if None not in self.amounts[6] and None not in self.amounts[7]:
            return list(map(add, self.amounts[6], self.amounts[7]))
        return [
            None if idle is None and dynamic is None else (idle or 0) + (dynamic or 0)
            for idle, dynamic in zip(self.amounts[6], self.amounts[7], strict=True)
        ]


def blocks(lines: Iterable[Line]) -> Iterator[Block]:
    """Lines that come one by one, in blocks."""
    known: dict[tuple[Holding, Terms], Account] = {}
    left = iter(lines)
    while some := list(islice(left, ROWS)):
        if len(known) > MOST_ACCOUNTS:
            known.clear()
        accounts = []
        for line in some:
            account = known.get((line.holding, line.terms))
            if account is None:
                account = known[line.holding, line.terms] = Account(line.holding, line.terms)
            accounts.append(account)
        yield Block([line.hour_us for line in some], accounts, list(zip(*(line.amounts for line in some), strict=True)))


def bare(connection: Connection, query: Select[*tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    """The rows of a query for numbers and texts, as the driver has them, ROWS at a time: objects of SQLAlchemy's would
    take as long again. What it is given stands in the statement's text; errors are the driver's."""
    statement = str(query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))
    driver: Any = connection.connection.driver_connection
    # On PostgreSQL a cursor that has a name leaves the rows with the server.
    named = () if is_sqlite(connection) else (f"lines_{next(_CURSORS)}",)
    cursor = driver.cursor(*named)
    try:
        cursor.execute(statement)
        while rows := cursor.fetchmany(ROWS):
            yield rows
    finally:
        # Whoever stops reading because of an error may have let go of the connection first: the cursor went with it.
        with suppress(sqlite3.ProgrammingError):
            cursor.close()
