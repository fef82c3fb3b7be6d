"""GET /api/v1/allocation: where GPU time went, as OpenCost's users ask for it."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from gputally.accounting.states import State
from gputally.collector.allocation import query as question
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.steps import Step
from gputally.collector.api import figures, models
from gputally.collector.api.parameters import Format, LedgerParameters, choices, ledger_query
from gputally.collector.api.problems import responses
from gputally.collector.api.rows_text import answer_text
from gputally.collector.api.service import Service, TheReader, TheService, scope_of
from gputally.collector.api.table import MEDIA_TYPE, as_csv
from gputally.collector.auth.reader import Reader

router = APIRouter()


class AllocationParameters(LedgerParameters):
    """What can be asked of the allocation."""

    aggregate: str = Field(
        default="namespace",
        max_length=200,
        description=f"What rows stand for, with commas between: {', '.join(By)}.",
        examples=["namespace,model"],
    )
    step: Step | None = Field(
        default=None, description="Cut the window at each of these in the time zone. Default: the window is one."
    )
    accumulate: bool = Field(default=False, description="true: sum the steps up again, whatever `step` says.")
    states: str = Field(
        default="", max_length=100, description=f"Count time in these only: {', '.join(State)}. Default: all."
    )
    share_idle: question.Spread = Field(
        default=question.Spread.NONE,
        alias="shareIdle",
        description="Show the platform's time and cost over the namespaces of its cluster, in shared_us, shared_cost.",
    )


@router.get(
    "/allocation",
    response_model=models.AllocationAnswer,
    responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}, **responses(401, 403, 422, 503, 504)},
    summary="Where GPU time went",
)
async def allocation(
    given: Annotated[AllocationParameters, Query()], service: TheService, reader: TheReader
) -> Response:
    """Time by state, energy and cost of a window, grouped and stepped; rows sum to the total."""
    query = _query(given, service, reader)
    found, status = await service.allocation(query)
    page = slice(given.offset, given.offset + given.limit)
    about = figures.about(found, status, len(found.table))
    keys = [key.value for key in query.keys]
    if given.format is Format.CSV:
        return as_csv(models.Row, figures.rows(found, page), keys, about)
    answer = models.AllocationAnswer(**about, aggregate=keys, total=figures.total(found), rows=[])
    return Response(answer_text(answer, figures.row_columns(found, page)), media_type="application/json")


def _query(given: AllocationParameters, service: Service, reader: Reader) -> question.Query:
    mistakes: list[tuple[str, str]] = []
    by = choices("aggregate", given.aggregate, By, mistakes)
    states = choices("states", given.states, State, mistakes) or tuple(State)
    return ledger_query(
        given,
        service.zone,
        service.now_us(),
        scope_of(reader),
        by=by,
        step=None if given.accumulate else given.step,
        states=tuple(states),
        spread=given.share_idle,
        mistakes=mistakes,
    )
