"""GET /api/v1/idle: who holds GPUs in which nothing runs, the dearest first."""

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from gputally.accounting.states import OwnerKind, State
from gputally.collector.allocation.allocation import Allocation
from gputally.collector.allocation.amounts import Amounts
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.money import column
from gputally.collector.allocation.table import Row
from gputally.collector.api import figures, models
from gputally.collector.api.parameters import Format, LedgerParameters, choices, ledger_query
from gputally.collector.api.problems import responses
from gputally.collector.api.service import TheReader, TheService, scope_of
from gputally.collector.api.table import MEDIA_TYPE, as_csv

router = APIRouter()

_IDLE = list(State).index(State.IDLE)


class Sort(StrEnum):
    """What comes first."""

    COST = "cost"
    HOURS = "hours"


class IdleParameters(LedgerParameters):
    """What can be asked of idle time."""

    aggregate: str = Field(
        default="cluster,namespace,team,pod",
        max_length=200,
        description=f"What rows stand for, with commas between: {', '.join(By)}.",
    )
    sort: Sort = Field(default=Sort.COST, description="The dearest first (what has no price by time), or the longest.")


@router.get(
    "/idle",
    response_model=models.IdleAnswer,
    responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}, **responses(401, 403, 422, 503, 504)},
    summary="Who holds GPUs in which nothing runs",
)
async def idle(
    given: Annotated[IdleParameters, Query()], service: TheService, reader: TheReader
) -> models.IdleAnswer | Response:
    """Idle time by owner, with what it cost; only what is held can be idle."""
    mistakes: list[tuple[str, str]] = []
    by = [key for key in choices("aggregate", given.aggregate, By, mistakes) if key is not By.STATE]
    query = ledger_query(given, service.zone, service.now_us(), scope_of(reader), by=by, mistakes=mistakes)
    found, status = await service.allocation(query)
    rows = _rows(found, given.sort)
    about = figures.about(found, status, len(rows))
    page = _shown(found, rows)[given.offset : given.offset + given.limit]
    keys = [key.value for key in query.keys]
    if given.format is Format.CSV:
        return as_csv(models.IdleRow, page, keys, about)
    return models.IdleAnswer(
        **about,
        aggregate=keys,
        idle_us=sum(row.amounts.idle_us for row in rows),
        idle_cost=column([None if found.money.cost is None else found.money.of_state(_IDLE)])[0],
        rows=page,
    )


def _rows(found: Allocation, sort: Sort) -> list[Row]:
    """The rows that have idle time, in the order asked for."""
    idle = [row for row in found.rows if row.amounts.idle_us and row.owner != OwnerKind.PLATFORM]
    if sort is Sort.HOURS:
        return sorted(idle, key=lambda row: -row.amounts.idle_us)
    return sorted(idle, key=lambda row: (-row.money.by_state[_IDLE], -row.amounts.idle_us))


def _shown(found: Allocation, rows: list[Row]) -> list[models.IdleRow]:
    costs = column([None if row.money.cost is None else row.money.of_state(_IDLE) for row in rows])
    return [
        models.IdleRow(
            keys=figures.named(row, found.query),
            idle_us=row.amounts.idle_us,
            held_us=row.amounts.used_us + row.amounts.idle_us + row.amounts.unobserved_us,
            idle_ratio=_ratio(row.amounts),
            idle_cost=cost,
            unpriced_us=row.money.unpriced_us,
        )
        for row, cost in zip(rows, costs, strict=True)
    ]


def _ratio(amounts: Amounts) -> float | None:
    """Not 1 - efficiency, which is off in the last digit."""
    measured_us = amounts.used_us + amounts.idle_us
    return amounts.idle_us / measured_us if measured_us else None
