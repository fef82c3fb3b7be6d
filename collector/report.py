"""A report: an allocation in one step, as `gputally report` prints it."""

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, select, union

from gputally.accounting.ledger_hour import hour_start
from gputally.collector.allocation.allocation import allocate
from gputally.collector.allocation.amounts import Amounts, summed
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.money import NOTHING, Money, total
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query
from gputally.collector.database import schema
from gputally.collector.database.engine import reading

__all__ = ["TOTAL", "By", "Report", "Row", "ZoneMismatch", "report"]

TOTAL = "total"  # what stands for the owner in the total


class ZoneMismatch(ValueError):
    """The ledger's hours are not hours of the zone that the reader asked for."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a report. `keys` follow the report's `by`; `owner` is pod, host or platform (or `total`)."""

    keys: tuple[str, ...]
    owner: str
    amounts: Amounts
    money: Money = NOTHING


@dataclass(frozen=True, slots=True)
class Report:
    """What a period's postings hold, the largest capacity first; `total` is the sum of the rows.

    `currency` is empty where no rate card was applied: then there are no costs to print.
    """

    start_us: int
    end_us: int
    zone: ZoneInfo
    by: tuple[By, ...]
    rows: tuple[Row, ...]
    currency: str = ""

    @property
    def total(self) -> Row:
        """The sum of the rows."""
        amounts = summed(row.amounts for row in self.rows)
        return Row(("",) * len(self.by), TOTAL, amounts, total(row.money for row in self.rows))


def report(engine: Engine, zone: ZoneInfo, start_us: int, end_us: int, by: Sequence[By]) -> Report:
    """The ledger over [start_us, end_us), whole ledger hours; raises ZoneMismatch and QueryError.

    What arrived and is not in the postings yet is settled first, so a report never lags behind its windows.
    """
    with reading(engine) as connection:
        _check_zone(connection, zone, start_us, end_us)
    found = allocate(engine, zone, Query(Period(start_us, end_us), zone, tuple(by)))
    rows = (Row(row.keys, row.owner, row.amounts, row.money) for row in found.rows)
    return Report(start_us, end_us, zone, found.query.keys, tuple(rows), found.currency)


def _check_zone(connection: Connection, zone: ZoneInfo, start_us: int, end_us: int) -> None:
    """Hours booked in a zone with another minute of the hour would fall out of the period, or into it, in part."""
    booked = (
        select(hours.c.hour_us).distinct().where(hours.c.hour_us >= start_us, hours.c.hour_us < end_us)
        for hours in (schema.posting, schema.dirty_hour)
    )
    for hour_us in connection.scalars(union(*booked)):
        if hour_start(hour_us, zone) != hour_us:
            raise ZoneMismatch(
                f"the ledger was not booked in the hours of {zone.key}: give --timezone (or GPUTALLY_TIMEZONE) the "
                "zone that gputally-collector runs with"
            )
