"""GET /api/v1/queues: the quota of queues beside what was reserved, used and left idle of it."""

from functools import partial
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from gputally.collector.allocation import query as question
from gputally.collector.allocation.period import Period, instant
from gputally.collector.allocation.query import Scope
from gputally.collector.api.models import Span
from gputally.collector.api.parameters import Parameters, TimeZone, Window, period_of
from gputally.collector.api.problems import responses
from gputally.collector.api.service import TheReader, TheService, scope_of
from gputally.collector.queues.record import record
from gputally.collector.queues.use import QueueUse, read_use

router = APIRouter()


class QueuesParameters(Parameters):
    """What can be asked of queues."""

    window: Window = "month"
    tz: TimeZone = None


class QuotaRow(BaseModel):
    """A quota at the end of the window, in units of its resource; null: unknown."""

    resource: str = Field(examples=["nvidia.com/gpu"])
    flavor: str = Field(description="Kueue's ResourceFlavor; empty of Volcano.")
    nominal: int | None = Field(description="Kueue's nominalQuota, Volcano's deserved.")
    guaranteed: int | None = Field(description="What it never lends; null: nothing is said of it.")
    most: int | None = Field(description="What it may hold with all that it borrows; null: no limit.")
    reserved: int | None = Field(description="What its platform said last that it holds.")
    borrowed: int | None = Field(description="What of it is borrowed, by its platform.")


class QueueRow(BaseModel):
    """A queue: quota_us + borrowed_us = whole_us + unused_us."""

    cluster: str
    system: str = Field(description="kueue or volcano; empty: another's, whose quotas are not read.")
    queue: str = Field(description="Kueue's ClusterQueue, Volcano's Queue; empty: pods of no queue that is known.")
    cohort: str | None = Field(description="Whom it borrows from: Kueue's cohort, Volcano's parent.")
    used_us: int
    idle_us: int
    unobserved_us: int
    reserved_us: int = Field(description="used + idle + unobserved, of whole GPUs and of parts.")
    whole_us: int = Field(description="The part of it on whole GPUs: what is compared with the quota.")
    claimed_us: int = Field(description="The part of it that is in this queue by what pods say alone.")
    quota_us: int | None = Field(description="Nominal quota of whole GPUs times time; null: not known to the reader.")
    borrowed_us: int | None = Field(description="Reserved beyond the quota, hour by hour.")
    unused_us: int | None = Field(description="Quota that its pods did not reserve.")
    quotas: list[QuotaRow]


class QueuesAnswer(BaseModel):
    """The queues that had a quota or a pod in the window; their time is all that pods reserved."""

    window: Span
    timezone: str
    total_rows: int
    rows: list[QueueRow]


@router.get(
    "/queues",
    response_model=QueuesAnswer,
    responses=responses(401, 403, 422, 503, 504),
    summary="What queues had and used",
)
async def queues(given: Annotated[QueuesParameters, Query()], service: TheService, reader: TheReader) -> QueuesAnswer:
    """Quota, reserved, used, idle, borrowed and unused time of queues; whoever sees some namespaces, sees no quota."""
    now_us = service.now_us()
    period, zone = period_of(given.window, given.tz, service.zone, now_us)
    question.Query(period, zone).check(service.zone)
    found = await service.settled(partial(_read, service.zone, period, now_us, scope_of(reader)))
    page = found[given.offset : given.offset + given.limit]
    return QueuesAnswer(
        window=Span(start=instant(period.start_us, zone), end=instant(period.end_us, zone)),
        timezone=zone.key,
        total_rows=len(found),
        rows=[QueueRow(**record(use)) for use in page],
    )


def _read(zone: ZoneInfo, period: Period, now_us: int, scope: Scope, connection: Connection) -> tuple[QueueUse, ...]:
    return read_use(connection, zone, period, now_us, scope)
