"""GET /api/v1/statements: closed months; GET /api/v1/statements/{month}: one as JSON, CSV or a page."""

from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from gputally.collector.allocation.period import PeriodError, instant
from gputally.collector.allocation.query import QueryError, Scope, Spread
from gputally.collector.api.parameters import Parameters
from gputally.collector.api.problems import QueryMistakes, responses
from gputally.collector.api.service import Service, TheReader, TheService, scope_of
from gputally.collector.exports.statement_csv import as_csv
from gputally.collector.exports.statement_html import as_html
from gputally.collector.statement.month import Month, parse_month
from gputally.collector.statement.read import Found, Tampered, find_statement
from gputally.collector.statement.register import ZoneChanged, closed_months
from gputally.collector.statement.view import View, Who

router = APIRouter()


class Format(StrEnum):
    """How a statement is written."""

    JSON = "json"
    CSV = "csv"
    HTML = "html"


class ClosedRow(BaseModel):
    """A closed month. The hash is the SHA-256 of its JSON, whole and with no parameter; null for who sees a part."""

    month: str
    closed_at: str
    closed_by: str
    content_hash: str | None


class StatementsAnswer(BaseModel):
    """The closed months, the oldest first."""

    timezone: str
    total_rows: int
    rows: list[ClosedRow]


class StatementParameters(BaseModel):
    """What can be asked of a statement."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    namespace: str | None = Field(default=None, max_length=253, description="Only this namespace's part.")
    team: str | None = Field(default=None, max_length=253, description="Only this team's part.")
    share_idle: Spread = Field(
        default=Spread.NONE,
        alias="shareIdle",
        description="Show the platform's cost over the namespaces of its cluster; a view, which books nothing.",
    )
    format: Format = Field(default=Format.JSON, description="How the answer is written.")


class StatementItem(BaseModel):
    """Time of one state, or energy, of one owner at one price. null: unpriced, or not known."""

    model_config = ConfigDict(extra="allow")

    corrects: str = Field(description="The closed month that it corrects; empty: its own.")
    payer: str = Field(description="pod, host or platform.")
    team: str
    cost_center: str
    cluster: str
    namespace: str
    namespace_uid: str
    model: str
    profile: str
    meter: str = Field(description="gpu (us, gpu_hours), energy or energy-overhead (mj, kwh).")
    state: str
    price: str | None
    rate_version: int | None
    amount: str | None = Field(description="Rounded so that all items add up to the total.")
    exact: str | None = Field(description="The cost in 1 / 3.6e18 of the currency.")


class StatementAnswer(BaseModel):
    """A month. A closed one's JSON never changes by a byte."""

    model_config = ConfigDict(extra="allow")

    statement: str
    status: str
    timezone: str
    start: str = Field(alias="from")
    end: str = Field(alias="to")
    currency: str | None
    amount: str | None
    unpriced_us: int
    capacity_us: int
    coverage: float | None
    carbon: dict[str, Any] = Field(
        default={}, description="Grams of CO2e, whole and by namespace and team; absent where the card has no factor."
    )
    pending_hours: int | None = Field(
        description="As in allocation; null for who sees a part of a month that was closed in spite of such hours."
    )
    rates: list[dict[str, Any]]
    closed: dict[str, Any] | None
    items: list[StatementItem]
    idle_workloads: list[dict[str, Any]] = Field(description="The dearest idle pods.")
    waste: list[dict[str, Any]] | None = Field(
        default=None,
        description="The dearest losses, each of one workload and kind; absent from months closed before it was told.",
    )
    waste_kinds: list[dict[str, Any]] | None = Field(
        default=None, description="All idle time by kind, namespace and team; it sums to what pods held idle."
    )


_TEXT = {"schema": {"type": "string"}}


@router.get(
    "/statements",
    response_model=StatementsAnswer,
    responses=responses(401, 403, 422, 503, 504),
    summary="Closed months",
)
async def statements(given: Annotated[Parameters, Query()], service: TheService, reader: TheReader) -> StatementsAnswer:
    """Every month that is closed: when, by whom, and its hash."""
    found = await service.read(closed_months)
    rows = [
        ClosedRow(
            month=one.month,
            closed_at=instant(one.closed_us, service.zone),
            closed_by=one.closed_by,
            content_hash=one.content_hash if scope_of(reader).whole else None,
        )
        for one in found[given.offset : given.offset + given.limit]
    ]
    return StatementsAnswer(timezone=service.zone.key, total_rows=len(found), rows=rows)


@router.get(
    "/statements/{month}",
    responses={
        200: {"model": StatementAnswer, "content": {"text/csv": _TEXT, "text/html": _TEXT}},
        **responses(401, 403, 422, 503, 504),
    },
    response_class=Response,
    summary="What a month comes to",
)
async def statement(
    month: Annotated[str, Path(max_length=7, description="YYYY-MM.")],
    given: Annotated[StatementParameters, Query()],
    service: TheService,
    reader: TheReader,
) -> Response:
    """A month as it was closed, or as it stands now, as far as the reader may see it."""
    asked, scope = _month(month, service), scope_of(reader)
    if given.share_idle is not Spread.NONE and not scope.whole:
        raise QueryError("shareIdle", "the platform's cost is only for those who may see every namespace")
    how = given.share_idle
    found = await service.settled(lambda connection: _find(connection, service, asked, scope, how))
    view = View(found.statement, Who(given.namespace, given.team, scope), how, found.stakes)
    return _written(found, view, given.format, scope)


def _month(text: str, service: Service) -> Month:
    try:
        return parse_month(text, service.zone)
    except PeriodError as error:
        raise QueryMistakes([("month", message) for message in error.mistakes]) from error


def _find(connection: Connection, service: Service, month: Month, scope: Scope, how: Spread) -> Found:
    try:
        return find_statement(connection, service.zone, month, scope, how)
    except (Tampered, ZoneChanged) as error:  # an operator has to look, not the one who asks
        raise HTTPException(503, str(error)) from error


def _written(found: Found, view: View, form: Format, scope: Scope) -> Response:
    known = {"Gputally-Content-Hash": found.content_hash} if found.content_hash and scope.whole else {}
    if form is Format.CSV:
        return Response(as_csv(view), media_type="text/csv", headers=known)
    if form is Format.HTML:
        return Response(as_html(view, found.content_hash), media_type="text/html", headers=known)
    return Response(found.json(view), media_type="application/json", headers=known)
