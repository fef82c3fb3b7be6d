"""Lines of closed months: written once, in the transaction that closes the month, and read as they were written."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Select, select

from gputally.collector.allocation.period import Period
from gputally.collector.database.among import among
from gputally.collector.database.schema_statement import statement_account, statement_line
from gputally.collector.ingest.bulk import insert_rows
from gputally.collector.statement.block import MOST_ACCOUNTS, ROWS, Account, Block, bare
from gputally.collector.statement.line import Amounts, Holding, Line, Terms

_MOST_REMEMBERED = 50_000  # accounts; one that was forgotten and comes again is written again, which changes nothing

_NAMES = len(Holding._fields)
_account, _line = statement_account.c, statement_line.c
_LINES = select(_line.month, _line.account_id, _line.hour_us, *map(_line.get, Amounts._fields))
_ACCOUNTS = select(_account.id, *(_account[name] for name in (*Holding._fields, *Terms._fields)))


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
    return chain.from_iterable(block.lines() for block in frozen_blocks(connection, month))


def frozen_blocks(connection: Connection, month: str) -> Iterator[Block]:
    """The same in blocks."""
    return _read(connection, _LINES.where(_line.month == month).order_by(_line.position))


def frozen_between(connection: Connection, period: Period) -> Iterator[Line]:
    """What closed months say of a period, by hour: its own lines and the corrections that later months hold."""
    within = _LINES.where(_line.hour_us >= period.start_us, _line.hour_us < period.end_us)
    found = _read(connection, within.order_by(_line.hour_us, _line.month, _line.position))
    return chain.from_iterable(block.lines() for block in found)


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
        if len(self._lines) >= ROWS:
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


def _read(connection: Connection, query: Select[*tuple[Any, ...]]) -> Iterator[Block]:
    """Lines by their accounts, which are looked up where they come first: a join would fetch them for each line."""
    known: dict[tuple[str, int], Account] = {}
    for rows in bare(connection, query):
        if len(known) > MOST_ACCOUNTS:
            known.clear()
        months, ids, hours, *amounts = zip(*rows, strict=True)
        keys = list(zip(months, ids, strict=True))
        for month, missing in groupby(sorted(set(keys) - known.keys()), key=itemgetter(0)):
            known |= _accounts(connection, month, [account_id for _, account_id in missing])
        yield Block(hours, [known[key] for key in keys], amounts)


def _accounts(connection: Connection, month: str, ids: Sequence[int]) -> Iterator[tuple[tuple[str, int], Account]]:
    found = _ACCOUNTS.where(_account.month == month, among(connection, _account.id, "ids"))
    for account_id, *of in connection.execute(found, {"ids": ids}):
        yield (month, account_id), Account(Holding._make(of[:_NAMES]), Terms._make(of[_NAMES:]))
