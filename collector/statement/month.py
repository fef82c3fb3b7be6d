"""Billing months: calendar months of the billing time zone, named YYYY-MM."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from gputally.collector.allocation.period import Period, PeriodError, parse_period
from gputally.collector.allocation.steps import local_date


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A month and the ledger hours that it is made of."""

    name: str
    start_us: int
    end_us: int

    @property
    def period(self) -> Period:
        """Its ledger hours."""
        return Period(self.start_us, self.end_us)


def parse_month(text: str, zone: ZoneInfo) -> Month:
    """The month that YYYY-MM names; raises PeriodError."""
    try:
        period = parse_period(text, None, None, zone, 0)
    except PeriodError as error:
        raise PeriodError([f"{text}: expected a month, YYYY-MM, such as 2026-11"]) from error
    return Month(text, period.start_us, period.end_us)


def month_at(us: int, zone: ZoneInfo) -> Month:
    """The month that holds an instant."""
    return parse_month(month_name(us, zone), zone)


def month_name(us: int, zone: ZoneInfo) -> str:
    """The name of the month that holds an instant."""
    return f"{local_date(us, zone):%Y-%m}"


def following(month: Month, zone: ZoneInfo) -> Month:
    """The next month."""
    return month_at(month.end_us, zone)
