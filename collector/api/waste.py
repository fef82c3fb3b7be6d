"""GET /api/v1/waste: what kinds of waste idle time is, the dearest first."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy import Connection

from gputally.collector.allocation import query as question
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.steps import Step
from gputally.collector.api import figures, waste_rows
from gputally.collector.api.parameters import Format, LedgerParameters, choices, ledger_query
from gputally.collector.api.problems import responses
from gputally.collector.api.service import Service, TheReader, TheService, scope_of
from gputally.collector.api.table import MEDIA_TYPE, as_csv
from gputally.collector.waste.lenses import Lens, Lenses, read_lenses
from gputally.collector.waste.read import KEYS, Waste, read_waste

router = APIRouter()


class WasteParameters(LedgerParameters):
    """What can be asked of waste."""

    aggregate: str = Field(
        default="namespace,workload",
        max_length=200,
        description=f"What rows stand for, with commas between: {', '.join(KEYS)}.",
        examples=["team", "namespace,pod"],
    )
    step: Step | None = Field(
        default=None, description="Cut the window at each of these in the time zone. Default: the window is one."
    )


@router.get(
    "/waste",
    response_model=waste_rows.Answer,
    responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}, **responses(401, 403, 422, 503, 504)},
    summary="What kinds of waste idle time is",
)
async def waste(
    given: Annotated[WasteParameters, Query()], service: TheService, reader: TheReader
) -> waste_rows.Answer | Response:
    """Idle time by kind, the five of which sum to it; and what cuts across: failed attempts, straggling ranks."""
    mistakes: list[tuple[str, str]] = []
    by = choices("aggregate", given.aggregate, By, mistakes)
    query = ledger_query(
        given, service.zone, service.now_us(), scope_of(reader), by=by, step=given.step, mistakes=mistakes
    )
    query.check(service.zone)
    found, lenses, status = await service.settled(partial(_read, service, query))
    rows = waste_rows.rows(found)
    about = figures.about(found.idle, status, len(rows))
    keys = [key.value for key in query.keys]
    page = slice(given.offset, given.offset + given.limit)
    if given.format is Format.CSV:
        return as_csv(waste_rows.Row, rows[page], keys, about)
    return waste_rows.Answer(
        **about,
        aggregate=keys,
        kinds=waste_rows.kinds(found),
        rows=rows[page],
        lenses=waste_rows.lenses(lenses)[: given.limit],
        unknown_lenses=lenses.unknown,
        all_ranks=Lens.STRAGGLING not in lenses.unknown,
    )


def _read(service: Service, query: question.Query, connection: Connection) -> tuple[Waste, Lenses, str]:
    found = read_waste(connection, service.zone, query)
    return found, read_lenses(connection, service.zone, query), service.status_of(connection, query.period)
