"""Advice as the API and the command line tell it."""

from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field

from gputally.collector.advice.advice import Advice, Details, Fit, Kind, OffHours, Unused
from gputally.collector.advice.read import Advised
from gputally.collector.advice.words import says
from gputally.collector.allocation.money import column
from gputally.collector.allocation.period import instant
from gputally.collector.api import models


class UnusedDetails(BaseModel):
    """GPUs, or parts of GPUs, that a pod never used in its life so far, while it used others."""

    used: int
    never: int = Field(description="What it held for an hour and more, and never used.")
    parts: int = Field(description="What it held, whenever that was.")
    whole: bool = Field(description="All of them are whole GPUs, and not parts of some.")
    since: str = Field(description="When it first held what it never used.")
    until: str = Field(description="When it last held it.")


class FitDetails(BaseModel):
    """A use of whole GPUs that would fit a part of one."""

    model: str
    profile: str = Field(examples=["1g.10gb"])
    slices: int = Field(description="Compute slices of the profile.")
    of: int = Field(description="Compute slices of the GPU.")
    bytes: int = Field(description="The profile's memory, by its name.")
    peak_bytes: int = Field(description="The most that was held on one GPU: the mean of a minute.")
    busy_permille: int = Field(description="How long kernels ran, of the time measured.")
    busiest_permille: int = Field(description="The same in the busiest hour of any of the GPUs.")
    held_us: int


class NotebookDetails(BaseModel):
    """A notebook that is idle on all that it holds."""

    parts: int
    since: str
    until: str
    at_least: bool = Field(description="It has been idle for longer than the ledger was looked at.")
    memory_bytes: int | None = Field(description="What it holds there now; null: unknown.")


class StretchRow(BaseModel):
    """Hours of the week that follow each other, in the billing time zone."""

    first: int = Field(ge=0, le=167, description="The first: 0 is Monday, 00:00.")
    length: int = Field(ge=1, le=168)


class OffHoursDetails(BaseModel):
    """Hours of the week in which all replicas were idle, each time that they were there."""

    stretches: list[StretchRow]
    times: int = Field(description="How often such a stretch was seen.")
    days: int = Field(description="Of history.")


class Row(BaseModel):
    """A fact about somebody. Different rows may be about the same time: never add them up."""

    kind: Kind
    cluster: str
    namespace: str
    team: str = Field(description="Empty: none is known.")
    workload: str
    pods: list[str] = Field(description="Empty: whichever pods the workload has.")
    says: str
    us: int = Field(description="The time in question, of the last seven days.")
    cost: models.Cost = Field(description="Of the part of it that has a price.")
    unpriced_us: int
    details: UnusedDetails | FitDetails | NotebookDetails | OffHoursDetails


def rows(found: Advised, zone: ZoneInfo) -> list[Row]:
    """Each piece of advice, in its order."""
    costs = column([one.spent.cost for one in found.rows])
    return [_row(one, cost, zone) for one, cost in zip(found.rows, costs, strict=True)]


def _row(one: Advice, cost: str | None, zone: ZoneInfo) -> Row:
    subject = one.subject
    return Row(
        kind=one.kind,
        cluster=subject.cluster,
        namespace=subject.namespace,
        team=subject.team,
        workload=subject.workload,
        pods=list(subject.pods),
        says=says(one, zone),
        us=one.spent.us,
        cost=cost,
        unpriced_us=one.spent.unpriced_us,
        details=_details(one.details, zone),
    )


def _details(of: Details, zone: ZoneInfo) -> UnusedDetails | FitDetails | NotebookDetails | OffHoursDetails:
    if isinstance(of, OffHours):
        stretches = [StretchRow(first=one.first, length=one.length) for one in of.stretches]
        return OffHoursDetails(stretches=stretches, times=of.times, days=of.days)
    if isinstance(of, Fit):
        return FitDetails.model_validate(of, from_attributes=True)
    since, until = instant(of.since_us, zone), instant(of.until_us, zone)
    if isinstance(of, Unused):
        return UnusedDetails(used=of.used, never=of.never, parts=of.parts, whole=of.whole, since=since, until=until)
    return NotebookDetails(parts=of.parts, since=since, until=until, at_least=of.before, memory_bytes=of.memory_bytes)
