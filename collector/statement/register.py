"""Which months are closed."""

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from gputally.accounting.ledger_hour import from_us
from gputally.collector.allocation.period import Period
from gputally.collector.database.schema_statement import statement

_columns = statement.c
_HEADS = select(
    *(_columns.month, _columns.start_us, _columns.end_us, _columns.zone, _columns.closed_us, _columns.closed_by),
    *(_columns.final_before_us, _columns.content_hash),
).order_by(_columns.start_us)


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed month. Hours before `final_before_us` could not change any more when it was closed."""

    month: str
    start_us: int
    end_us: int
    zone: str
    closed_us: int
    closed_by: str
    final_before_us: int
    content_hash: str


def closed_months(connection: Connection) -> Sequence[Closed]:
    """Every closed month, the oldest first."""
    return [Closed(*row) for row in connection.execute(_HEADS)]


def closed_month(connection: Connection, month: str) -> Closed | None:
    """A month; None where it is not closed."""
    row = connection.execute(_HEADS.where(_columns.month == month)).one_or_none()
    return None if row is None else Closed(*row)


def read_document(connection: Connection, month: str) -> str:
    """The statement of a closed month, as it was frozen."""
    found: str = connection.execute(select(_columns.document).where(_columns.month == month)).scalar_one()
    return found


def status_of(connection: Connection, period: Period) -> str:
    """Whether all, some or none of a period is closed."""
    within = _HEADS.where(_columns.start_us < period.end_us, _columns.end_us > period.start_us)
    at_us = period.start_us
    found = [Closed(*row) for row in connection.execute(within)]
    for one in found:
        if one.start_us > at_us:
            break
        at_us = one.end_us
    if at_us >= period.end_us:
        return "closed"
    return "partly-closed" if found else "open"


def takes_corrections(closed: Sequence[Closed], start_us: int) -> bool:
    """Whether the month that begins at `start_us` is the first after the closed ones."""
    return bool(closed) and closed[-1].end_us == start_us


def check_zone(closed: Sequence[Closed], zone: ZoneInfo) -> None:
    """Raise ZoneChanged where months were closed in another zone: their edges would not meet."""
    for one in closed:
        if one.zone != zone.key:
            at = from_us(one.closed_us).date()
            raise ZoneChanged(f"{one.month} was closed on {at} in {one.zone}: give --timezone {one.zone}")


class ZoneChanged(ValueError):
    """Months are closed in a billing time zone, and another one is given."""
