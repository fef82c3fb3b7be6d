"""Workloads as the API and the command line tell them: rows, attempts, pods and devices, from what was read of jobs."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, Field

from gputally.collector.allocation import query as question
from gputally.collector.allocation.period import instant
from gputally.collector.api import figures, models
from gputally.collector.jobs.course import ranks
from gputally.collector.jobs.drill import AttemptUse, DeviceUse, Drilled, PodUse
from gputally.collector.jobs.job import Job


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
    runs: int | None = Field(description="Runs that its platform tells apart, or how often it was made under its name.")


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


def rows(jobs: Sequence[Job], query: question.Query) -> list[WorkloadRow]:
    """A row for each, in their order; each column of costs adds up."""
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


def detail(one: Drilled, query: question.Query) -> WorkloadDetail:
    """A workload with all that it is made of."""
    (row,) = rows([one.job], query)
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
