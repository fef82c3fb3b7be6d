"""Lines of closed months: written once, in the transaction that closes the month, and read as they were written."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Connection, Select, and_, select

from gputally.collector.allocation.period import Period
from gputally.collector.database.schema_statement import statement_account, statement_line
from gputally.collector.ingest.bulk import insert_rows
from gputally.collector.statement.line import Amounts, Holding, Line, Terms
from gputally.collector.statement.live import BATCH

_MOST_REMEMBERED = 50_000  # accounts; one that was forgotten and comes again is written again, which changes nothing

_NAMES, _ACCOUNT = len(Holding._fields), len(Holding._fields) + len(Terms._fields)
_account, _line = statement_account.c, statement_line.c
_LINES = select(
    _line.hour_us, *(_account[name] for name in (*Holding._fields, *Terms._fields)), *map(_line.get, Amounts._fields)
).join_from(
    statement_line,
    statement_account,
    and_(_account.month == _line.month, _account.id == _line.account_id),
)


class LinesDigest:
    """A hash of lines in their order, and how many there were: SHA-256 of a JSON array each, with a newline."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.count = 0

    def add(self, line: Line) -> None:
        """Take the next line."""
        values = [line.hour_us, *line.holding, *line.terms, *line.amounts]
        self._hash.update(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        self.count += 1

    @property
    def hex(self) -> str:
        """The hash, hexadecimal."""
        return self._hash.hexdigest()


def frozen_lines(connection: Connection, month: str) -> Iterator[Line]:
    """The lines of a closed month, its corrections of earlier ones first."""
    return _read(connection, _LINES.where(_line.month == month).order_by(_line.position))


def frozen_between(connection: Connection, period: Period) -> Iterator[Line]:
    """What closed months say of a period, by hour: its own lines and the corrections that later months hold."""
    within = _LINES.where(_line.hour_us >= period.start_us, _line.hour_us < period.end_us)
    return _read(connection, within.order_by(_line.hour_us, _line.month, _line.position))


def write_lines(connection: Connection, month: str, lines: Iterable[Line]) -> LinesDigest:
    """Keep the lines of a month that is being closed, in their order."""
    digest, writer = LinesDigest(), _Writer(connection, month)
    for line in lines:
        digest.add(line)
        writer.write(line)
    writer.flush()
    return digest


class _Writer:
    def __init__(self, connection: Connection, month: str) -> None:
        self._connection = connection
        self._month = month
        self._ids: dict[tuple[Holding, Terms], int] = {}
        self._last_id = 0
        self._position = 0
        self._accounts: list[tuple[Any, ...]] = []
        self._lines: list[tuple[Any, ...]] = []

    def write(self, line: Line) -> None:
        self._position += 1
        account_id = self._id(line.holding, line.terms)
        amounts = line.amounts
        # The table has the gap after the states and the energies last, as Amounts has them.
        self._lines.append((self._month, self._position, line.hour_us, account_id, *amounts))
        if len(self._lines) >= BATCH:
            self.flush()

    def flush(self) -> None:
        insert_rows(self._connection, statement_account, self._accounts)
        insert_rows(self._connection, statement_line, self._lines)
        self._accounts, self._lines = [], []

    def _id(self, holding: Holding, terms: Terms) -> int:
        known = self._ids.get((holding, terms))
        if known is not None:
            return known
        if len(self._ids) >= _MOST_REMEMBERED:
            self._ids.clear()
        self._last_id += 1
        self._ids[holding, terms] = self._last_id
        self._accounts.append((self._month, self._last_id, *holding, *terms))
        return self._last_id


def _read(connection: Connection, query: Select[*tuple[Any, ...]]) -> Iterator[Line]:
    for row in connection.execute(query.execution_options(yield_per=BATCH)):
        holding, terms = row[1 : 1 + _NAMES], row[1 + _NAMES : 1 + _ACCOUNT]
        yield Line(row[0], Holding._make(holding), Terms._make(terms), Amounts._make(row[1 + _ACCOUNT :]))
