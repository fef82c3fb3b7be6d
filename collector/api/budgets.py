"""GET /api/v1/budgets: how the budgets of a month stand, and where they will end."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from gputally.collector.allocation.money import DIGITS, printed
from gputally.collector.allocation.period import instant
from gputally.collector.api.parameters import AsOf, Parameters, TimeZone, dated, month_of
from gputally.collector.api.problems import responses
from gputally.collector.api.service import TheReader, TheService, scope_of
from gputally.collector.burn import Burn, burns
from gputally.collector.rates.cost import rounded

router = APIRouter()


class BudgetsParameters(Parameters):
    """What can be asked of budgets."""

    month: str | None = Field(
        default=None,
        max_length=100,
        description="A month of the billing time zone: 2026-11, month or lastmonth. Default: this month.",
    )
    as_of: AsOf = None
    tz: TimeZone = None


class BudgetRow(BaseModel):
    """A budget. Amounts are decimals of its unit: GPU-hours, or the currency of the rate card."""

    scope: str = Field(description="namespace or team.")
    name: str
    cluster: str | None = Field(description="null: all clusters together.")
    unit: str = Field(description="gpu_hours or amount.")
    budget: str
    spent: str | None = Field(description="null: it counts money, and nothing that counts has a price.")
    expected: str | None = Field(description="At the month's end, if it goes on like the mean of its whole days.")
    low: str | None = Field(description="If every day to come is like the least so far.")
    high: str | None = Field(description="If every day to come is like the dearest so far.")
    days: int = Field(description="Whole days that the forecast rests on; null forecasts before the first is over.")
    standing: str = Field(
        description="within, at-risk (expected above the budget), exceeded or unknown (nothing has a price)."
    )
    unpriced_us: int = Field(description="Time that has no price, so that no amount of money holds it.")


class BudgetsAnswer(BaseModel):
    """The budgets of a month."""

    start: str
    end: str
    total_rows: int
    rows: list[BudgetRow]


@router.get(
    "/budgets",
    response_model=BudgetsAnswer,
    responses=responses(401, 403, 422, 503, 504),
    summary="How the budgets of a month stand",
)
async def budgets(
    given: Annotated[BudgetsParameters, Query()], service: TheService, reader: TheReader
) -> BudgetsAnswer:
    """Spent, forecast and its range, of every budget that the reader may see."""
    now_us = service.now_us()
    when = dated(given.tz, {"asOf": given.as_of}, service.zone)
    month = month_of(given.month or "month", service.zone, now_us)

    def read(connection: Connection) -> list[Burn]:
        return burns(connection, service.zone, month, now_us, scope_of(reader), when.us["asOf"])

    found = await service.settled(read)
    page = found[given.offset : given.offset + given.limit]
    start, end = (instant(us, when.zone) for us in (month.start_us, month.end_us))
    return BudgetsAnswer(start=start, end=end, total_rows=len(found), rows=[_row(burn) for burn in page])


def _row(burn: Burn) -> BudgetRow:
    budget, expected = burn.budget, burn.forecast
    return BudgetRow(
        scope=budget.scope.value,
        name=budget.name,
        cluster=budget.cluster,
        unit=budget.unit.value,
        budget=_decimal(burn.limit),
        spent=None if burn.spent is None else _decimal(burn.spent),
        expected=_decimal(expected.expected) if expected else None,
        low=_decimal(expected.low) if expected else None,
        high=_decimal(expected.high) if expected else None,
        days=burn.days,
        standing=burn.standing.value,
        unpriced_us=burn.unpriced_us,
    )


def _decimal(amount: int) -> str:
    return printed(*rounded([amount], DIGITS))
