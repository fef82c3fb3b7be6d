"""GET /api/v1/namespaces: the namespaces of a day, with their labels, team and cost centre as they were."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from gputally.collector.allocation.history import NamespaceAt, namespaces_at
from gputally.collector.api.parameters import AsOf, Parameters, TimeZone, dated
from gputally.collector.api.problems import responses
from gputally.collector.api.service import TheReader, TheService, scope_of

router = APIRouter()


class NamespacesParameters(Parameters):
    """What can be asked of namespaces."""

    at: str | None = Field(
        default=None,
        max_length=100,
        description="As they were at this instant (RFC 3339), or at the end of this day. Default: now.",
    )
    as_of: AsOf = None
    tz: TimeZone = None


class NamespaceRow(BaseModel):
    """A namespace as it was; one made again under its name has another UID."""

    cluster: str
    namespace: str
    uid: str
    team: str | None
    cost_center: str | None
    source: str = Field(description="What says so.")
    labels: dict[str, str]


class NamespacesAnswer(BaseModel):
    """The namespaces of a day."""

    total_rows: int
    rows: list[NamespaceRow]


@router.get(
    "/namespaces",
    response_model=NamespacesAnswer,
    responses=responses(401, 403, 422, 503, 504),
    summary="The namespaces of a day",
)
async def namespaces(
    given: Annotated[NamespacesParameters, Query()], service: TheService, reader: TheReader
) -> NamespacesAnswer:
    """Labels, teams and cost centres as they were at `at`, by what was known `asOf` then."""
    when = dated(given.tz, {"at": given.at, "asOf": given.as_of}, service.zone)
    at_us = service.now_us() if when.us["at"] is None else when.us["at"]

    def read(connection: Connection) -> Sequence[NamespaceAt]:
        return namespaces_at(connection, service.zone, at_us, when.us["asOf"], scope_of(reader))

    found = await service.read(read)
    page = found[given.offset : given.offset + given.limit]
    return NamespacesAnswer(total_rows=len(found), rows=[_row(namespace) for namespace in page])


def _row(found: NamespaceAt) -> NamespaceRow:
    return NamespaceRow(
        cluster=found.cluster,
        namespace=found.name,
        uid=found.uid,
        team=found.assignment.team,
        cost_center=found.assignment.cost_center,
        source=found.assignment.source,
        labels=dict(found.labels),
    )
