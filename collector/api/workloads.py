"""GET /api/v1/workloads: a row for each workload, the dearest idle first; GET /api/v1/workload: what one is made of."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from gputally.collector.allocation import query as question
from gputally.collector.allocation.allocation import Allocation
from gputally.collector.allocation.filter import Clause, Operator
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import instant
from gputally.collector.api import figures, models
from gputally.collector.api.parameters import AsOf, Format, LedgerParameters, TimeZone, Window, ledger_query
from gputally.collector.api.problems import responses
from gputally.collector.api.service import Service, TheReader, TheService, scope_of
from gputally.collector.api.table import MEDIA_TYPE, as_csv
from gputally.collector.jobs.course import ranks
from gputally.collector.jobs.drill import AttemptUse, DeviceUse, Drilled, PodUse, read_job
from gputally.collector.jobs.job import Job, Jobs, read_jobs
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


class Story(BaseModel):
    """How it went, by the pods that had time in the window; they may have begun before it and go on after it."""

    start: str = Field(description="When it first held a GPU.")
    end: str | None = Field(description="When it held one last; null: it runs.")
    outcome: str = Field(description="running, succeeded, failed, or ended: nobody saw how.")


class WorkloadName(BaseModel):
    """Whose figures, and how that is known."""

    cluster: str
    namespace: str
    workload: str = Field(description="kind/name, or kind.platform/name.")
    teams: list[str] = Field(description="The teams of its namespace in this time; empty where none is known.")
    platform: str | None = Field(description="What runs it; null where nothing is known of it, or no rule knows it.")
    rules: list[str] = Field(description="The rules that decided; empty where nothing is known of its pods.")
    evidence: list[str] = Field(description="owner, claim or pod: how the workload is known.")
    ranks: int | None = Field(description="Places with a rank, each of its role; null where no pod has a rank.")
    nodes: int
    pods: int
    at_once: int = Field(description="The most pods at a time; who takes over a place counts once.")
    attempts: int | None = Field(description="null where its pods are replicas, which nobody can tell attempts of.")
    restarts: int | None = Field(description="Pods that took over a place while others went on.")
    runs: int | None = Field(description="How many runs its platform tells apart.")


class WorkloadRow(models.Figures, Story, WorkloadName):
    """A workload and its figures."""


class WorkloadsAnswer(models.Answer):
    """The workloads of a window; they sum to the total, which is all time of pods."""

    total: models.Figures
    rows: list[WorkloadRow]


class DeviceRow(models.Figures):
    """What a pod had of a device."""

    node: str
    model: str
    uuid: str
    partition: str = Field(description="gpu, replica, or the UUID of a MIG instance.")
    profile: str


class PodRow(models.Figures, Story):
    """A pod of a workload. null: its platform does not tell."""

    pod: str
    uid: str | None
    nodes: list[str]
    role: str | None
    rank: int | None
    replica: int | None
    reason: str | None = Field(description="Why it failed.")
    devices: list[DeviceRow]


class AttemptRow(models.Figures, Story):
    """Pods that were there together."""

    run: str | None
    number: int = Field(description="As its platform counts, or from 1 within the run.")
    ranks: int | None
    restarts: int
    pods: list[PodRow]


class WorkloadDetail(BaseModel):
    """One workload; `replicas` are its pods where there are no attempts."""

    workload: WorkloadRow
    attempts: list[AttemptRow]
    replicas: list[PodRow]


class WorkloadAnswer(models.Answer):
    """A workload in each cluster that has one of this name; none where no time of it is booked, or may be seen."""

    rows: list[WorkloadDetail]


@router.get(
    "/workloads",
    response_model=WorkloadsAnswer,
    responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}, **responses(401, 403, 422, 503, 504)},
    summary="One job, one row",
)
async def workloads(
    given: Annotated[WorkloadsParameters, Query()], service: TheService, reader: TheReader
) -> WorkloadsAnswer | Response:
    """Workloads with their time and cost, ranks, attempts, begin, end and outcome."""
    query = ledger_query(given, service.zone, service.now_us(), scope_of(reader), by=())
    found, status = await _settled(service, query, partial(_read_all, service, query))
    jobs = ordered(found.jobs, given.sort)
    about = figures.about(found.allocation, status, len(jobs))
    page = _rows(jobs, query)[given.offset : given.offset + given.limit]
    if given.format is Format.CSV:
        return as_csv(WorkloadRow, page, [], about)
    return WorkloadsAnswer(**about, total=figures.total(found.allocation), rows=page)


@router.get(
    "/workload",
    response_model=WorkloadAnswer,
    responses=responses(401, 403, 422, 503, 504),
    summary="What a workload is made of",
)
async def workload(
    given: Annotated[WorkloadParameters, Query()], service: TheService, reader: TheReader
) -> WorkloadAnswer:
    """The attempts of one workload, their pods, and the devices of each."""
    asked = LedgerParameters(window=given.window, tz=given.tz, as_of=given.as_of)
    query = ledger_query(asked, service.zone, service.now_us(), scope_of(reader), by=())
    (found, allocation), status = await _settled(service, query, partial(_read_one, service, query, given))
    about = figures.about(allocation, status, len(found))
    return WorkloadAnswer(**about, rows=[_detail(one, query) for one in found])


async def _settled(service: Service, query: question.Query, read: Any) -> tuple[Any, str]:
    query.check(service.zone)
    return await service.settled(lambda connection: (read(connection), service.status_of(connection, query.period)))


def _read_all(service: Service, query: question.Query, connection: Connection) -> Jobs:
    return read_jobs(connection, service.zone, query)


def _read_one(
    service: Service, query: question.Query, given: WorkloadParameters, connection: Connection
) -> tuple[Sequence[Drilled], Allocation]:
    only = () if given.cluster is None else (Clause(By.CLUSTER, Operator.IS, (given.cluster,)),)
    return read_job(connection, service.zone, query, given.namespace, given.workload, only)


def _rows(jobs: Sequence[Job], query: question.Query) -> list[WorkloadRow]:
    of = figures.columns([(job.amounts, job.money) for job in jobs])
    return [WorkloadRow(**_named(job), **_story(job.course, query), **row) for job, row in zip(jobs, of, strict=True)]


def _named(job: Job) -> dict[str, Any]:
    known, course = job.known, job.course
    return {
        "cluster": job.name.cluster,
        "namespace": job.name.namespace,
        "workload": job.name.label,
        "teams": [team for team in job.teams if team],
        "platform": known.platform if known else None,
        "rules": list(known.rules) if known else [],
        "evidence": list(known.evidence) if known else [],
        **{name: getattr(course, name) for name in ("ranks", "nodes", "pods", "at_once", "restarts", "runs")},
        "attempts": len(course.attempts) or None,
    }


def _story(of: Any, query: question.Query) -> dict[str, Any]:
    """Of a course, an attempt or a pod."""
    start, end = (None if us is None else instant(us, query.zone) for us in (of.start_us, of.end_us))
    return {"start": start, "end": end, "outcome": of.outcome.value}


def _detail(one: Drilled, query: question.Query) -> WorkloadDetail:
    (row,) = _rows([one.job], query)
    return WorkloadDetail(
        workload=row,
        attempts=_attempts(one.attempts, query),
        replicas=[] if one.attempts else _pods(one.pods, query),
    )


def _attempts(found: Sequence[AttemptUse], query: question.Query) -> list[AttemptRow]:
    return [
        AttemptRow(
            **{name: getattr(one.attempt, name) for name in ("run", "number", "restarts")},
            **_story(one.attempt, query),
            **row,
            ranks=ranks(one.attempt.pods),
            pods=_pods(one.pods, query),
        )
        for one, row in zip(found, _columns(found), strict=True)
    ]


def _pods(found: Sequence[PodUse], query: question.Query) -> list[PodRow]:
    return [
        PodRow(
            pod=one.pod.name,
            uid=one.pod.uid or None,
            nodes=list(one.pod.nodes),
            **{name: getattr(one.pod, name) for name in ("role", "rank", "replica", "reason")},
            **_story(one.pod, query),
            **row,
            devices=_devices(one.devices),
        )
        for one, row in zip(found, _columns(found), strict=True)
    ]


def _devices(found: Sequence[DeviceUse]) -> list[DeviceRow]:
    return [DeviceRow(**one.device._asdict(), **row) for one, row in zip(found, _columns(found), strict=True)]


def _columns(found: Iterable[AttemptUse | PodUse | DeviceUse]) -> list[dict[str, Any]]:
    return figures.columns([(one.amounts, one.money) for one in found])
