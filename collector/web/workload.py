"""One workload: how it went, attempt by attempt, which pods took part, and what they had of which devices."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from pydantic import Field
from sqlalchemy import Connection

from gputally.accounting.keys import WHOLE_GPU
from gputally.collector.allocation.allocation import Allocation
from gputally.collector.allocation.amounts import Amounts, summed
from gputally.collector.allocation.money import Money, total
from gputally.collector.allocation.query import Query
from gputally.collector.jobs.course import ranks
from gputally.collector.jobs.drill import AttemptUse, Device, DeviceUse, Drilled, PodUse, of_workload, read_job
from gputally.collector.jobs.job import Job
from gputally.collector.jobs.pod import JobPod
from gputally.collector.jobs.wasted import Loss, read_losses
from gputally.collector.statement.month import Month
from gputally.collector.waste.lenses import LensRow, read_lenses
from gputally.collector.web import links, usage, words, work
from gputally.collector.web.asked import Asked, Months, Name, Parameters, months
from gputally.collector.web.losses import LensLine, Losses, by_kind, lenses, losses
from gputally.collector.web.page import Page
from gputally.collector.web.usage import IDLE, Usage

MOST_ROWS = 200  # of one table; the API has all
_EVIDENCE = {
    "owner": "by the chain of owner references",
    "claim": "by what stands on the pod",
    "pod": "nobody owns the pod",
}


class WorkloadParameters(Parameters):
    """Which workload, and when."""

    namespace: Name
    name: str = Field(min_length=1, max_length=512, pattern=r"^[^\x00]*$")  # what it is, and a name: as the API has it
    cluster: Name | None = None
    month: str | None = Field(default=None, max_length=10)


class Line(NamedTuple):
    """An attempt, a pod, or a device of a pod; `detail` says more about it."""

    figures: usage.Row
    detail: str
    span: work.Span | None


class Table(NamedTuple):
    """`left_out` counts rows that were too many for a page."""

    rows: tuple[Line, ...]
    left_out: int


class Section(NamedTuple):
    """The workload in one cluster; `teams` and `known` say whose it is and how that is known."""

    cluster: str
    teams: tuple[str, ...]
    known: str
    size: str
    span: work.Span
    figures: list[tuple[str, words.Figure]]
    losses: Losses
    lenses: tuple[LensLine, ...]
    attempts: Table
    pods: Table
    devices: Table


class Found(NamedTuple):
    """What the database says of a workload."""

    drilled: Sequence[Drilled]
    whole: Allocation
    lost: Sequence[Loss]
    lenses: Sequence[LensRow]
    status: str


async def workload(asked: Asked) -> Page:
    """The page; raises QueryMistakes."""
    given = asked.parameters(WorkloadParameters)
    month = asked.month(given.month)
    found = await asked.service.settled(partial(_read, asked, given, month))
    values = {
        "name": given.name,
        "namespace": given.namespace,
        "namespace_href": links.namespace(given.namespace, month=given.month),
        "months": _months(asked, given, month),
        "status": found.status,
        "pending": found.whole.ground.pending,
        **asked.frame,
        "sections": [_section(one, found, asked) for one in found.drilled],
        "currency": found.whole.currency,
        "month_given": given.month,
    }
    return Page("workload.html", f"{given.name}, {words.month(month.name)}", links.WORKLOADS, values)


def _months(asked: Asked, given: WorkloadParameters, month: Month) -> Months:
    return months(asked, month, links.WORKLOAD, cluster=given.cluster, namespace=given.namespace, name=given.name)


def _read(asked: Asked, given: WorkloadParameters, month: Month, connection: Connection) -> Found:
    query = of_workload(Query(month.period, asked.zone, scope=asked.scope), given.namespace, given.name, given.cluster)
    drilled, whole = read_job(connection, asked.zone, query)
    lost, _ = read_losses(connection, asked.zone, query)
    seen = read_lenses(connection, asked.zone, query).rows
    return Found(drilled, whole, lost, seen, asked.service.status_of(connection, month.period))


def _section(one: Drilled, found: Found, asked: Asked) -> Section:
    job, currency = one.job, found.whole.currency
    lost = [loss for loss in found.lost if loss.name == job.name]
    return Section(
        job.name.cluster,
        tuple(team for team in job.teams if team),
        _known(job),
        work.size(job.course),
        work.span(job.course, asked),
        _figures(job.amounts, job.money, currency),
        losses(by_kind(lost), (), currency, None),
        lenses([one for one in found.lenses if one.name == job.name], currency, None),
        _attempts(one.attempts, currency, asked),
        _pods(one, currency, asked),
        _devices(one, currency),
    )


def _known(job: Job) -> str:
    """The rule that matched, and by what evidence."""
    if job.known is None:
        return "nothing is known of its pod but its name"
    rules = f"rule {job.known.rules[0]}" if len(job.known.rules) == 1 else f"rules {', '.join(job.known.rules)}"
    return "; ".join([rules, *(_EVIDENCE.get(one, one) for one in job.known.evidence)])


def _figures(amounts: Amounts, money: Money, currency: str) -> list[tuple[str, words.Figure]]:
    hours = words.hours([amounts.capacity_us, amounts.used_us, amounts.idle_us])
    efficiency = words.percent(amounts.used_us, amounts.used_us + amounts.idle_us)
    return [
        ("Cost", words.priced(words.whole_cost(money), currency)),
        ("Idle cost", words.priced(money.of_state(IDLE), currency)),
        ("GPU-hours held", words.Figure(hours[0])),
        ("Used", words.Figure(hours[1], "h")),
        ("Idle", words.Figure(hours[2], "h")),
        ("Efficiency", words.Figure(efficiency)),
        ("Energy", words.Figure(words.energy(amounts.energy_mj))),
    ]


def _attempts(found: Sequence[AttemptUse], currency: str, asked: Asked) -> Table:
    used = [Usage(_called(one), None, one.amounts, one.money) for one in found]
    details = [_made_of(one) for one in found]
    return _table(used, details, [work.span(one.attempt, asked) for one in found], currency)


def _called(one: AttemptUse) -> str:
    run = f" of {one.attempt.run}" if one.attempt.run is not None else ""
    return f"attempt {one.attempt.number}{run}"


def _made_of(one: AttemptUse) -> str:
    """Ranks, or pods; nodes; restarts."""
    pods = one.attempt.pods
    of = work.members(ranks(pods), len(pods), len({node for pod in pods for node in pod.nodes}))
    return of + (f", {words.number(one.attempt.restarts, 'restart')}" if one.attempt.restarts else "")


def _pods(one: Drilled, currency: str, asked: Asked) -> Table:
    """Attempt by attempt, by role and rank."""
    told = {pod.pod: at for at, attempt in enumerate(one.attempts) for pod in attempt.pods}
    found = sorted(one.pods, key=lambda use: (told.get(use.pod, 0), *_place(use.pod)))
    used = [Usage(use.pod.name, None, use.amounts, use.money) for use in found]
    details = [_part(use, one.attempts[told[use.pod]] if len(one.attempts) > 1 else None) for use in found]
    return _table(used, details, [work.span(use.pod, asked) for use in found], currency)


def _place(pod: JobPod) -> tuple[object, ...]:
    return (pod.role or "", pod.replica or 0, -1 if pod.rank is None else pod.rank, pod.start_us, pod.name)


def _part(use: PodUse, attempt: AttemptUse | None) -> str:
    """What a pod's part in the whole was, and where it ran."""
    pod = use.pod
    parts = [
        _called(attempt) if attempt is not None else "",
        pod.role or "",
        f"replica {pod.replica}" if pod.replica is not None else "",
        f"rank {pod.rank}" if pod.rank is not None else "",
        f"{words.number(len({one.device.uuid for one in use.devices}), 'GPU')} on {', '.join(pod.nodes)}",
        pod.reason or "",
    ]
    return ", ".join(filter(None, parts))


