"""A month's statement for whoever asks: frozen where it is closed, drawn up now where it is open."""

from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from gputally.collector.allocation.query import WHOLE, Scope, Spread
from gputally.collector.allocation.spread import Stakes
from gputally.collector.database.engine import reading
from gputally.collector.ledger.postings import catch_up
from gputally.collector.queues.stakes import read_stakes
from gputally.collector.statement.content import Statement, draw_up
from gputally.collector.statement.corrections import unbilled
from gputally.collector.statement.document import as_json, digest, from_json
from gputally.collector.statement.frozen import LinesDigest, frozen_lines
from gputally.collector.statement.line import Line
from gputally.collector.statement.month import Month
from gputally.collector.statement.register import Closed, check_zone, closed_month, closed_months, read_document
from gputally.collector.statement.view import View


@dataclass(frozen=True, slots=True)
class Found:
    """A statement; `closed` and `document` are of a closed month, None of an open one.

    `stakes` are what its platform is spread by, where that is by quota.
    """

    statement: Statement
    closed: Closed | None = None
    document: str | None = None
    stakes: Stakes = field(default_factory=dict)

    @property
    def content_hash(self) -> str | None:
        """Of a closed month."""
        return None if self.closed is None else self.closed.content_hash

    def json(self, view: View) -> str:
        """A view of it as JSON. The whole of a closed month is what was frozen, byte for byte."""
        whole = view == View(self.statement)
        return self.document if whole and self.document is not None else as_json(view)


class Tampered(RuntimeError):
    """What was frozen has not the hash any more that it was frozen with."""


def read_statement(engine: Engine, zone: ZoneInfo, month: Month, how: Spread = Spread.NONE) -> Found:
    """The statement of a month; raises Tampered, ZoneChanged and QueryError.

    For an open month, what arrived and is not in the postings yet is settled first.
    """
    catch_up(engine, zone)
    with reading(engine) as connection:
        return find_statement(connection, zone, month, how=how)


def find_statement(
    connection: Connection, zone: ZoneInfo, month: Month, scope: Scope = WHOLE, how: Spread = Spread.NONE
) -> Found:
    """The same from the postings as they are; `scope` is whose part will be shown, `how` what spreads the platform."""
    check_zone(closed_months(connection), zone)
    closed = closed_month(connection, month.name)
    stakes = read_stakes(connection, (month.period,), how)
    if closed is None:
        return Found(draw_up(connection, zone, month, scope), stakes=stakes)
    document = read_document(connection, month.name)
    if digest(document) != closed.content_hash:
        raise Tampered(f"the statement of {month.name} is not the one that was frozen: its hash is {digest(document)}")
    return Found(from_json(document), closed, document, stakes)


def read_differences(engine: Engine, zone: ZoneInfo, month: Month) -> tuple[Found, list[Line]]:
    """A closed month and what the ledger says of it now beyond what was billed; raises Tampered and LookupError."""
    catch_up(engine, zone)
    with reading(engine) as connection:
        found = find_statement(connection, zone, month)
        closing = found.statement.closing
        if found.closed is None or closing is None:
            raise LookupError(f"{month.name} is not closed: there is nothing to compare with")
        lines = LinesDigest()
        for line in frozen_lines(connection, month.name):
            lines.add(line)
        if lines.hex != closing.lines_hash:
            raise Tampered(f"the lines of {month.name} are not those that were frozen: their hash is {lines.hex}")
        return found, list(unbilled(connection, zone, found.closed))
