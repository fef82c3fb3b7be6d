"""GET /api/v1/coverage: how much of the fleet's time was seen, and why the rest was not."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from gputally.collector.allocation.allocation import Allocation
from gputally.collector.allocation.amounts import summed
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.steps import Step
from gputally.collector.allocation.table import Row
from gputally.collector.api import figures, models
from gputally.collector.api.parameters import Format, LedgerParameters, choices, ledger_query
from gputally.collector.api.problems import responses
from gputally.collector.api.service import TheReader, TheService, scope_of
from gputally.collector.api.table import MEDIA_TYPE, as_csv

router = APIRouter()


class CoverageParameters(LedgerParameters):
    """What can be asked of the coverage."""

    aggregate: str = Field(
        default="cluster,node",
        max_length=200,
        description=f"What rows stand for, with commas between: {', '.join(By)}.",
    )
    step: Step | None = Field(
        default=None, description="Cut the window at each of these in the time zone. Default: the window is one."
    )


@router.get(
    "/coverage",
    response_model=models.CoverageAnswer,
    responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}, **responses(401, 403, 422, 503, 504)},
    summary="How much was seen",
)
async def coverage(
    given: Annotated[CoverageParameters, Query()], service: TheService, reader: TheReader
) -> models.CoverageAnswer | Response:
    """Capacity, what of it was not observed, and the reasons; the least covered first."""
    mistakes: list[tuple[str, str]] = []
    by = [key for key in choices("aggregate", given.aggregate, By, mistakes) if key not in (By.STATE, By.REASON)]
    query = ledger_query(
        given,
        service.zone,
        service.now_us(),
        scope_of(reader),
        by=(*by, By.REASON),
        step=given.step,
        mistakes=mistakes,
    )
    found, status = await service.allocation(query)
    rows = _rows(found)
    about = figures.about(found, status, len(rows))
    page = rows[given.offset : given.offset + given.limit]
    keys = [key.value for key in query.keys[:-1]]
    if given.format is Format.CSV:
        return as_csv(models.CoverageRow, page, keys, about)
    return models.CoverageAnswer(**about, aggregate=keys, rows=page)


def _rows(found: Allocation) -> list[models.CoverageRow]:
    """The rows of all owners and reasons put together; the reason is the last of a row's names."""
    groups: dict[tuple[Period, tuple[str, ...]], list[Row]] = defaultdict(list)
    for row in found.rows:
        groups[row.step, row.keys[:-1]].append(row)
    rows = [_row(found, step, keys, of_group) for (step, keys), of_group in groups.items()]
    return sorted(rows, key=lambda row: (row.step.start, _part(row), -row.capacity_us, *row.keys.values()))


def _row(found: Allocation, step: Period, keys: Sequence[str], rows: Iterable[Row]) -> models.CoverageRow:
    reasons: dict[str, int] = defaultdict(int)
    for row in rows:
        if row.amounts.unobserved_us:
            reasons[row.keys[-1]] += row.amounts.unobserved_us
    amounts = summed(row.amounts for row in rows)
    return models.CoverageRow(
        step=figures.span(step, found.query),
        keys=dict(zip((key.value for key in found.query.keys), keys, strict=False)),
        capacity_us=amounts.capacity_us,
        unobserved_us=amounts.unobserved_us,
        gap_us=amounts.gap_us,
        coverage=amounts.coverage,
        reasons_us=dict(reasons),
    )


def _part(row: models.CoverageRow) -> float:
    return 1.0 if row.coverage is None else row.coverage
