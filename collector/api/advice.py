"""GET /api/v1/advice: what the ledger shows that somebody could change, the dearest first."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from gputally.collector.advice.advice import Kind
from gputally.collector.advice.read import KEYS, AdviceQuery, read_advice
from gputally.collector.allocation.filter import EVERYTHING, Filter, FilterError, parse_filter
from gputally.collector.allocation.period import instant
from gputally.collector.api import advice_rows, models
from gputally.collector.api.parameters import FilterText, Parameters, choices
from gputally.collector.api.problems import QueryMistakes, responses
from gputally.collector.api.service import TheReader, TheService, scope_of

router = APIRouter()


class AdviceParameters(Parameters):
    """What can be asked of advice."""

    kind: str = Field(
        default="",
        max_length=200,
        description=f"Which kinds, with commas between: {', '.join(Kind)}. Default: all.",
    )
    namespace: str | None = Field(default=None, max_length=253, pattern=r"^[^\x00]*$", description="Only there.")
    filter: FilterText = Field(default="", description=f"By {', '.join(KEYS)}, in the language of all filters.")


class Answer(BaseModel):
    """What there is to say now; no piece of advice was acted upon."""

    window: models.Span = Field(description="The last seven days: what time and cost are of.")
    timezone: str
    currency: str | None = Field(description="null: there are no prices.")
    pending_hours: int = Field(description="Pairs of hour and node of the window that are not settled yet.")
    total_rows: int
    rows: list[advice_rows.Row]


@router.get(
    "/advice",
    response_model=Answer,
    responses=responses(401, 403, 422, 503, 504),
    summary="What could be changed, in facts",
)
async def advice(given: Annotated[AdviceParameters, Query()], service: TheService, reader: TheReader) -> Answer:
    """Unused GPUs, whole GPUs that a MIG profile would do for, idle notebooks, services idle off hours."""
    mistakes: list[tuple[str, str]] = []
    kinds = tuple(choices("kind", given.kind, Kind, mistakes))
    where = _filter(given.filter, mistakes)
    if mistakes:
        raise QueryMistakes(mistakes)
    query = AdviceQuery(service.now_us(), scope_of(reader), given.namespace, where, kinds)
    found = await service.settled(partial(read_advice, zone=service.zone, query=query))
    start, end = (instant(us, service.zone) for us in (found.week.start_us, found.week.end_us))
    return Answer(
        window=models.Span(start=start, end=end),
        timezone=service.zone.key,
        currency=found.currency or None,
        pending_hours=found.pending,
        total_rows=len(found.rows),
        rows=advice_rows.rows(found, service.zone)[given.offset : given.offset + given.limit],
    )


def _filter(text: str, mistakes: list[tuple[str, str]]) -> Filter:
    try:
        return parse_filter(text)
    except FilterError as error:
        mistakes.append(("filter", str(error)))
        return EVERYTHING
