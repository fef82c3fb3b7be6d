"""Workloads, their attempts and their pods as tables of texts, for a terminal."""

from collections.abc import Iterable, Sequence
from zoneinfo import ZoneInfo

from gputally.accounting.ledger_hour import from_us
from gputally.accounting.states import State
from gputally.collector.allocation.amounts import Amounts
from gputally.collector.allocation.money import Money
from gputally.collector.jobs.attempts import Attempt
from gputally.collector.jobs.course import Course, ranks
from gputally.collector.jobs.drill import Drilled
from gputally.collector.jobs.job import Job
from gputally.collector.jobs.pod import JobPod
from gputally.collector.rates.cost import rounded
from gputally.collector.render import UNKNOWN
from gputally.collector.statement.currency import decimals
from gputally.collector.statement.rounding import fixed, hours

_IDLE = list(State).index(State.IDLE)
_FIGURES = ("GPU-hours", "used", "idle", "efficiency")
Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def workloads(jobs: Sequence[Job], currency: str, zone: ZoneInfo) -> Table:
    """A row for each; columns of figures add up."""
    heads = ("namespace", "workload", "ranks", "nodes", "runs", "attempts", "began", "ended")
    names = [
        (
            job.name.namespace,
            job.name.label,
            _number(job.course.ranks),
            str(job.course.nodes),
            _number(job.course.runs),
            _number(len(job.course.attempts) or None),
            *_when(job.course, zone),
        )
        for job in jobs
    ]
    return _table(heads, names, [(job.amounts, job.money) for job in jobs], currency)


def attempts(one: Drilled, currency: str, zone: ZoneInfo) -> Table:
    """A row for each attempt."""
    heads = ("attempt", "run", "pods", "ranks", "restarts", "began", "ended")
    names = [
        (
            str(use.attempt.number),
            use.attempt.run or "",
            str(len(use.pods)),
            _number(ranks(use.attempt.pods)),
            str(use.attempt.restarts),
            *_when(use.attempt, zone),
        )
        for use in one.attempts
    ]
    return _table(heads, names, [(use.amounts, use.money) for use in one.attempts], currency)


def pods(one: Drilled, currency: str, zone: ZoneInfo) -> Table:
    """A row for each pod, by attempt."""
    told = {pod: str(use.attempt.number) for use in one.attempts for pod in use.attempt.pods}
    uses = [use for attempt in one.attempts for use in attempt.pods] if one.attempts else one.pods
    heads = ("pod", "attempt", "role", "rank", "node", "GPUs", "began", "ended")
    names = [
        (
            use.pod.name,
            told.get(use.pod, UNKNOWN),
            use.pod.role or "",
            _number(use.pod.rank),
            ", ".join(use.pod.nodes),
            str(len({device.device.uuid for device in use.devices})),
            *_when(use.pod, zone),
        )
        for use in uses
    ]
    return _table(heads, names, [(use.amounts, use.money) for use in uses], currency)


def story(job: Job, zone: ZoneInfo) -> list[tuple[str, str]]:
    """What is known of a workload besides its figures."""
    course, known = job.course, job.known
    began, ended = _when(course, zone)
    found = [
        ("began", began),
        ("ended", ended),
        ("nodes", str(course.nodes)),
        ("pods", f"{course.pods}, at most {course.at_once} at a time"),
        ("restarts", _number(course.restarts)),
        ("runs", "" if course.runs is None else str(course.runs)),
        ("teams", ", ".join(filter(None, job.teams))),
        ("rules", ", ".join(known.rules) if known else "nothing is known of its pods but their names"),
        ("evidence", ", ".join(known.evidence) if known else ""),
    ]
    return [(name, text) for name, text in found if text]


def _when(of: Course | Attempt | JobPod, zone: ZoneInfo) -> tuple[str, str]:
    """When it began; when and how it ended, or that it runs."""
    if of.end_us is None:
        return _moment(of.start_us, zone), of.outcome.value
    return _moment(of.start_us, zone), f"{_moment(of.end_us, zone)} {of.outcome}"


def _moment(us: int, zone: ZoneInfo) -> str:
    return f"{from_us(us).astimezone(zone):%Y-%m-%d %H:%M}"


def _number(value: int | None) -> str:
    return UNKNOWN if value is None else str(value)


def _table(
    heads: Sequence[str], names: Sequence[Sequence[str]], figures: Sequence[tuple[Amounts, Money]], currency: str
) -> Table:
    """Names, and figures that stand to the right of their columns."""
    amounts, money = [of for of, _ in figures], [of for _, of in figures]
    columns = [
        hours([of.capacity_us for of in amounts], 1),
        hours([of.used_us for of in amounts], 1),
        hours([of.idle_us for of in amounts], 1),
        [_percent(of) for of in amounts],
    ]
    more: tuple[str, ...] = ()
    if currency:
        more = (currency, f"idle {currency}")
        columns += [_costs([of.cost for of in money], currency), _costs([of.of_state(_IDLE) for of in money], currency)]
    told = [_right(head, column) for head, column in zip((*_FIGURES, *more), columns, strict=True)]
    rows = [
        (*name, *figure) for name, figure in zip(names, zip(*(rest for _, *rest in told), strict=True), strict=True)
    ]
    return (*heads, *(head for head, *_ in told)), rows


def _right(head: str, texts: Iterable[str]) -> list[str]:
    found = [head, *texts]
    width = max(map(len, found))
    return [text.rjust(width) for text in found]


def _percent(of: Amounts) -> str:
    """Rounded down, as everywhere."""
    measured_us = of.used_us + of.idle_us
    return f"{of.used_us * 100 // measured_us} %" if measured_us else UNKNOWN


def _costs(costs: Sequence[int | None], currency: str) -> list[str]:
    digits = decimals(currency)
    known = iter(rounded([cost for cost in costs if cost is not None], digits))
    return [UNKNOWN if cost is None else fixed(next(known), digits) for cost in costs]