def _devices(one: Drilled, currency: str) -> Table:
    """The devices by node, whoever of its pods had them."""
    by_device: dict[Device, list[tuple[str, DeviceUse]]] = defaultdict(list)
    for use in one.pods:
        for device in use.devices:
            by_device[device.device].append((use.pod.name, device))
    found = sorted(by_device.items())
    return _table([_device(*each) for each in found], [_held(*each) for each in found], [None] * len(found), currency)


def _device(of: Device, uses: Sequence[tuple[str, DeviceUse]]) -> Usage:
    amounts, money = summed(use.amounts for _, use in uses), total(use.money for _, use in uses)
    return Usage(of.uuid, None, amounts, money)


def _held(of: Device, uses: Sequence[tuple[str, DeviceUse]]) -> str:
    """What it is, and who had it."""
    part = "" if of.partition == WHOLE_GPU else f", {of.profile or of.partition}"
    names = list(dict.fromkeys(name for name, _ in uses))
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{of.model}{part} on {of.node}, held by {names[0]}{more}"


def _table(used: Sequence[Usage], details: Sequence[str], spans: Sequence[work.Span | None], currency: str) -> Table:
    rows, _ = usage.lines(used, currency)
    lines = [Line(*parts) for parts in zip(rows, details, spans, strict=True)]
    return Table(tuple(lines[:MOST_ROWS]), max(0, len(lines) - MOST_ROWS))
