"""GET /api/v1/workloads: a row for each workload, the dearest idle first; GET /api/v1/workload: what one is made of."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from gputally.collector.allocation import query as question
from gputally.collector.allocation.allocation import Allocation
from gputally.collector.api import figures, workload_rows
from gputally.collector.api.parameters import AsOf, Format, LedgerParameters, TimeZone, Window, ledger_query
from gputally.collector.api.problems import responses
from gputally.collector.api.service import Service, TheReader, TheService, scope_of
from gputally.collector.api.table import MEDIA_TYPE, as_csv
from gputally.collector.jobs.drill import Drilled, of_workload, read_job
from gputally.collector.jobs.job import Jobs, read_jobs
from gputally.collector.jobs.order import Sort, ordered

router = APIRouter()


class WorkloadsParameters(LedgerParameters):
    """What can be asked of workloads."""

    sort: Sort = Field(default=Sort.IDLE_COST, description="What comes first: the largest, the latest; or by name.")


class WorkloadParameters(BaseModel, extra="forbid", populate_by_name=True):
    """Which workload, and when."""

    namespace: str = Field(min_length=1, max_length=253, description="The namespace that it is in.")
    workload: str = Field(
        min_length=1, max_length=512, description="Its name in reports.", examples=["pytorchjob.kubeflow/bert"]
    )
    cluster: str | None = Field(default=None, max_length=253, description="Only there. Default: everywhere.")
    window: Window = "month"
    tz: TimeZone = None
    as_of: AsOf = None


@router.get(
    "/workloads",
    response_model=workload_rows.WorkloadsAnswer,
    responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}, **responses(401, 403, 422, 503, 504)},
    summary="One job, one row",
)
async def workloads(
    given: Annotated[WorkloadsParameters, Query()], service: TheService, reader: TheReader
) -> workload_rows.WorkloadsAnswer | Response:
    """Workloads with their time and cost, ranks, attempts, begin, end and outcome."""
    query = ledger_query(given, service.zone, service.now_us(), scope_of(reader), by=())
    found, status = await _settled(service, query, partial(_read_all, service, query))
    jobs = ordered(found.jobs, given.sort)
    about = figures.about(found.allocation, status, len(jobs))
    page = workload_rows.rows(jobs, query)[given.offset : given.offset + given.limit]
    if given.format is Format.CSV:
        return as_csv(workload_rows.WorkloadRow, page, [], about)
    return workload_rows.WorkloadsAnswer(**about, total=figures.total(found.allocation), rows=page)


@router.get(
    "/workload",
    response_model=workload_rows.WorkloadAnswer,
    responses=responses(401, 403, 422, 503, 504),
    summary="What a workload is made of",
)
async def workload(
    given: Annotated[WorkloadParameters, Query()], service: TheService, reader: TheReader
) -> workload_rows.WorkloadAnswer:
    """The attempts of one workload, their pods, and the devices of each."""
    asked = LedgerParameters(window=given.window, tz=given.tz, as_of=given.as_of)
    query = ledger_query(asked, service.zone, service.now_us(), scope_of(reader), by=())
    (found, allocation), status = await _settled(service, query, partial(_read_one, service, query, given))
    about = figures.about(allocation, status, len(found))
    return workload_rows.WorkloadAnswer(**about, rows=[workload_rows.detail(one, query) for one in found])


async def _settled(service: Service, query: question.Query, read: Any) -> tuple[Any, str]:
    query.check(service.zone)
    return await service.settled(lambda connection: (read(connection), service.status_of(connection, query.period)))


def _read_all(service: Service, query: question.Query, connection: Connection) -> Jobs:
    return read_jobs(connection, service.zone, query)


def _read_one(
    service: Service, query: question.Query, given: WorkloadParameters, connection: Connection
) -> tuple[Sequence[Drilled], Allocation]:
    asked = of_workload(query, given.namespace, given.workload, given.cluster)
    return read_job(connection, service.zone, asked)
