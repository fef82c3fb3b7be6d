"""GET /api/v1/rates: the rate card's rules that hold at a day, by the card of today or by the one of a day past."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from gputally.collector.allocation.history import RatesAt, rates_at
from gputally.collector.allocation.period import instant
from gputally.collector.api.parameters import AsOf, Dated, Parameters, TimeZone, dated
from gputally.collector.api.problems import responses
from gputally.collector.api.service import TheReader, TheService, scope_of
from gputally.collector.rates.card import Rule, exact

router = APIRouter()


class RatesParameters(Parameters):
    """What can be asked of the rates."""

    at: str | None = Field(
        default=None,
        max_length=100,
        description="The rules that hold at this instant (RFC 3339), or at the end of this day. Default: now.",
    )
    as_of: AsOf = None
    tz: TimeZone = None


class RateRow(BaseModel):
    """A rule: a value and what it holds for; null asks nothing."""

    quantity: str = Field(description="per_gpu_hour, per_kwh, pue or g_co2e_per_kwh.")
    value: str = Field(description="Exact decimal.")
    namespace: str | None
    team: str | None
    profile: str | None
    model: str | None
    cluster: str | None
    node_labels: dict[str, str]
    valid_from: str
    valid_to: str | None
    note: str


class RatesAnswer(BaseModel):
    """The rules that hold; without a rate card there are none, and everything is unpriced."""

    version: int | None = Field(description="Of the card; null where none was applied by then.")
    content_hash: str | None = Field(description="SHA-256 of the card's file; null for who may not see all of it.")
    applied_at: str | None
    currency: str | None
    timezone: str
    total_rows: int
    rows: list[RateRow]


@router.get(
    "/rates", response_model=RatesAnswer, responses=responses(401, 403, 422, 503, 504), summary="The rates of a day"
)
async def rates(given: Annotated[RatesParameters, Query()], service: TheService, reader: TheReader) -> RatesAnswer:
    """The rules that hold at `at`, by the card that was in force `asOf` then."""
    when = dated(given.tz, {"at": given.at, "asOf": given.as_of}, service.zone)
    scope = scope_of(reader)
    at_us = service.now_us() if when.us["at"] is None else when.us["at"]

    def read(connection: Connection) -> RatesAt | None:
        return rates_at(connection, service.zone, at_us, when.us["asOf"], scope)

    found = await service.read(read)
    rules = found.rules if found else ()
    rows = [_row(rule, when) for rule in rules[given.offset : given.offset + given.limit]]
    return RatesAnswer(
        version=found.applied.version if found else None,
        content_hash=found.applied.content_hash.hex() if found and scope.whole else None,
        applied_at=instant(found.applied.applied_us, when.zone) if found else None,
        currency=found.currency if found else None,
        timezone=when.zone.key,
        total_rows=len(rules),
        rows=rows,
    )


def _row(rule: Rule, when: Dated) -> RateRow:
    match = rule.match
    return RateRow(
        quantity=rule.quantity.value,
        value=exact(rule.value),
        namespace=match.namespace,
        team=match.team,
        profile=match.profile,
        model=match.model,
        cluster=match.cluster,
        node_labels=dict(match.node_labels),
        valid_from=instant(rule.valid_from_us, when.zone),
        valid_to=None if rule.valid_to_us is None else instant(rule.valid_to_us, when.zone),
        note=rule.note,
    )
