"""The lines that a month's exports are made of: as they were frozen, or as they stand now."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from gputally.collector.database.engine import reading
from gputally.collector.ledger.postings import catch_up
from gputally.collector.statement.block import Block, blocks
from gputally.collector.statement.corrections import corrections
from gputally.collector.statement.document import from_json
from gputally.collector.statement.frozen import frozen_blocks
from gputally.collector.statement.line import Line
from gputally.collector.statement.live import live_blocks
from gputally.collector.statement.month import Month
from gputally.collector.statement.register import (
    Closed,
    check_zone,
    closed_month,
    closed_months,
    read_document,
    takes_corrections,
)
from gputally.collector.statement.spool import Spool
from gputally.collector.statement.terms import read_terms


@dataclass(frozen=True, slots=True)
class Ground:
    """A month in one state of the database. Its lines can be read any number of times, and are always the same.

    `currency` is the statement's: empty where no rate card was applied.
    """

    month: Month
    zone: ZoneInfo
    currency: str
    closed: Closed | None
    _connection: Connection
    _spool: Spool

    def blocks(self) -> Iterator[Block]:
        """Corrections of earlier months by hour, then the month's own lines by hour; a block in memory at a time.

        Who reads them first takes them from the database, who reads them again from a temporary file.
        """
        return self._spool.blocks() if self._spool.whole else self._spool.keep(self._read())

    def _read(self) -> Iterator[Block]:
        if self.closed is not None:
            return frozen_blocks(self._connection, self.month.name)
        return _open_blocks(self._connection, self.zone, self.month)

    def lines(self) -> Iterator[Line]:
        """The same, line by line."""
        return chain.from_iterable(block.lines() for block in self.blocks())


def open_lines(connection: Connection, zone: ZoneInfo, month: Month) -> Iterator[Line]:
    """The lines of an open month."""
    return chain.from_iterable(block.lines() for block in _open_blocks(connection, zone, month))


def _open_blocks(connection: Connection, zone: ZoneInfo, month: Month) -> Iterator[Block]:
    closed = closed_months(connection)
    late = corrections(connection, zone, closed) if takes_corrections(closed, month.start_us) else iter(())
    return chain(blocks(late), live_blocks(connection, month.period, read_terms(connection, zone)))


@contextmanager
def ground(engine: Engine, zone: ZoneInfo, month: Month) -> Iterator[Ground]:
    """The ground of a month for as long as the block lasts; raises ZoneChanged and QueryError."""
    catch_up(engine, zone)
    with reading(engine) as connection:
        closed = closed_month(connection, month.name)
        currency = _currency(connection, zone, closed)
        with closing(Spool()) as spool:
            yield Ground(month, zone, currency, closed, connection, spool)


def _currency(connection: Connection, zone: ZoneInfo, closed: Closed | None) -> str:
    """Without drawing the statement up, which takes the memory of all its workloads."""
    if closed is not None:
        return from_json(read_document(connection, closed.month)).currency
    check_zone(closed_months(connection), zone)
    return read_terms(connection, zone).pricer.currency or ""
